"""Slack interactions: a press on Approve or Reject opens a dialog, and submitting the dialog decides.

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
from prefect_codepipeline.errors import (
    AnswerUnconfirmed,
    CodePipelineError,
    InvalidApprovalTokenException,
    PrefectUnavailable,
)
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
    """The response to Slack, due within three seconds, and the work to do after it."""

    payload: dict[str, Any] | None = None
    afterwards: Callable[[], None] | None = None


def handle(payload: Any, channels: list[SlackChannel]) -> Reply:
    """Answer one interaction.

    Args:
        payload: Slack's payload, with its signature already checked.
        channels: the channels of the Slack app that sent it.
    """
    done = read_interaction(payload)
    if isinstance(done, Pressed):
        return _pressed(done, channels)
    if isinstance(done, Submitted):
        return _submitted(done, channels)
    return Reply()


def _pressed(pressed: Pressed, channels: list[SlackChannel]) -> Reply:
    """Open the dialog. The trigger expires after three seconds, so other work is done later."""
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
            afterwards = _message_update(target)
    except CodePipelineError as error:
        dialog = notice_modal("No decision recorded", f"{error}.")
    try:
        channel.open_dialog(pressed.trigger_id, dialog)
    except Exception as error:
        _logger.warning("Slack did not open the dialog: %s", read_failure(error).text)
    return Reply(None, afterwards)


def _submitted(submitted: Submitted, channels: list[SlackChannel]) -> Reply:
    try:
        target = _target(submitted.value)
    except CodePipelineError as error:
        return _notice("No decision recorded", f"{error}.")
    comment = as_comment(submitted.comment)[:SUMMARY_LENGTH]
    try:
        view = view_approval(target.execution_id, target.token)
        approver = _approver(submitted.user, _own(view.known, channels), view.policy)
        written = put_approval_result(target.execution_id, target.token, submitted.answer, approver, comment)
    except CodePipelineError as error:
        title, text = _refusal(error)
        return Reply(_notice(title, text).payload, _message_update(target))
    _logger.info("execution %s: %s in Slack", target.execution_id, submitted.answer)
    if isinstance(written, ApprovalVoted):
        notice = _notice("Your approval counts", "More approvals of other people are needed.")
        return Reply(notice.payload, _message_update(target))
    return Reply({"response_action": "clear"}, _message_update(target))


def _refusal(error: CodePipelineError) -> tuple[str, str]:
    """The title and text of the notice: not accepted, not recorded, or not known."""
    if isinstance(error, AnswerUnconfirmed):
        text = (
            "Prefect did not confirm your answer: it may be recorded, or not. The message shows the decision as soon as there "
            "is one. Answer again if it still has its buttons in a minute."
        )
        return "Answer not confirmed", text
    if isinstance(error, PrefectUnavailable):
        return "No decision recorded", "Prefect does not answer at the moment. Answer again in a minute."
    return "Answer not accepted", f"{error}."


def _approver(user: SlackUser, channel: SlackChannel, policy: ApprovalPolicy) -> Approver:
    """The approver. Queries Slack for the user's e-mail and groups only if the policy needs them."""
    name, email, groups = user.name, "", []
    if policy.asks_who:
        try:
            real_name, email = channel.user(user.id)
            name = real_name or name
            groups = [group for group in policy.groups if channel.has_member(group, user.id)]
        except (
            Exception
        ) as error:  # without these data the policy refuses the approval; this is not an error of the service
            _logger.warning(
                "Slack did not return the details of user %s: %s", user.id, read_failure(error).text
            )
    return Approver(via="slack", name=name, email=email, slack_user=user.id, slack_groups=tuple(groups))


def _target(value: str) -> ApprovalTarget:
    gateway = load_gateway()
    if gateway is None:
        raise InvalidApprovalTokenException("the gateway's block was deleted")
    return check(gateway, value, "slack-button")


def _own(known: KnownExecution, channels: list[SlackChannel]) -> SlackChannel:
    """The pipeline's own channel if it belongs to the app that sent the interaction, else the app's first channel."""
    return next((own for own in channels_of(known) if own in channels), channels[0])


def _message_update(target: ApprovalTarget) -> Callable[[], None]:
    return lambda: show_decision(target.execution_id, target.token)


def _notice(title: str, text: str) -> Reply:
    return Reply({"response_action": "update", "view": notice_modal(title, text)})
