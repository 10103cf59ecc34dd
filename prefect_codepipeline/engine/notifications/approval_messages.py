"""Keep what Slack shows of an approval true: who decided, who approved so far, that it expires soon."""

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
    """Change the message that asked, if there is one, to how the approval stands now; a failure is only logged.

    The execution's own process does the same once it is awake, so that nothing depends on this.
    """
    try:
        view = view_approval(execution_id, token)
        for channel in channels_of(view.known):
            if asked := _sent(view.known, f"{ASKED}{token}", channel):
                _show_in(channel, view, token, asked)
    except CodePipelineError as error:
        _logger.warning("execution %s: Slack's message was not changed: %s", execution_id, error)


def _show_in(channel: SlackChannel, view: ApprovalView, token: str, asked: NotificationSent) -> None:
    channel_id, _, ts = asked.message_id.partition("/")
    try:
        channel.update(channel_id, ts, *_message(view, channel))
    except CodePipelineError:
        raise
    except Exception as error:
        failure = read_failure(error)
        _logger.warning("execution %s: Slack's message was not changed: %s", view.known.id, failure.text)
        return
    if view.standing != "open":
        _note(view.known, f"{DECIDED}{token}", channel, asked.message_id)


def withdraw_buttons(known: KnownExecution) -> None:
    """Take the buttons from every message of an execution that asks for what nobody decides any more."""
    sent = {(fact.subject, fact.channel) for fact in known.facts if isinstance(fact, NotificationSent)}
    asked = {(each.removeprefix(ASKED), channel) for each, channel in sent if each.startswith(ASKED)}
    for token in sorted({token for token, channel in asked if (f"{DECIDED}{token}", channel) not in sent}):
        show_decision(known.id, token)


def reminder_due(request: ApprovalRequested, policy: ApprovalPolicy) -> datetime | None:
    """When to remind of an approval; None for one that is open only a little longer than that."""
    if policy.remind_minutes_before is None:
        return None
    before = timedelta(minutes=policy.remind_minutes_before)
    return request.expires_at - before if request.expires_at - request.at >= 2 * before else None


def remind(known: KnownExecution, request: ApprovalRequested) -> bool:
    """Post the one reminder of an approval wherever it was asked for; whether this call did.

    Written down before it is posted: a reminder that is lost does less harm than one that comes every minute.
    """
    reminded = [_remind_in(channel, known, request) for channel in channels_of(known)]
    return any(reminded)


def _remind_in(channel: SlackChannel, known: KnownExecution, request: ApprovalRequested) -> bool:
    if known.state is None:
        return False
    parent = _sent(known, EXECUTION, channel)
    asked = _sent(known, f"{ASKED}{request.token}", channel)
    if asked is None or not _note(known, f"{REMINDED}{request.token}", channel, asked.message_id):
        return False
    minutes = max(0, round((request.expires_at - utc_now()).total_seconds() / 60))
    left = f"{minutes} minutes" if minutes < 120 else f"{minutes // 60} hours"
    try:
        thread = (parent or asked).message_id.partition("/")[2]
        channel.post(*reminder_reply(request, known.state, left), thread_ts=thread)
    except Exception as error:
        _logger.warning("execution %s: Slack was not reminded: %s", known.id, read_failure(error).text)
        return False
    return True


def is_reminded(known: KnownExecution, token: str) -> bool:
    """Whether somebody has reminded of that approval."""
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
    """The channels that the pipeline reports to, as its settings say it now, the default one first."""
    assert known.state, "only an execution that has begun has reported"
    pinned = known.state.pinned
    names = wants_of(settings_of(pinned.pipeline_name, pinned.settings_id))
    return [channel for channel in map(load_slack_channel, names) if channel]


def _sent(known: KnownExecution, subject: str, channel: SlackChannel) -> NotificationSent | None:
    return next(
        (
            fact
            for fact in known.facts
            if isinstance(fact, NotificationSent)
            and (fact.subject, fact.channel) == (subject, channel.channel)
        ),
        None,
    )


def _note(known: KnownExecution, subject: str, channel: SlackChannel, message_id: str) -> bool:
    fact = NotificationSent(at=utc_now(), subject=subject, channel=channel.channel, message_id=message_id)
    return RecordOf(known.id).write(fact)
