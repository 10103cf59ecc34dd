"""Rule/AWS/Commands/1: shell commands must all exit with 0; they run like those of a Commands action.

https://docs.aws.amazon.com/codepipeline/latest/userguide/rule-reference-Commands.html
"""

from __future__ import annotations

from prefect_codepipeline.actions.rule_as_action import as_action
from prefect_codepipeline.actions.rule_registry import (
    RuleConfiguration,
    RuleContext,
    RuleResult,
    rule_provider,
)
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.tasks.providers.build.commands_compute import (
    CommandsComputeConfiguration,
    run_commands,
)


class CommandsRuleConfiguration(RuleConfiguration):
    """No configuration: the commands are in the rule's field `commands`."""


@rule_provider(provider="Commands", inputs=(0, 10), commands=True, timeout_in_minutes=55)
def run_rule_commands(configuration: CommandsRuleConfiguration, context: RuleContext) -> RuleResult:
    """Met when every command exits with 0. Without an input artifact they start in an empty directory."""
    try:
        result = run_commands(CommandsComputeConfiguration(), as_action(context, "Compute", "Commands"))
    except ActionFailed as error:
        if error.code != "JobFailed":
            raise
        return RuleResult("Failed", str(error))
    return RuleResult("Succeeded", result.summary)
