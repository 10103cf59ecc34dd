"""Publish the status of an execution while it runs: the run's name and tags, a page in Prefect's UI, Slack."""

from __future__ import annotations

import logging
from collections.abc import Callable

from prefect_codepipeline.blocks.slack_channel import SlackChannel
from prefect_codepipeline.engine.approvals.links import load_gateway
from prefect_codepipeline.engine.executions.definitions import pinned_declaration, settings_of
from prefect_codepipeline.engine.executions.follower import Follower
from prefect_codepipeline.engine.executions.lookup import read_execution
from prefect_codepipeline.engine.executions.process import Execution
from prefect_codepipeline.engine.executions.record import RecordOf
from prefect_codepipeline.engine.executions.task_runs import end_what_is_pending, show_stages_to_come
from prefect_codepipeline.engine.notifications.commit_statuses import final_statuses
from prefect_codepipeline.engine.notifications.event_webhooks import senders_of
from prefect_codepipeline.engine.notifications.events import History
from prefect_codepipeline.engine.notifications.outbox import close_all
from prefect_codepipeline.engine.notifications.slack import Notifier
from prefect_codepipeline.engine.notifications.slack_channels import load_slack_channel
from prefect_codepipeline.engine.notifications.wants import wants_of
from prefect_codepipeline.errors import CodePipelineError
from prefect_codepipeline.model.names import slug
from prefect_codepipeline.model.record.facts import AnyFact, ExecutionPinned, NotificationSent
from prefect_codepipeline.model.record.state import ExecutionState
from prefect_codepipeline.model.stored.gateway import StoredGateway
from prefect_codepipeline.model.stored.settings import StoredSettings
from prefect_codepipeline.model.views.page import execution_page
from prefect_codepipeline.prefect_api.client import call, flow_run
from prefect_codepipeline.prefect_api.ui import run_url

_PAUSE_SECONDS = 1.0  # each update costs the server more than a fact does
_logger = logging.getLogger(__name__)


class Reporter(Follower):
    """Publishes the status of one execution; of the states that arrive during an update, only the last is published."""

    def __init__(self, execution: Execution) -> None:
        super().__init__(execution, "codepipeline-report", _PAUSE_SECONDS)

    def _follow(self) -> None:
        execution = self._execution
        page, history = _Page(execution.id), History(execution.id, execution.declaration)
        is_first = execution.process == 1
        notifiers = self._notifiers()
        for _ in self._changes():
            state, events = execution.state, history.of(execution.facts)
            for notifier in notifiers:
                notifier.queue(state, run_url(state.execution_id), events)
            try:
                page.update(state)
                # An execution that ends at once has nothing still to come.
                if is_first and not state.final:
                    show_stages_to_come(state)
                if state.final and (_has_left_out(state) or _a_process_was_killed(execution)):
                    end_what_is_pending(state)
                is_first = False
            except CodePipelineError as error:
                _logger.warning("the execution's page in Prefect's UI could not be updated: %s", error)
        close_all(notifiers)

    def _notifiers(self) -> list[Notifier]:
        execution = self._execution
        try:
            return notifiers_of(execution.settings, execution.facts, execution.record.write)
        except CodePipelineError as error:
            _logger.warning("no messages are sent to Slack: %s", error)
            return []


def _has_left_out(state: ExecutionState) -> bool:
    """Whether an execution that has ended did not run every stage."""
    return state.status != "Succeeded" or any(stage.status == "Skipped" for stage in state.stages)


def _a_process_was_killed(execution: Execution) -> bool:
    """Whether an earlier process of the execution ended without saying so. It may not have sent the states of its task runs."""
    keys = {fact.key for fact in execution.facts}
    return any(f"process-{number}-ended" not in keys for number in range(1, execution.process))


def notifiers_of(
    settings: StoredSettings, facts: list[AnyFact], on_posted: Callable[[NotificationSent], object]
) -> list[Notifier]:
    """One notifier for each Slack channel in the settings; for a channel that cannot be used, a warning is logged."""
    channels = {name: (_channel(name), wants) for name, wants in wants_of(settings).items()}
    gateway = _gateway() if channels else None
    return [
        Notifier(channel, facts, on_posted, gateway, wants) for channel, wants in channels.values() if channel
    ]


def publish_final_state(execution_id: str) -> None:
    """Report the end of an execution that was ended from outside, in place of its process; errors are only logged."""
    try:
        known = read_execution(execution_id)
        if known.state is None:
            return
        pinned = known.state.pinned
        settings = settings_of(pinned.pipeline_name, pinned.settings_id)
        declaration = pinned_declaration(pinned.definition_id)
        facts = list(known.facts)
        events = History(execution_id, declaration).of(facts)
        senders = senders_of(settings, declaration, facts, RecordOf(execution_id).write)
        notifiers = notifiers_of(settings, facts, RecordOf(execution_id).write)
    except CodePipelineError as error:
        _logger.warning(
            "execution %s: its end could not be reported to Slack and webhooks: %s", execution_id, error
        )
        return
    for notifier in notifiers:
        notifier.queue(known.state, run_url(execution_id), events)
    for sender in senders:
        sender.queue(events, is_final=True)
    close_all([*notifiers, *senders, *final_statuses(known.state)])
    try:
        end_what_is_pending(known.state)
    except CodePipelineError as error:
        _logger.warning(
            "execution %s: what it did not reach is still shown as pending: %s", execution_id, error
        )


def _channel(name: str) -> SlackChannel | None:
    try:
        channel = load_slack_channel(name)
    except CodePipelineError as error:
        _logger.warning("no messages are sent to Slack channel %r: %s", name, error)
        return None
    if channel is None:
        _logger.warning(
            "no messages are sent to Slack: there is no SlackChannel block %r; create it with "
            "`codepipeline slack add %s --channel ID`", name, name,
        )  # fmt: skip
    return channel


def _gateway() -> StoredGateway | None:
    """The gateway through which approvals can be decided from Slack, or None."""
    try:
        return load_gateway()
    except CodePipelineError as error:
        _logger.warning(
            "messages in Slack have no buttons, because the gateway's settings cannot be read: %s", error
        )
        return None


class _Page:
    """The run's name, its tags and its markdown artifact; each is sent only if it has changed."""

    def __init__(self, execution_id: str) -> None:
        self._execution_id = execution_id
        self._artifact_id: str | None = None
        self._name = ""
        self._text = ""

    def update(self, state: ExecutionState) -> None:
        name, text = run_name(state), execution_page(state)
        if name != self._name:
            self._update_name(state, name)
            self._name = name
        if text != self._text:
            self._update_artifact(state, text)
            self._text = text

    def _update_name(self, state: ExecutionState, name: str) -> None:
        run = flow_run(self._execution_id)
        if run is not None:  # tags that a user added are kept
            body = {"name": name, "tags": sorted({*run["tags"], *run_tags(state)})}
            call("PATCH", f"/flow_runs/{self._execution_id}", body, expected=(404,))

    def _update_artifact(self, state: ExecutionState, text: str) -> None:
        self._artifact_id = self._artifact_id or self._find_artifact()
        if self._artifact_id:
            call("PATCH", f"/artifacts/{self._artifact_id}", {"data": text}, expected=(404,))
            return
        body = {
            "key": artifact_key(state.pinned.pipeline_name),
            "type": "markdown",
            "description": f"The status of execution {self._execution_id}.",
            "data": text,
            "flow_run_id": self._execution_id,
        }
        _, artifact = call("POST", "/artifacts/", body)
        self._artifact_id = str(artifact["id"])

    def _find_artifact(self) -> str | None:
        # An earlier process of the same execution may have created it.
        wanted = {"flow_run_id": {"any_": [self._execution_id]}, "type": {"any_": ["markdown"]}}
        _, found = call("POST", "/artifacts/filter", {"artifacts": wanted, "limit": 1})
        return str(found[0]["id"]) if found else None


def artifact_key(pipeline_name: str) -> str:
    """The key under which Prefect's UI lists the pages of a pipeline's executions."""
    return f"pipeline-{slug(pipeline_name)}"


def run_name(state: ExecutionState) -> str:
    """The flow run's name: pipeline, short id, and the source revision once it is known."""
    revisions = list(state.source_revisions.values())
    what = (
        f" {revisions[0].revision_id[:7]} {revisions[0].revision_summary.partition(chr(10))[0][:60]}"
        if revisions
        else ""
    )
    return f"{state.pinned.pipeline_name} {state.execution_id[:8]}{what}".strip()


def run_tags(state: ExecutionState) -> list[str]:
    """The tags for filters in Prefect's UI: pipeline, trigger and revisions."""
    pinned: ExecutionPinned = state.pinned
    tags = ["codepipeline", f"pipeline:{pinned.pipeline_name}", f"trigger:{pinned.trigger_type}"]
    return [*tags, *(f"revision:{revision.revision_id[:12]}" for revision in state.source_revisions.values())]
