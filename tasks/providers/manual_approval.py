"""Approval/AWS/Manual/1: what a reviewer is shown; the waiting itself is `flows/approval.py`.

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
    """What a reviewer is told; variables are allowed in every value."""

    notification_arn: str | None = None
    external_entity_link: str | None = None
    custom_data: str | None = None


@action_provider(category="Approval", provider="Manual", inputs=(0, 0), outputs=(0, 0), restartable=True)
def describe_review(configuration: ManualApprovalConfiguration, context: ActionContext) -> ActionResult:
    """Say what is to be reviewed."""
    if configuration.notification_arn:
        context.logger.warning(
            "NotificationArn of action %r is not used: Amazon SNS is not reached from here; "
            "people are told through the pipeline's Slack channel",
            context.action.name,
        )
    return ActionResult(
        summary=configuration.custom_data or "",
        external_execution_url=configuration.external_entity_link,
    )
