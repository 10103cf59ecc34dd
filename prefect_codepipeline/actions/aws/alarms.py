"""CloudWatch alarms by their names.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarms.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefect_codepipeline.actions.aws.client import translated
from prefect_codepipeline.errors import wrong_configuration


def read_alarms(alarms: Any, names: Sequence[str], remedy: str) -> dict[str, dict[str, Any]]:
    """The alarms by their names, metric and composite ones.

    Args:
        alarms: the client of CloudWatch.
        names: of the alarms.
        remedy: what to correct if one does not exist.

    Raises:
        ActionFailed: with code `ConfigurationError`, one does not exist; otherwise as `translated`.
    """
    found: dict[str, dict[str, Any]] = {}
    with translated(f"checking alarm{'s' if len(names) > 1 else ''} {', '.join(map(repr, names))}"):
        pages = alarms.get_paginator("describe_alarms").paginate(
            AlarmNames=list(names), AlarmTypes=["MetricAlarm", "CompositeAlarm"]
        )
        for page in pages:
            for alarm in (*page.get("MetricAlarms", ()), *page.get("CompositeAlarms", ())):
                found[alarm["AlarmName"]] = alarm
    if missing := [name for name in names if name not in found]:
        raise wrong_configuration(
            f"there is no CloudWatch alarm {', '.join(map(repr, missing))} in region {alarms.meta.region_name}; {remedy}"
        )
    return found


def state_of(alarm: dict[str, Any]) -> str:
    """What state an alarm is in, and why, as a sentence."""
    reason = alarm.get("StateReason")
    return f"alarm {alarm['AlarmName']!r} is in state {alarm['StateValue']}" + (
        f": {reason}" if reason else ""
    )
