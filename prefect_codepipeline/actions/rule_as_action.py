"""Run a rule with the code of an action: the context for the action."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone

from prefect_codepipeline.actions.registry import ActionContext, Earlier
from prefect_codepipeline.actions.rule_registry import RuleContext
from prefect_codepipeline.actions.work import InputTree
from prefect_codepipeline.model.definition.declaration import ActionCategory, ActionDeclaration, ActionTypeId


@dataclass(frozen=True)
class RuleAsAction(ActionContext):
    """An action's context whose messages name the rule when it must end early; `memory` is the next one of the rule."""

    rule: RuleContext | None = None
    memory: dict[str, str] = field(default_factory=dict)

    def check(self) -> None:
        if self.rule:
            self.rule.check()


def as_action(context: RuleContext, category: ActionCategory, provider: str) -> RuleAsAction:
    """The context of an action that does a rule's work; without an input artifact it gets an empty one."""
    kept = dict(context.memory)
    kind = ActionTypeId(category=category, owner="AWS", provider=provider, version="1")
    action = ActionDeclaration(name=context.rule.name, action_type_id=kind)
    return RuleAsAction(
        pipeline_name=context.pipeline_name,
        pipeline_execution_id=context.pipeline_execution_id,
        stage_name=context.stage_name,
        # A copy is not validated: the length limits apply to the declaration, not to resolved commands.
        action=action.model_copy(update={"commands": context.rule.commands, "region": context.rule.region}),
        action_execution_id=context.rule_execution_id,
        scratch=context.scratch,
        deadline=context.deadline,
        input_artifacts=context.input_artifacts or (_empty_input(context),),
        settings=context.settings,
        cancellation=context.cancellation,
        logger=context.logger,
        rule=context,
        memory=kept,
        keep=lambda *_, **state: kept.update(state),
        # A process that died may have started the work before the memory was recorded: only the first time is sure.
        earlier=Earlier(_began(context), state=context.memory),
    )


def _began(context: RuleContext) -> datetime:
    """When the rule was evaluated first."""
    return datetime.now(timezone.utc) - (context.now - context.started_at)


def _empty_input(context: RuleContext) -> InputTree:
    directory = context.scratch / "nothing"
    directory.mkdir()
    return InputTree("Nothing", directory)
