"""Deployment windows: AWS's cron expressions, in their time zone, clock changes included."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_codepipeline.model.definition.deployment_window import (
    check_expression,
    check_zone,
    is_open,
    next_opening,
)

OFFICE = "* * 9-17 ? * MON-FRI *"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("expression", "when", "expected"),
    [
        # 2024-07-01 is a Monday
        (OFFICE, "2024-07-01 09:00", True),
        (OFFICE, "2024-07-01 17:59:59", True),
        (OFFICE, "2024-07-01 18:00", False),
        (OFFICE, "2024-07-06 12:00", False),
        ("0 * 9-17 ? * 2-6", "2024-07-01 09:30", True),
        ("* * 9-17 ? * mon-fri", "2024-07-01 09:30", True),
        ("* 0/15 * ? * *", "2024-07-01 09:45", True),
        ("* 0/15 * ? * *", "2024-07-01 09:46", False),
        ("* 5/15 * ? * *", "2024-07-01 09:50", True),
        ("* */20 * ? * *", "2024-07-01 09:40", True),
        ("* 10-30/10 * ? * *", "2024-07-01 09:20", True),
        ("* 10-30/10 * ? * *", "2024-07-01 09:40", False),
        ("* * 22-2 ? * *", "2024-07-01 23:00", True),
        ("* * 22-2 ? * *", "2024-07-01 01:00", True),
        ("* * 22-2 ? * *", "2024-07-01 03:00", False),
        ("* * * ? * FRI-MON", "2024-07-06 03:00", True),
        ("* * * ? * FRI-MON", "2024-07-03 03:00", False),
        ("* * * L * ?", "2024-02-29 03:00", True),
        ("* * * L * ?", "2024-02-28 03:00", False),
        ("* * * L-3 * ?", "2024-02-26 03:00", True),
        ("* * * 15W * ?", "2024-06-14 03:00", True),  # the 15th is a Saturday
        ("* * * 15W * ?", "2024-06-15 03:00", False),
        ("* * * 1W * ?", "2024-06-03 03:00", True),  # the 1st is a Saturday; never the month before
        ("* * * 30W * ?", "2024-06-28 03:00", True),  # the 30th is a Sunday; never the month after
        ("* * * LW * ?", "2024-06-28 03:00", True),
        ("* * * 31 * ?", "2024-06-30 03:00", False),
        ("* * * 1,15 * ?", "2024-06-15 03:00", True),
        ("* * * ? * 6L", "2024-06-28 03:00", True),  # the last Friday
        ("* * * ? * FRIL", "2024-06-21 03:00", False),
        ("* * * ? * L", "2024-06-29 03:00", True),  # Saturday
        ("* * * ? * MON#2", "2024-06-10 03:00", True),
        ("* * * ? * 2#2", "2024-06-17 03:00", False),
        ("* * * ? JUN-AUG *", "2024-07-17 03:00", True),
        ("* * * ? 1,jun *", "2024-07-17 03:00", False),
        ("* * * ? * * 2024", "2024-07-17 03:00", True),
        ("* * * ? * * 2025-2030", "2024-07-17 03:00", False),
    ],
)
def test_a_window_is_open_in_its_minutes(expression: str, when: str, expected: bool) -> None:
    assert is_open(expression, "UTC", at(when)) is expected


@pytest.mark.parametrize(
    ("zone", "when", "expected"),
    [
        ("UTC", "2024-07-01 09:00", True),
        ("UTC+02:00", "2024-07-01 07:00", True),
        ("UTC-03:30", "2024-07-01 12:30", True),
        ("UTC-03:30", "2024-07-01 12:29", False),
        ("UTC+5", "2024-07-01 04:00", True),
        ("Europe/Berlin", "2024-07-01 07:00", True),
        ("Europe/Berlin", "2024-12-02 07:00", False),
        ("Europe/Berlin", "2024-12-02 08:00", True),
        ("PST", "2024-07-01 16:00", True),
        ("PST", "2024-12-02 16:30", False),
        ("EST", "2024-07-01 14:00", True),
        ("CET", "2024-12-02 08:00", True),
    ],
)
def test_the_window_is_in_its_time_zone(zone: str, when: str, expected: bool) -> None:
    assert is_open(OFFICE, zone, at(when)) is expected


@pytest.mark.parametrize(
    ("expression", "zone", "when", "opening"),
    [
        pytest.param(OFFICE, "UTC", "2024-07-01 10:11:12", "2024-07-01 10:11:12", id="open now"),
        pytest.param(OFFICE, "UTC", "2024-07-01 08:59:30", "2024-07-01 09:00", id="the same day"),
        pytest.param(OFFICE, "UTC", "2024-07-05 18:00", "2024-07-08 09:00", id="over the weekend"),
        pytest.param(OFFICE, "America/New_York", "2024-07-05 23:00", "2024-07-08 13:00", id="elsewhere"),
        pytest.param("* 0 0 1 JAN ?", "UTC", "2024-07-05 18:00", "2025-01-01 00:00", id="next year"),
        pytest.param("* 0 0 29 FEB ?", "UTC", "2024-03-01 00:00", "2028-02-29 00:00", id="next leap year"),
        pytest.param(
            "* 30 2 ? * *",
            "Europe/Berlin",
            "2024-03-30 12:00",
            "2024-04-01 00:30",
            id="an hour that is skipped",
        ),
        pytest.param(
            "* 30 2 ? * *",
            "Europe/Berlin",
            "2024-10-27 00:31",
            "2024-10-27 01:30",
            id="an hour that comes twice",
        ),
        pytest.param("* * * 30 FEB ?", "UTC", "2024-07-05 18:00", None, id="a day that never comes"),
        pytest.param("* * * ? * * 2023", "UTC", "2024-07-05 18:00", None, id="a year that is over"),
    ],
)
def test_the_next_opening(expression: str, zone: str, when: str, opening: str | None) -> None:
    assert next_opening(expression, zone, at(when)) == (opening and at(opening))


@settings(max_examples=60, deadline=None)
@given(
    expression=st.sampled_from([OFFICE, "* 0/7 3 ? * 6L", "* 30 2 LW * ?", "* * 23-1 1-5 3,10 ?"]),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/Havana", "Australia/Lord_Howe", "UTC-03:30"]),
    minutes=st.integers(0, 60 * 24 * 400),
)
def test_before_its_next_opening_a_window_is_closed(expression: str, zone: str, minutes: int) -> None:
    start = at("2024-01-01 00:00") + timedelta(minutes=minutes)

    opening = next_opening(expression, zone, start)

    assert opening is not None
    assert is_open(expression, zone, opening)
    gap = int((opening - start).total_seconds() // 60)
    for minute in {*range(min(gap, 120)), *range(0, gap, 61), *range(max(0, gap - 120), gap)}:
        assert not is_open(expression, zone, start + timedelta(minutes=minute))


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("* 9-17 ? * MON-FRI", "has 5 fields; expected: seconds minutes"),
        ("30 * 9 ? * *", "'30' in the seconds field"),
        ("* 60 9 ? * *", "'60' in the minutes field is not in 0-59"),
        ("* * 24 ? * *", "'24' in the hours field is not in 0-23"),
        ("* * 9 0 * ?", "'0' in the day-of-month field is not in 1-31"),
        ("* * 9 32W * ?", "'32' in the day-of-month field"),
        ("* * 9 ? MAI *", "'MAI' in the month field is not in 1-12 or JAN-DEC"),
        ("* * 9 ? * MO", "'MO' in the day-of-week field is not in 1-7 or SUN-SAT"),
        ("* * 9 ? * 0", "'0' in the day-of-week field"),
        ("* * 9 ? * MON#6", "must be from 1 to 5"),
        ("* * 9 ? * * 1900", "'1900' in the year field is not in 1970-2199"),
        ("* * 9 1 * MON", "exactly one of day-of-month and day-of-week must be"),
        ("* * 9 ? * ?", "exactly one of day-of-month and day-of-week must be"),
        ("* 0/0 9 ? * *", "no step"),
        ("* , 9 ? * *", "'' in the minutes field"),
    ],
)
def test_an_expression_that_cannot_be_read_is_explained(expression: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_expression(expression)


@pytest.mark.parametrize(
    "zone", ["Europe/Atlantis", "IST", "UTC+25:00", "UTC+01:60", "../../etc/passwd", "", "utc"]
)
def test_a_time_zone_that_does_not_exist_is_refused(zone: str) -> None:
    with pytest.raises(ValueError, match="time zone"):
        check_zone(zone)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        is_open(OFFICE, "UTC", datetime(2024, 7, 1, 9))
