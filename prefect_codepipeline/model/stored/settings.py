"""Settings that a pipeline definition has no key for: where actions run, and which blocks they use."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from prefect_codepipeline.model.approvals.policy import AWS_POLICY, EVERYWHERE, ApprovalPolicy
from prefect_codepipeline.model.definition.action_settings import ActionOverride, ActionSettings, check_json
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration, StageDeclaration
from prefect_codepipeline.model.record.notification_rules import NotificationRule
from prefect_codepipeline.model.stored.content import BlockContent
from prefect_codepipeline.model.triggers.matching import Forks

# The key with which a source switches its detection of changes on and off.
_DETECTING = {
    "CodeCommit": "PollForSourceChanges",
    "CodeStarSourceConnection": "DetectChanges",
    "GitHub": "PollForSourceChanges",
    "S3": "PollForSourceChanges",
}


class StoredSettings(BlockContent):
    """Where the actions of a pipeline run, where its artifacts are stored, and where it sends notifications."""

    block_name: ClassVar[str] = "PipelineSettings"
    block_slug: ClassVar[str] = "pipeline-settings"

    defaults: ActionSettings = Field(
        default_factory=ActionSettings, description="The settings for every action of the pipeline."
    )
    overrides: dict[str, ActionOverride] = Field(
        default_factory=dict,
        description="Different settings for a stage ('Build') or an action ('Build/Test'); those of the action take precedence.",
    )
    artifact_store: str | None = Field(
        None,
        description="Name of the ArtifactStore block; if empty, the block 'default', else a local folder.",
    )
    slack_channel: str | None = Field(
        None, description="Name of the SlackChannel block for notifications; no notifications if empty."
    )
    notifications: list[NotificationRule] = Field(
        default_factory=list,
        description="Which events are sent to which Slack channel or URL, in addition to those for `slack_channel`.",
    )

    work_pool: str | None = Field(
        None,
        description="The Prefect work pool whose workers run the executions; applied by `codepipeline deploy`.",
    )
    work_queue: str | None = Field(
        None, description="The work queue of that pool; applied by `codepipeline deploy`."
    )
    job_variables: Annotated[dict[str, Any], AfterValidator(check_json)] = Field(
        default_factory=dict,
        description="Job variables of the deployment, such as `image`; applied by `codepipeline deploy`. null removes one.",
    )
    allowed_pools: list[str] | None = Field(
        None,
        description="The only work pools that the pipeline and its actions may use; empty: all. Those of the block "
        "`default` count for every pipeline. No settings file can set it.",
    )
    pull_requests_of_forks: Forks = Field(
        "never",
        description="What a pull request of a fork does, whose author may be anybody: 'never' starts nothing, 'ask' waits "
        "for `codepipeline trigger allow`, 'always' starts with the pipeline's secrets.",
    )

    approvals: dict[str, ApprovalPolicy] = Field(
        default_factory=dict,
        description="Who may approve, for an action ('Prod/Ok'), a stage ('Prod') or everywhere ('*'). Only the most "
        "specific policy counts. Without a policy, AWS's rules apply.",
    )

    def approval_policy(self, stage_name: str, action_name: str) -> ApprovalPolicy:
        """The policy of one approval: that of its action, else its stage, else the pipeline, else AWS's."""
        names = (f"{stage_name}/{action_name}", stage_name, EVERYWHERE)
        return next((self.approvals[name] for name in names if name in self.approvals), AWS_POLICY)

    def with_polls(self, declaration: PipelineDeclaration) -> PipelineDeclaration:
        """The declaration whose sources detect changes if these settings say that they are polled."""
        return declaration.model_copy(
            update={"stages": [self._with_polls(stage) for stage in declaration.stages]}
        )

    def _with_polls(self, stage: StageDeclaration) -> StageDeclaration:
        actions = [
            action.model_copy(update={"configuration": {**action.configuration, key: "true"}})
            if (key := _DETECTING.get(action.action_type_id.provider))
            and self.for_action(stage.name, action.name).poll
            else action
            for action in stage.actions
        ]
        return stage.model_copy(update={"actions": actions})

    def for_action(self, stage_name: str, action_name: str) -> ActionSettings:
        """The settings of one action: the defaults, changed by its stage's override, then by its own."""
        settings = self.defaults
        for name in (stage_name, f"{stage_name}/{action_name}"):
            if override := self.overrides.get(name):
                settings = settings.changed_by(override)
        return settings
