"""Rule/AWS/CloudWatchAlarm/1: check an alarm once, or watch it for some time.

https://docs.aws.amazon.com/codepipeline/latest/userguide/rule-reference-CloudWatchAlarm.html
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import quote

from pydantic import Field, field_validator

from prefect_codepipeline.actions.aws.account import account_with
from prefect_codepipeline.actions.aws.alarms import read_alarms, state_of
from prefect_codepipeline.actions.aws.client import translated
from prefect_codepipeline.actions.aws.console import console_url
from prefect_codepipeline.actions.rule_registry import (
    RuleConfiguration,
    RuleContext,
    RuleResult,
    WaitUntil,
    rule_provider,
)

STATES = ("ALARM", "OK", "INSUFFICIENT_DATA")
CHECK_EVERY = timedelta(seconds=60)  # the shortest period of an ordinary alarm
MOST_MINUTES = 86_400


class CloudWatchAlarmConfiguration(RuleConfiguration):
    """`AlarmStates`: the states that count as bad, separated by commas. `WaitTime`: how many minutes to watch the alarm."""

    alarm_name: str
    alarm_states: str = "ALARM"
    wait_time: int = Field(0, ge=0, le=MOST_MINUTES)

    @field_validator("alarm_states")
    @classmethod
    def _known(cls, alarm_states: str) -> str:
        if unknown := _split(alarm_states) - set(STATES):
            raise ValueError(
                f"there is no alarm state {', '.join(sorted(unknown))!r}; use {', '.join(STATES)}"
            )
        return alarm_states

    @property
    def bad_states(self) -> set[str]:
        return _split(self.alarm_states)


# WaitTime ends the rule, so it needs no timeout.
@rule_provider(provider="CloudWatchAlarm", timeout_in_minutes=MOST_MINUTES)
def check_alarm(configuration: CloudWatchAlarmConfiguration, context: RuleContext) -> RuleResult | WaitUntil:
    """Whether the rule is met depends on the state of the alarm and on the condition.

    - `beforeEntry`: met if the alarm is not in a bad state; waits for that, up to `WaitTime`.
    - `onSuccess`: the same, but with a `WaitTime` the alarm must also stay like that for the whole time: if it goes
      into a bad state, the rule fails at once.
    - `onFailure`: met if the alarm is in a bad state; waits for that, up to `WaitTime`.
    """
    alarm = _describe(configuration.alarm_name, context)
    is_bad = alarm["StateValue"] in configuration.bad_states
    now_in = state_of(alarm)
    url = _url(alarm["AlarmArn"])
    end = context.started_at + timedelta(minutes=configuration.wait_time)
    has_ended = context.now >= end
    was_good = context.memory.get("was_good") == "true"

    if context.condition == "onFailure":
        is_met, is_settled = is_bad, is_bad
    elif context.condition == "onSuccess":
        is_met, is_settled = not is_bad, is_bad and was_good
    else:
        is_met, is_settled = not is_bad, not is_bad
    if is_settled or has_ended:
        return RuleResult("Succeeded" if is_met else "Failed", now_in, alarm["AlarmArn"], url)
    return WaitUntil(
        min(context.now + CHECK_EVERY, end),
        f"{now_in}; watched until {end:%Y-%m-%d %H:%M} UTC",
        {"was_good": "true" if was_good or not is_bad else "false"},
        alarm["AlarmArn"],
        url,
    )


def _describe(name: str, context: RuleContext) -> dict[str, Any]:
    with translated(f"checking alarm {name!r}"):
        account = account_with(context.settings.aws, context.rule.region, context.rule.role_arn)
        client = account.client("cloudwatch")
    return read_alarms(client, [name], "check its name, and the 'region' of the rule")[name]


def _url(arn: str) -> str | None:
    name = quote(arn.split(":", 6)[6], safe="")
    return console_url(arn, f"cloudwatch/home?region={{region}}#alarmsV2:alarm/{name}")


def _split(states: str) -> set[str]:
    return {state.strip() for state in states.split(",") if state.strip()}
