"""What Slack sends when somebody presses Approve or Reject: a dialog is shown, and its answer decides.

https://docs.slack.dev/interactivity/handling-user-interaction
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prefect_codepipeline.blocks.slack_channel import SlackChannel
from prefect_codepipeline.engine.approvals.decision import SUMMARY_LENGTH, as_comment, put_approval_result
from prefect_codepipeline.engine.approvals.links import check, load_gateway
from prefect_codepipeline.engine.approvals.view import view_approval
from prefect_codepipeline.engine.executions.lookup import KnownExecution
from prefect_codepipeline.engine.notifications.approval_messages import channels_of, show_decision
from prefect_codepipeline.engine.notifications.slack_failures import read_failure
from prefect_codepipeline.errors import CodePipelineError, InvalidApprovalTokenException
from prefect_codepipeline.model.approvals.policy import ApprovalPolicy
from prefect_codepipeline.model.approvals.target import ApprovalTarget
from prefect_codepipeline.model.approver import Approver
from prefect_codepipeline.model.record.facts import ApprovalVoted
from prefect_codepipeline.model.views.slack_interaction import (
    Pressed,
    SlackUser,
    Submitted,
    dialog_metadata,
    read_interaction,
)
from prefect_codepipeline.model.views.slack_message import decision_modal, notice_modal

_logger = logging.getLogger("codepipeline.gateway")


@dataclass(frozen=True)
class Reply:
    """What Slack is answered, within three seconds, and what is done once it was."""

    payload: dict[str, Any] | None = None
    afterwards: Callable[[], None] | None = None


def handle(payload: Any, channels: list[SlackChannel]) -> Reply:
    """Answer one interaction.

    Args:
        payload: as Slack sends it, which was checked to come from Slack.
        channels: the channels of the app that it came through.
    """
    done = read_interaction(payload)
    if isinstance(done, Pressed):
        return _pressed(done, channels)
    if isinstance(done, Submitted):
        return _submitted(done, channels)
    return Reply()


def _pressed(pressed: Pressed, channels: list[SlackChannel]) -> Reply:
    """Show the dialog; the trigger is good for three seconds, so nothing comes before it that could wait."""
    afterwards, channel = None, channels[0]
    try:
        target = _target(pressed.value)
        view = view_approval(target.execution_id, target.token)
        channel = _own(view.known, channels)
        if view.standing == "open":
            metadata = dialog_metadata(pressed)
            dialog = decision_modal(view.request, view.state, pressed.answer, metadata)
        else:
            dialog = notice_modal("Nothing to decide", f"{view.sentence}.")
            afterwards = _shower(target)
    except CodePipelineError as error:
        dialog = notice_modal("Nothing was decided", f"{error}.")
    try:
        channel.open_dialog(pressed.trigger_id, dialog)
    except Exception as error:
        _logger.warning("Slack showed no dialog: %s", read_failure(error).text)
    return Reply(None, afterwards)


def _submitted(submitted: Submitted, channels: list[SlackChannel]) -> Reply:
    try:
        target = _target(submitted.value)
    except CodePipelineError as error:
        return _notice("Nothing was decided", f"{error}.")
    comment = as_comment(submitted.comment)[:SUMMARY_LENGTH]
    try:
        view = view_approval(target.execution_id, target.token)
        approver = _approver(submitted.user, _own(view.known, channels), view.policy)
        written = put_approval_result(target.execution_id, target.token, submitted.answer, approver, comment)
    except CodePipelineError as error:
        notice = _notice("Your answer does not count", f"{error}.")
        return Reply(notice.payload, _shower(target))
    _logger.info("execution %s: %s in Slack", target.execution_id, submitted.answer)
    if isinstance(written, ApprovalVoted):
        notice = _notice("Your approval counts", "It takes more approvals of other people.")
        return Reply(notice.payload, _shower(target))
    return Reply({"response_action": "clear"}, _shower(target))


def _approver(user: SlackUser, channel: SlackChannel, policy: ApprovalPolicy) -> Approver:
    """Who that is; what Slack has to be asked for is asked for only where the policy wants it."""
    name, email, groups = user.name, "", []
    if policy.asks_who:
        try:
            real_name, email = channel.user(user.id)
            name = real_name or name
            groups = [group for group in policy.groups if channel.has_member(group, user.id)]
        except Exception as error:  # what is not known speaks against the approval, not against the service
            _logger.warning("Slack does not say who user %s is: %s", user.id, read_failure(error).text)
    return Approver(via="slack", name=name, email=email, slack_user=user.id, slack_groups=tuple(groups))


def _target(value: str) -> ApprovalTarget:
    gateway = load_gateway()
    if gateway is None:
        raise InvalidApprovalTokenException("the gateway's block was deleted")
    return check(gateway, value, "slack-button")


def _own(known: KnownExecution, channels: list[SlackChannel]) -> SlackChannel:
    """The pipeline's own channel, when it belongs to the app that the interaction came through."""
    return next((own for own in channels_of(known) if own in channels), channels[0])


def _shower(target: ApprovalTarget) -> Callable[[], None]:
    return lambda: show_decision(target.execution_id, target.token)


def _notice(title: str, text: str) -> Reply:
    return Reply({"response_action": "update", "view": notice_modal(title, text)})
