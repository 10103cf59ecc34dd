"""Deployment windows: cron expressions, with a time zone, for the times when a deployment may start.

https://docs.aws.amazon.com/codepipeline/latest/userguide/rule-reference-DeploymentWindow.html
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
_WEEKDAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
_FIELDS = "seconds minutes hours day-of-month month day-of-week [year]"
_HORIZON_YEARS = 40  # 29 February falls on a given weekday at least once in 40 years

# Abbreviations that are not in the IANA database. Each stands for a region, including daylight saving time.
# Ambiguous abbreviations, which several countries use for different times (IST, BST, AST), are refused.
_ABBREVIATIONS = {
    "PST": "America/Los_Angeles", "PDT": "America/Los_Angeles", "MDT": "America/Denver",
    "CST": "America/Chicago", "CDT": "America/Chicago", "EDT": "America/New_York",
    "WEST": "Europe/Lisbon", "CEST": "Europe/Berlin", "EEST": "Europe/Athens", "MSK": "Europe/Moscow",
    "JST": "Asia/Tokyo", "KST": "Asia/Seoul", "HKT": "Asia/Hong_Kong", "SGT": "Asia/Singapore",
    "AEST": "Australia/Sydney", "AEDT": "Australia/Sydney", "AWST": "Australia/Perth",
    "NZST": "Pacific/Auckland", "NZDT": "Pacific/Auckland",
}  # fmt: skip


@dataclass(frozen=True)
class _Field:
    name: str
    least: int
    most: int
    names: tuple[str, ...] = ()

    def number(self, text: str) -> int:
        if text.upper() in self.names:
            return self.least + self.names.index(text.upper())
        if not re.fullmatch(r"[0-9]{1,4}", text) or not self.least <= int(text) <= self.most:
            allowed = f"{self.least}-{self.most}" + (
                f" or {self.names[0]}-{self.names[-1]}" if self.names else ""
            )
            raise ValueError(f"{text!r} in the {self.name} field is not in {allowed}")
        return int(text)

    def numbers(self, item: str) -> frozenset[int]:
        """The values of one item of a comma-separated list: `5`, `9-17`, `22-4` (wraps around), `*`, `0/15`."""
        span, slash, step = item.partition("/")
        if slash and not (re.fullmatch(r"[0-9]{1,4}", step) and int(step)):
            raise ValueError(f"{item!r} in the {self.name} field has no step after '/'")
        first, dash, last = span.partition("-")
        if span == "*":
            start, end = self.least, self.most
        elif dash:
            start, end = self.number(first), self.number(last)
        else:
            start = self.number(span)
            end = self.most if slash else start
        size = self.most - self.least + 1
        length = (end - start) % size if end < start else end - start
        return frozenset(
            self.least + (start - self.least + offset) % size
            for offset in range(0, length + 1, int(step or 1))
        )

    def read(self, text: str) -> frozenset[int]:
        return frozenset(number for item in text.split(",") for number in self.numbers(item))


_MINUTES = _Field("minutes", 0, 59)
_HOURS = _Field("hours", 0, 23)
_DAY_OF_MONTH = _Field("day-of-month", 1, 31)
_MONTH = _Field("month", 1, 12, tuple(_MONTHS))
_DAY_OF_WEEK = _Field("day-of-week", 1, 7, tuple(_WEEKDAYS))
_YEAR = _Field("year", 1970, 2199)


@dataclass(frozen=True)
class _Window:
    minutes: frozenset[int]
    hours: frozenset[int]
    months: frozenset[int]
    years: frozenset[int] | None
    day_of_month: tuple[str, ...]
    day_of_week: tuple[str, ...]

    def days(self, year: int, month: int) -> set[int]:
        """The days of the window in one month; empty if the month is not in the window."""
        if month not in self.months or (self.years is not None and year not in self.years):
            return set()
        by_number = {day for item in self.day_of_month for day in _days_of_month(item, year, month)}
        by_weekday = {day for item in self.day_of_week for day in _days_of_week(item, year, month)}
        return by_number & by_weekday

    def has(self, local: datetime) -> bool:
        return (
            local.minute in self.minutes
            and local.hour in self.hours
            and local.day in self.days(local.year, local.month)
        )

    def moments(self, start: date, zone: tzinfo) -> Iterator[datetime]:
        """Every minute of the window from that local day on, in UTC, in ascending order."""
        for year in range(start.year, start.year + _HORIZON_YEARS + 1):
            for month in sorted(self.months):
                for day in sorted(self.days(year, month)):
                    if date(year, month, day) >= start:
                        yield from self._moments_of(date(year, month, day), zone)

    def _moments_of(self, day: date, zone: tzinfo) -> list[datetime]:
        found = set()
        for hour in self.hours:
            for minute in self.minutes:
                local = datetime.combine(day, time(hour, minute), zone)
                for fold in (0, 1):  # when clocks go back, an hour occurs twice
                    moment = local.replace(fold=fold).astimezone(timezone.utc)
                    # When clocks go forward, an hour does not occur at all.
                    if moment.astimezone(zone).replace(tzinfo=None) == local.replace(tzinfo=None):
                        found.add(moment)
        return sorted(found)


def check_expression(expression: str) -> None:
    """Raise `ValueError` if `expression` is not a valid AWS cron expression. The message names the wrong field."""
    _parse(expression)


def check_zone(zone: str) -> None:
    """Raise `ValueError` if `zone` is not `Region/City`, `UTC`, `UTC+HH:MM` or a known abbreviation."""
    _zone(zone)


def is_open(expression: str, zone: str, at: datetime) -> bool:
    """Whether the window is open in the minute of `at`.

    Args:
        expression: `seconds minutes hours day-of-month month day-of-week [year]`; Sunday is 1.
        zone: the time zone of the expression.
        at: an aware time.

    Raises:
        ValueError: the expression or the zone is invalid, or `at` has no time zone.
    """
    if at.tzinfo is None:
        raise ValueError(f"{at} has no time zone")
    return _parse(expression).has(at.astimezone(_zone(zone)))


def next_opening(expression: str, zone: str, at: datetime) -> datetime | None:
    """The first time from `at` on at which the window is open: `at` itself if it is open, otherwise a time in UTC.

    None if the window never opens again (a past year, 30 February). Raises the same errors as `is_open`.
    """
    if is_open(expression, zone, at):
        return at
    where = _zone(zone)
    moments = _parse(expression).moments(at.astimezone(where).date(), where)
    return next((moment for moment in moments if moment > at), None)


@lru_cache(maxsize=256)
def _parse(expression: str) -> _Window:
    fields = expression.split()
    if not 6 <= len(fields) <= 7:
        raise ValueError(f"{expression!r} has {len(fields)} fields; expected: {_FIELDS}")
    seconds, minutes, hours, day_of_month, month, day_of_week, *year = fields
    if seconds not in ("*", "0"):
        raise ValueError(
            f"{seconds!r} in the seconds field is not supported: a window has whole minutes; use '*'"
        )
    chosen = [field not in ("*", "?") for field in (day_of_month, day_of_week)]
    if all(chosen) or (day_of_month, day_of_week) == ("?", "?"):
        raise ValueError("exactly one of day-of-month and day-of-week must be '?'")
    window = _Window(
        minutes=_MINUTES.read(minutes),
        hours=_HOURS.read(hours),
        months=_MONTH.read(month),
        years=_YEAR.read(year[0]) if year and year[0] != "*" else None,
        day_of_month=tuple(day_of_month.upper().split(",")),
        day_of_week=tuple(day_of_week.upper().split(",")),
    )
    replace(window, months=frozenset({1}), years=None).days(
        2024, 1
    )  # parses every item, so that an invalid one raises
    return window


def _days_of_month(item: str, year: int, month: int) -> Iterator[int]:
    last = monthrange(year, month)[1]
    if item in ("*", "?"):
        yield from range(1, last + 1)
    elif match := re.fullmatch(r"L(?:-([0-9]{1,2}))?(W?)", item):
        day = last - int(match[1] or 0)
        if day >= 1:
            yield _nearest_workday(day, year, month) if match[2] else day
    elif match := re.fullmatch(r"([0-9]{1,2})W", item):
        day = _DAY_OF_MONTH.number(match[1])
        if day <= last:
            yield _nearest_workday(day, year, month)
    else:
        yield from (day for day in _DAY_OF_MONTH.numbers(item) if day <= last)


def _nearest_workday(day: int, year: int, month: int) -> int:
    """The nearest day from Monday to Friday in the same month."""
    last = monthrange(year, month)[1]
    weekday = date(year, month, day).weekday()
    if weekday == 5:
        return day - 1 if day > 1 else day + 2
    if weekday == 6:
        return day + 1 if day < last else day - 2
    return day


def _days_of_week(item: str, year: int, month: int) -> Iterator[int]:
    item = {"?": "*", "L": "SAT"}.get(item, item)
    if match := re.fullmatch(r"([0-9A-Z]+)L", item):
        days = _days_on({_DAY_OF_WEEK.number(match[1])}, year, month)
        yield days[-1]
    elif match := re.fullmatch(r"([0-9A-Z]+)#([0-9]+)", item):
        days = _days_on({_DAY_OF_WEEK.number(match[1])}, year, month)
        number = int(match[2])
        if not 1 <= number <= 5:
            raise ValueError(f"{item!r} in the day-of-week field: the number after '#' must be from 1 to 5")
        yield from days[number - 1 : number]
    else:
        yield from _days_on(_DAY_OF_WEEK.numbers(item), year, month)


def _days_on(weekdays: frozenset[int] | set[int], year: int, month: int) -> list[int]:
    """The days of a month that fall on the weekdays; AWS numbers weekdays from 1 for Sunday."""
    first = date(year, month, 1).isoweekday()
    return [day for day in range(1, monthrange(year, month)[1] + 1) if (first + day - 1) % 7 + 1 in weekdays]


@lru_cache(maxsize=256)
def _zone(zone: str) -> tzinfo:
    if match := re.fullmatch(r"UTC(?:([+-])([0-9]{1,2}):?([0-9]{2})?)?", zone):
        hours, minutes = int(match[2] or 0), int(match[3] or 0)
        if hours > 18 or minutes > 59:
            raise ValueError(f"time zone {zone!r}: the offset is invalid")
        offset = timedelta(hours=hours, minutes=minutes)
        return timezone(-offset if match[1] == "-" else offset)
    try:
        return ZoneInfo(_ABBREVIATIONS.get(zone, zone))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"there is no time zone {zone!r}; use Region/City (Europe/Berlin), UTC or UTC+HH:MM"
        ) from None
