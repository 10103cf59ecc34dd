"""What Slack sends when somebody presses Approve or Reject: a dialog is shown, and its answer decides.

https://docs.slack.dev/interactivity/handling-user-interaction
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from prefect_codepipeline.blocks.gateway import Gateway
from prefect_codepipeline.blocks.slack_channel import SlackChannel
from prefect_codepipeline.errors import CodePipelineError, InvalidApprovalTokenException
from prefect_codepipeline.model.approval_policy import ApprovalPolicy
from prefect_codepipeline.model.approval_target import ApprovalTarget
from prefect_codepipeline.model.approver import Approver
from prefect_codepipeline.model.execution import ApprovalVoted
from prefect_codepipeline.model.slack_message import (
    APPROVE,
    COMMENT,
    DECIDE,
    REJECT,
    decision_modal,
    notice_modal,
)
from prefect_codepipeline.tasks.approval_links import check, load_gateway
from prefect_codepipeline.tasks.approval_messages import channel_of, show_decision
from prefect_codepipeline.tasks.approval_view import view_approval
from prefect_codepipeline.tasks.decision import SUMMARY_LENGTH, Answer, as_comment, put_approval_result
from prefect_codepipeline.tasks.executions import KnownExecution
from prefect_codepipeline.tasks.slack_failures import read_failure

_logger = logging.getLogger("codepipeline.gateway")
_STATUS: dict[str, Answer] = {APPROVE: "Approved", REJECT: "Rejected"}


@dataclass(frozen=True)
class Reply:
    """What Slack is answered, within three seconds, and what is done once it was."""

    payload: dict[str, Any] | None = None
    afterwards: Callable[[], None] | None = None


def handle(payload: dict[str, Any], channels: list[SlackChannel]) -> Reply:
    """Answer one interaction.

    Args:
        payload: as Slack sends it, which was checked to come from Slack.
        channels: the channels of the app that it came through.
    """
    kind = payload.get("type")
    if kind == "block_actions":
        return _pressed(payload, channels)
    if kind == "view_submission" and payload.get("view", {}).get("callback_id") == DECIDE:
        return _answered(payload, channels)
    return Reply()


def _pressed(payload: dict[str, Any], channels: list[SlackChannel]) -> Reply:
    """Show the dialog; the trigger is good for three seconds, so nothing comes before it that could wait."""
    action = next((each for each in payload.get("actions", []) if each.get("action_id") in _STATUS), None)
    if action is None:  # buttons that only lead somewhere tell of it too
        return Reply()
    value, status = str(action.get("value", "")), _STATUS[action["action_id"]]
    afterwards, channel = None, channels[0]
    try:
        target = _target(value)
        view = view_approval(target.execution_id, target.token)
        channel = _own(view.known, channels)
        if view.standing == "open":
            metadata = json.dumps({"value": value, "status": status})
            dialog = decision_modal(view.request, view.state, status, metadata)
        else:
            dialog = notice_modal("Nothing to decide", f"{view.sentence}.")
            afterwards = _shower(target)
    except CodePipelineError as error:
        dialog = notice_modal("Nothing was decided", f"{error}.")
    try:
        channel.open_dialog(str(payload.get("trigger_id", "")), dialog)
    except Exception as error:
        _logger.warning("Slack showed no dialog: %s", read_failure(error).text)
    return Reply(None, afterwards)


def _answered(payload: dict[str, Any], channels: list[SlackChannel]) -> Reply:
    view = payload["view"]
    try:
        asked = json.loads(view["private_metadata"])
        target, status = _target(asked["value"]), cast(Answer, asked["status"])
        comment = view["state"]["values"].get(COMMENT, {}).get(COMMENT, {}).get("value") or ""
    except (KeyError, TypeError, AttributeError, ValueError):
        return _notice("Nothing was decided", "Slack's answer could not be read.")
    except CodePipelineError as error:
        return _notice("Nothing was decided", f"{error}.")
    if status not in _STATUS.values():
        return _notice("Nothing was decided", "Slack's answer could not be read.")
    return _decide(target, status, comment, payload.get("user", {}), channels)


def _decide(
    target: ApprovalTarget, status: Answer, comment: str, user: dict[str, Any], channels: list[SlackChannel]
) -> Reply:
    try:
        view = view_approval(target.execution_id, target.token)
        approver = _approver(user, _own(view.known, channels), view.policy)
        written = put_approval_result(
            target.execution_id, target.token, status, approver, as_comment(comment)[:SUMMARY_LENGTH]
        )
    except CodePipelineError as error:
        notice = _notice("Your answer does not count", f"{error}.")
        return Reply(notice.payload, _shower(target))
    _logger.info("execution %s: %s in Slack", target.execution_id, status)
    if isinstance(written, ApprovalVoted):
        notice = _notice("Your approval counts", "It takes more approvals of other people.")
        return Reply(notice.payload, _shower(target))
    return Reply({"response_action": "clear"}, _shower(target))


def _approver(user: dict[str, Any], channel: SlackChannel, policy: ApprovalPolicy) -> Approver:
    """Who that is; what Slack has to be asked for is asked for only where the policy wants it."""
    user_id = str(user.get("id", ""))
    if not user_id:
        raise InvalidApprovalTokenException("Slack does not say who pressed the button")
    name, email = str(user.get("name") or user.get("username") or ""), ""
    groups: list[str] = []
    if policy.asks_who:
        try:
            real_name, email = channel.user(user_id)
            name = real_name or name
            groups = [group for group in policy.groups if channel.has_member(group, user_id)]
        except Exception as error:  # what is not known speaks against the approval, not against the service
            _logger.warning("Slack does not say who user %s is: %s", user_id, read_failure(error).text)
    return Approver(via="slack", name=name, email=email, slack_user=user_id, slack_groups=tuple(groups))


def _target(value: str) -> ApprovalTarget:
    return check(_gateway(), value, "slack-button")


def _gateway() -> Gateway:
    gateway = load_gateway()
    if gateway is None:
        raise InvalidApprovalTokenException("the gateway's block was deleted")
    return gateway


def _own(known: KnownExecution, channels: list[SlackChannel]) -> SlackChannel:
    """The pipeline's own channel, when it belongs to the app that the interaction came through."""
    own = channel_of(known)
    return own if own in channels else channels[0]


def _shower(target: ApprovalTarget) -> Callable[[], None]:
    return lambda: show_decision(target.execution_id, target.token)


def _notice(title: str, text: str) -> Reply:
    return Reply({"response_action": "update", "view": notice_modal(title, text)})
