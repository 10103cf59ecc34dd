"""Approval/AWS/Manual/1: the information for the reviewer. `flows/approval.py` waits for the decision.

https://docs.aws.amazon.com/codepipeline/latest/userguide/approvals-action-add.html
"""

from __future__ import annotations

from prefect_codepipeline.actions.registry import (
    ActionConfiguration,
    ActionContext,
    ActionResult,
    action_provider,
)


class ManualApprovalConfiguration(ActionConfiguration):
    """The information for the reviewer; every value may contain variables."""

    notification_arn: str | None = None
    external_entity_link: str | None = None
    custom_data: str | None = None


@action_provider(category="Approval", provider="Manual", inputs=(0, 0), outputs=(0, 0), restartable=True)
def describe_review(configuration: ManualApprovalConfiguration, context: ActionContext) -> ActionResult:
    """Return the information for the reviewer."""
    if configuration.notification_arn:
        context.logger.warning(
            "NotificationArn of action %r is not used: Amazon SNS is not supported; "
            "reviewers are notified in the pipeline's Slack channel",
            context.action.name,
        )
    return ActionResult(
        summary=configuration.custom_data or "",
        external_execution_url=configuration.external_entity_link,
    )
