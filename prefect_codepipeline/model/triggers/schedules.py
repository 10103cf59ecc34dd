"""Convert schedules that users write (five-field cron or EventBridge expressions) to Prefect's schedules.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-scheduled-rule-pattern.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from pydantic import Field

from prefect_codepipeline.model.records import Record

MAX_SCHEDULES = 20
_CRON = re.compile(r"cron\(\s*(.*?)\s*\)", re.IGNORECASE | re.DOTALL)
_RATE = re.compile(r"rate\(\s*(\d{1,8})\s+(minute|hour|day)(s?)\s*\)", re.IGNORECASE)
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_UNITS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}
_LONGEST_RATE = timedelta(days=3660)
_HINT = "use five fields such as '0 6 * * MON-FRI', or EventBridge's cron(0 6 ? * MON-FRI *) or rate(1 hour)"


class Schedule(Record):
    """When a pipeline starts automatically.

    `expression` is the text that the user wrote, `rule` is the name in triggerDetail, and `anchor` is the start time of
    a rate (ISO 8601).
    """

    rule: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")
    expression: str
    timezone: str = "UTC"
    variables: dict[str, str] = Field(default_factory=dict)
    anchor: str


@dataclass(frozen=True)
class Cron:
    """Five fields: minute, hour, day of the month, month, day of the week (0 is Sunday)."""

    text: str


@dataclass(frozen=True)
class Rate:
    """A start after each interval."""

    interval: timedelta


@dataclass(frozen=True)
class _Field:
    """One field of a cron expression: its display name, its bounds, and the names of its values from `low` on."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()


_MINUTE, _HOUR = _Field("minutes", 0, 59), _Field("hours", 0, 23)
_DAY, _MONTH = _Field("day of the month", 1, 31), _Field("month", 1, 12, _MONTHS)
_WEEKDAY = _Field("day of the week", 0, 7, _DAYS)
_AWS_WEEKDAY = _Field("day of the week", 1, 7, _DAYS)


def read_expression(text: str) -> Cron | Rate:
    """Parse the expression of a schedule.

    Raises:
        ValueError: the expression is invalid, or Prefect's schedules do not support it. The message is one sentence.
    """
    text = text.strip()
    if match := _CRON.fullmatch(text):
        return _aws_cron(match[1].split(), text)
    if match := _RATE.fullmatch(text):
        return _rate(int(match[1]), match[2].lower(), bool(match[3]), text)
    if "(" in text:
        raise ValueError(f"{text!r} is not a valid schedule: {_HINT}")
    return _unix_cron(text.split(), text)


def _rate(count: int, unit: str, is_plural: bool, text: str) -> Rate:
    if count < 1:
        raise ValueError(f"{text!r}: the number must be positive")
    if (count == 1) is is_plural:
        raise ValueError(f"{text!r} is not valid in EventBridge: use rate({count} {unit}{'s' * (count > 1)})")
    if count * _UNITS[unit] > _LONGEST_RATE:
        raise ValueError(f"{text!r}: the interval is too long; at most {_LONGEST_RATE.days} days are allowed")
    return Rate(count * _UNITS[unit])


def _unix_cron(fields: list[str], text: str) -> Cron:
    if len(fields) != 5:
        raise ValueError(f"{text!r} has {len(fields)} fields, expected five: {_HINT}")
    for field, value in zip((_MINUTE, _HOUR, _DAY, _MONTH, _WEEKDAY), fields, strict=True):
        _check(field, value)
    return Cron(" ".join(fields).upper())


def _aws_cron(fields: list[str], text: str) -> Cron:
    if len(fields) != 6:
        raise ValueError(f"{text!r} has {len(fields)} fields, EventBridge expects six: {_HINT}")
    minute, hour, day, month, weekday, year = (value.upper() for value in fields)
    if year != "*":
        raise ValueError(
            f"{text!r}: Prefect's schedules do not support a year; use * and remove the schedule after that year"
        )
    if (day == "?") == (weekday == "?"):
        raise ValueError(f"{text!r}: exactly one of day of the month and day of the week must be '?'")
    return Cron(
        " ".join(
            [
                _to_cron_field(_MINUTE, minute),
                _to_cron_field(_HOUR, hour),
                "*" if day == "?" else _to_cron_field(_DAY, day),
                _to_cron_field(_MONTH, month),
                "*" if weekday == "?" else _weekdays(weekday),
            ]
        )
    )


def _to_cron_field(field: _Field, text: str) -> str:
    """The field in cron syntax: `5/15` starts a range in EventBridge, but is not valid in cron."""
    _check(field, text)
    parts = (part.partition("/") for part in text.split(","))
    return ",".join(
        f"{first}-{field.high}/{step}"
        if step and first != "*" and "-" not in first
        else f"{first}{slash}{step}"
        for first, slash, step in parts
    )


def _weekdays(text: str) -> str:
    """The weekdays in cron syntax: Sunday is 1 in EventBridge and 0 in cron."""
    days = _check(_AWS_WEEKDAY, text)
    return "*" if len(days) == 7 else ",".join(str(day - 1) for day in sorted(days))


def _check(field: _Field, text: str) -> set[int]:
    """The values of a field. Raises `ValueError`."""
    found: set[int] = set()
    for part in text.upper().split(","):
        found.update(_values(field, part, text))
    return found


def _values(field: _Field, part: str, text: str) -> Iterator[int]:
    if field in (_DAY, _WEEKDAY, _AWS_WEEKDAY) and re.fullmatch(
        r"L|LW|L-\d+|\d+[LW]|[A-Z]{3}L|[A-Z0-9]+#\d+", part
    ):
        raise ValueError(f"{field.name} {text!r}: Prefect's schedules do not support L, W and #")
    span, slash, step = part.partition("/")
    if slash and not (step.isascii() and step.isdigit() and int(step[:6]) > 0):
        raise ValueError(f"{field.name} {text!r}: {step!r} is not a valid step")
    first, dash, last = span.partition("-")
    if span == "*":
        start, end = field.low, field.high
    else:
        start = _number(field, first, text)
        end = _number(field, last, text) if dash else field.high if slash else start
    stride = int(step[:6]) if slash else 1
    if start <= end:
        yield from range(start, end + 1, stride)
    elif field is _AWS_WEEKDAY:  # FRI-MON
        yield from ((value - 1) % 7 + 1 for value in range(start, end + 8, stride))
    else:
        raise ValueError(f"{field.name} {text!r}: {span} is in reverse order; write it as two ranges")


def _number(field: _Field, text: str, whole: str) -> int:
    if text in field.names:
        return field.names.index(text) + field.low
    if text.isascii() and text.isdigit() and field.low <= int(text[:6]) <= field.high:
        return int(text)
    names = f", or {field.names[0]} to {field.names[-1]}" if field.names else ""
    raise ValueError(
        f"{field.name} {whole!r}: {text!r} is not a number from {field.low} to {field.high}{names}"
    )
