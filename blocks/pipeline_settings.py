"""What a pipeline's definition has no key for: where its actions run, and with which blocks."""

from __future__ import annotations

from typing import ClassVar

from prefect.blocks.core import Block
from pydantic import Field, HttpUrl

from prefect_codepipeline.model.approvals.policy import AWS_POLICY, EVERYWHERE, ApprovalPolicy
from prefect_codepipeline.model.definition.action_settings import ActionOverride, ActionSettings
from prefect_codepipeline.model.record.notification_rules import NotificationRule


class PipelineSettings(Block):
    """Where the actions of a pipeline run, where its artifacts lie, and where it reports.

    The block named like the pipeline is used, else the one named `default`, else the defaults below.
    """

    _block_type_name: ClassVar[str] = "Pipeline Settings"
    _block_type_slug: ClassVar[str] = "pipeline-settings"
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl(
        "https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-Commands.html"
    )
    _description: ClassVar[str] = "Where the actions of a CodePipeline pipeline run, and with which blocks."

    defaults: ActionSettings = Field(
        default_factory=ActionSettings, description="For every action of the pipeline."
    )
    overrides: dict[str, ActionOverride] = Field(
        default_factory=dict,
        description="What differs for one stage ('Build') or one action ('Build/Test'); the action's wins.",
    )
    artifact_store: str | None = Field(
        None, description="Name of the ArtifactStore block; 'default', or a local folder, when empty."
    )
    slack_channel: str | None = Field(
        None, description="Name of the SlackChannel block to report to; nobody is told when empty."
    )
    notifications: list[NotificationRule] = Field(
        default_factory=list,
        description="Which events are told to which Slack channel or URL, beside what `slack_channel` shows.",
    )

    approvals: dict[str, ApprovalPolicy] = Field(
        default_factory=dict,
        description="Who may approve: of one action ('Prod/Ok'), a stage ('Prod') or everywhere ('*'); the narrowest "
        "counts, as a whole. As in AWS, where nothing is said.",
    )

    def approval_policy(self, stage_name: str, action_name: str) -> ApprovalPolicy:
        """The policy of one approval: the action's own, else its stage's, else the pipeline's, else AWS's."""
        names = (f"{stage_name}/{action_name}", stage_name, EVERYWHERE)
        return next((self.approvals[name] for name in names if name in self.approvals), AWS_POLICY)

    def for_action(self, stage_name: str, action_name: str) -> ActionSettings:
        """The settings of one action: the defaults, changed by its stage's override, then by its own."""
        changes: dict[str, object] = {}
        for name in (stage_name, f"{stage_name}/{action_name}"):
            if override := self.overrides.get(name):
                changes |= override.model_dump(exclude_none=True)
        return self.defaults.model_copy(update=changes)
