"""Rule/AWS/Commands/1: shell commands that must all exit with 0, run as those of the Commands action are.

https://docs.aws.amazon.com/codepipeline/latest/userguide/rule-reference-Commands.html
"""

from __future__ import annotations

from dataclasses import dataclass

from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.declaration import ActionDeclaration, ActionTypeId
from prefect_codepipeline.tasks.providers.commands_compute import CommandsComputeConfiguration, run_commands
from prefect_codepipeline.tasks.registry import ActionContext, InputTree
from prefect_codepipeline.tasks.rule_registry import (
    RuleConfiguration,
    RuleContext,
    RuleResult,
    rule_provider,
)


class CommandsRuleConfiguration(RuleConfiguration):
    """None: everything is in the rule's `commands`."""


@dataclass(frozen=True)
class _CommandsContext(ActionContext):
    """What the Commands action is given, with the rule's own words when it must end early."""

    rule: RuleContext | None = None

    def check(self) -> None:
        if self.rule:
            self.rule.check()


@rule_provider(provider="Commands", inputs=(0, 10), commands=True, timeout_in_minutes=55)
def run_rule_commands(configuration: CommandsRuleConfiguration, context: RuleContext) -> RuleResult:
    """Met when every command exits with 0. Without an input artifact they begin in an empty directory."""
    try:
        result = run_commands(CommandsComputeConfiguration(), _as_action(context))
    except ActionFailed as error:
        if error.code != "JobFailed":
            raise
        return RuleResult("Failed", str(error))
    return RuleResult("Succeeded", result.summary)


def _as_action(context: RuleContext) -> ActionContext:
    kind = ActionTypeId(category="Compute", owner="AWS", provider="Commands", version="1")
    action = ActionDeclaration(name=context.rule.name, action_type_id=kind)
    return _CommandsContext(
        pipeline_name=context.pipeline_name,
        pipeline_execution_id=context.pipeline_execution_id,
        stage_name=context.stage_name,
        # A copy is not validated: limits of the template's length do not hold for resolved commands.
        action=action.model_copy(update={"commands": context.rule.commands, "region": context.rule.region}),
        action_execution_id=context.rule_execution_id,
        scratch=context.scratch,
        deadline=context.deadline,
        input_artifacts=context.input_artifacts or (_nothing(context),),
        settings=context.settings,
        cancellation=context.cancellation,
        logger=context.logger,
        rule=context,
    )


def _nothing(context: RuleContext) -> InputTree:
    directory = context.scratch / "nothing"
    directory.mkdir()
    return InputTree("Nothing", directory)
