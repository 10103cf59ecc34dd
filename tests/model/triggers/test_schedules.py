"""EventBridge's schedules and cron mean here what they mean there, or are refused in a sentence."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime, timedelta, timezone

import pytest
from prefect.server.schemas.schedules import CronSchedule

from prefect_codepipeline.model.triggers.schedules import Cron, Rate, read_expression


@pytest.mark.parametrize(
    ("text", "cron"),
    [
        ("0 6 * * MON-FRI", "0 6 * * MON-FRI"),
        ("  */5 0-6,22  1 jan *", "*/5 0-6,22 1 JAN *"),
        ("0 0 1 * 7", "0 0 1 * 7"),
        ("cron(0 6 ? * MON-FRI *)", "0 6 * * 1,2,3,4,5"),
        ("cron(0 6 ? * 2-6 *)", "0 6 * * 1,2,3,4,5"),
        ("cron(15 10 ? * 1 *)", "15 10 * * 0"),
        ("cron(15 10 ? * FRI-MON *)", "15 10 * * 0,1,5,6"),
        ("cron(15 10 ? * 2/2 *)", "15 10 * * 1,3,5"),
        ("cron(15 10 ? * * *)", "15 10 * * *"),
        ("cron(0/15 * * * ? *)", "0-59/15 * * * *"),
        ("cron(*/10 8-17/2 1,15 JAN-MAR ? *)", "*/10 8-17/2 1,15 JAN-MAR *"),
        ("CRON( 0 12 * * ? * )", "0 12 * * *"),
        ("cron(0 0 5/10 2/3 ? *)", "0 0 5-31/10 2-12/3 *"),
    ],
)
def test_cron_is_read(text: str, cron: str) -> None:
    assert read_expression(text) == Cron(cron)


@pytest.mark.parametrize(
    ("text", "next_one"),
    [
        # 2026-01-02 is a Friday.
        ("cron(0 6 ? * 2 *)", datetime(2026, 1, 5, 6)),
        ("cron(0 6 ? * SUN *)", datetime(2026, 1, 4, 6)),
        ("cron(5/20 9 ? * * *)", datetime(2026, 1, 2, 9, 5)),
        ("0 6 * * MON", datetime(2026, 1, 5, 6)),
    ],
)
def test_what_is_read_fires_then(text: str, next_one: datetime) -> None:
    read = read_expression(text)
    assert isinstance(read, Cron)

    schedule, now = CronSchedule(cron=read.text), datetime(2026, 1, 2, 3, 4, tzinfo=timezone.utc)

    assert asyncio.run(schedule.get_dates(1, now)) == [next_one.replace(tzinfo=timezone.utc)]


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        ("rate(1 minute)", timedelta(minutes=1)),
        ("rate(5 minutes)", timedelta(minutes=5)),
        ("rate(1 hour)", timedelta(hours=1)),
        ("Rate( 7 days )", timedelta(days=7)),
    ],
)
def test_a_rate_is_read(text: str, interval: timedelta) -> None:
    assert read_expression(text) == Rate(interval)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "0 fields, expected five"),
        ("0 6 * *", "4 fields, expected five"),
        ("0 6 ? * MON-FRI *", "6 fields, expected five"),
        ("@daily", "1 fields, expected five"),
        ("60 6 * * *", "minutes '60': '60' is not a number from 0 to 59"),
        ("0 6 * FOO *", "month 'FOO': 'FOO' is not a number from 1 to 12, or JAN to DEC"),
        ("0 6 * * 5-1", "5-1 is in reverse order"),
        ("*/0 * * * *", "'0' is not a valid step"),
        ("*/x * * * *", "'X' is not a valid step"),
        ("0 6 L * *", "Prefect's schedules do not support L, W and #"),
        ("1,,2 * * * *", "'' is not a number"),
        ("٣ * * * *", "not a number from 0 to 59"),
        ("cron(0 6 * * MON *)", "exactly one of day of the month and day of the week must be '?'"),
        ("cron(0 6 ? * ? *)", "exactly one of day of the month and day of the week must be '?'"),
        ("cron(0 6 ? * MON)", "5 fields, EventBridge expects six"),
        ("cron(0 6 ? * MON 2027)", "Prefect's schedules do not support a year"),
        ("cron(0 6 L * ? *)", "Prefect's schedules do not support L, W and #"),
        ("cron(0 6 15W * ? *)", "Prefect's schedules do not support L, W and #"),
        ("cron(0 6 ? * MON#2 *)", "Prefect's schedules do not support L, W and #"),
        ("cron(0 6 ? * 6L *)", "Prefect's schedules do not support L, W and #"),
        ("cron(0 6 ? * 0 *)", "not a number from 1 to 7, or SUN to SAT"),
        ("rate(1 hours)", "use rate(1 hour)"),
        ("rate(5 minute)", "use rate(5 minutes)"),
        ("rate(0 minutes)", "the number must be positive"),
        ("rate(99999999 days)", "too long"),
        ("rate(1 week)", "is not a valid schedule"),
        ("at(2026-01-01T00:00:00)", "is not a valid schedule"),
    ],
)  # fmt: skip
def test_what_cannot_be_said_is_refused_in_a_sentence(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        read_expression(text)
