"""Keep the Slack messages of an approval up to date: its decision, its approvers so far, and one reminder."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from prefect_codepipeline.blocks.slack_channel import SlackChannel
from prefect_codepipeline.engine.approvals.links import load_gateway
from prefect_codepipeline.engine.approvals.view import ApprovalView, view_approval
from prefect_codepipeline.engine.executions.definitions import settings_of
from prefect_codepipeline.engine.executions.lookup import KnownExecution
from prefect_codepipeline.engine.executions.record import RecordOf, utc_now
from prefect_codepipeline.engine.notifications.slack import ASKED, DECIDED, EXECUTION, REMINDED
from prefect_codepipeline.engine.notifications.slack_channels import load_slack_channel, ways_to_decide
from prefect_codepipeline.engine.notifications.slack_failures import read_failure
from prefect_codepipeline.engine.notifications.wants import wants_of
from prefect_codepipeline.errors import CodePipelineError
from prefect_codepipeline.model.approvals.policy import ApprovalPolicy
from prefect_codepipeline.model.record.facts import ApprovalRequested, NotificationSent
from prefect_codepipeline.model.views.slack_message import (
    Message,
    approval_reply,
    decided_reply,
    reminder_reply,
)
from prefect_codepipeline.prefect_api.ui import run_url

_logger = logging.getLogger(__name__)


def show_decision(execution_id: str, token: str) -> None:
    """Update the approval's Slack message, if there is one, to its current status; a failure is only logged.

    The execution's own process makes the same update when it resumes, so nothing depends on this call.
    """
    try:
        view = view_approval(execution_id, token)
        for channel in channels_of(view.known):
            if request := _notification(view.known, f"{ASKED}{token}", channel):
                _update_message(channel, view, token, request)
    except CodePipelineError as error:
        _logger.warning("execution %s: could not update the approval in Slack: %s", execution_id, error)


def _update_message(channel: SlackChannel, view: ApprovalView, token: str, request: NotificationSent) -> None:
    channel_id, _, ts = request.message_id.partition("/")
    try:
        channel.update(channel_id, ts, *_message(view, channel))
    except CodePipelineError:
        raise
    except Exception as error:
        failure = read_failure(error)
        _logger.warning(
            "execution %s: could not update the approval in Slack: %s", view.known.id, failure.text
        )
        return
    if view.standing != "open":
        _record(view.known, f"{DECIDED}{token}", channel, request.message_id)


def withdraw_buttons(known: KnownExecution) -> None:
    """Remove the buttons from every message of an execution whose approval can no longer be decided."""
    sent = {(fact.subject, fact.channel) for fact in known.facts if isinstance(fact, NotificationSent)}
    asked = {(each.removeprefix(ASKED), channel) for each, channel in sent if each.startswith(ASKED)}
    for token in sorted({token for token, channel in asked if (f"{DECIDED}{token}", channel) not in sent}):
        show_decision(known.id, token)


def reminder_due(request: ApprovalRequested, policy: ApprovalPolicy) -> datetime | None:
    """When to send the reminder of an approval; None without reminders, or if the approval is open too briefly."""
    if policy.remind_minutes_before is None:
        return None
    before = timedelta(minutes=policy.remind_minutes_before)
    return request.expires_at - before if request.expires_at - request.at >= 2 * before else None


def remind(known: KnownExecution, request: ApprovalRequested) -> bool:
    """Post the one reminder of an approval in every channel that got its request; whether this call posted any.

    The reminder is recorded before it is posted: a lost reminder does less harm than one that comes every minute.
    """
    posted = [_remind_in(channel, known, request) for channel in channels_of(known)]
    return any(posted)


def _remind_in(channel: SlackChannel, known: KnownExecution, request: ApprovalRequested) -> bool:
    if known.state is None:
        return False
    parent = _notification(known, EXECUTION, channel)
    asked = _notification(known, f"{ASKED}{request.token}", channel)
    if asked is None or not _record(known, f"{REMINDED}{request.token}", channel, asked.message_id):
        return False
    minutes = max(0, round((request.expires_at - utc_now()).total_seconds() / 60))
    left = f"{minutes} minutes" if minutes < 120 else f"{minutes // 60} hours"
    try:
        thread = (parent or asked).message_id.partition("/")[2]
        channel.post(*reminder_reply(request, known.state, left), thread_ts=thread)
    except Exception as error:
        _logger.warning(
            "execution %s: could not post the approval's reminder in Slack: %s",
            known.id,
            read_failure(error).text,
        )
        return False
    return True


def is_reminded(known: KnownExecution, token: str) -> bool:
    """Whether a reminder of that approval was recorded."""
    return any(
        isinstance(fact, NotificationSent) and fact.subject == f"{REMINDED}{token}" for fact in known.facts
    )


def _message(view: ApprovalView, channel: SlackChannel) -> Message:
    url = run_url(view.known.id)
    if view.standing == "open":
        ways = ways_to_decide(view.state, view.request, channel, load_gateway())
        return approval_reply(view.request, view.state, url, ways)
    return decided_reply(view.request, view.state, url, view.standing, view.sentence)


def channels_of(known: KnownExecution) -> list[SlackChannel]:
    """The channels that the pipeline currently reports to, by its settings; the default channel first."""
    assert known.state, "only an execution that has started has notified a channel"
    pinned = known.state.pinned
    names = wants_of(settings_of(pinned.pipeline_name, pinned.settings_id))
    return [channel for channel in map(load_slack_channel, names) if channel]


def _notification(known: KnownExecution, subject: str, channel: SlackChannel) -> NotificationSent | None:
    return next(
        (
            fact
            for fact in known.facts
            if isinstance(fact, NotificationSent)
            and (fact.subject, fact.channel) == (subject, channel.channel)
        ),
        None,
    )


def _record(known: KnownExecution, subject: str, channel: SlackChannel, message_id: str) -> bool:
    fact = NotificationSent(at=utc_now(), subject=subject, channel=channel.channel, message_id=message_id)
    return RecordOf(known.id).write(fact)
