"""Rule/AWS/DeploymentWindow/1: continue only at certain times; outside of them, wait.

https://docs.aws.amazon.com/codepipeline/latest/userguide/rule-reference-DeploymentWindow.html
"""

from __future__ import annotations

from pydantic import field_validator

from prefect_codepipeline.actions.rule_registry import (
    RuleConfiguration,
    RuleContext,
    RuleResult,
    WaitUntil,
    rule_provider,
)
from prefect_codepipeline.model.definition.deployment_window import (
    check_expression,
    check_zone,
    is_open,
    next_opening,
)


class DeploymentWindowConfiguration(RuleConfiguration):
    """`Cron`: the minutes in which deployments may start, `seconds minutes hours day-of-month month day-of-week [year]`."""

    cron: str
    time_zone: str = "UTC"

    @field_validator("cron")
    @classmethod
    def _readable(cls, cron: str) -> str:
        check_expression(cron)
        return cron

    @field_validator("time_zone")
    @classmethod
    def _known(cls, time_zone: str) -> str:
        check_zone(time_zone)
        return time_zone


@rule_provider(provider="DeploymentWindow")
def await_window(
    configuration: DeploymentWindowConfiguration, context: RuleContext
) -> RuleResult | WaitUntil:
    """Met in the window. Outside, wait for it until the rule's timeout."""
    cron, zone = configuration.cron, configuration.time_zone
    window = f"the deployment window {cron!r} ({zone})"
    if is_open(cron, zone, context.now):
        return RuleResult("Succeeded", f"{window} is open")
    opening = next_opening(cron, zone, context.now)
    if opening is None:
        return RuleResult("Failed", f"{window} never opens again")
    return WaitUntil(opening, f"{window} opens at {opening:%Y-%m-%d %H:%M} UTC")
