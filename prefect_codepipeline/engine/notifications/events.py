"""Publish the state changes of an execution as Prefect events, which automations can react to.

https://docs.prefect.io/v3/concepts/events
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

from prefect_codepipeline.engine.executions.follower import Follower
from prefect_codepipeline.engine.executions.process import Execution
from prefect_codepipeline.errors import CodePipelineError
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.record.events import EventBuilder, StateChange
from prefect_codepipeline.model.record.facts import AnyFact, ProcessEnded
from prefect_codepipeline.prefect_api.client import call

_PAUSE_SECONDS = 0.5  # one request sends the events of a burst of facts
_DEFAULT_REGION = "us-east-1"
_logger = logging.getLogger(__name__)


class PrefectEventPublisher(Follower):
    """Publishes the events of one execution, in order.

    It starts after the facts of the last process that ended regularly, because that process has sent its events. The
    events of a killed process are sent by the next process, perhaps for the second time, with the same ids.
    """

    def __init__(self, execution: Execution) -> None:
        super().__init__(execution, "codepipeline-events", _PAUSE_SECONDS)
        self._messenger = Messenger(execution.id, execution.declaration, execution.facts)

    def _follow(self) -> None:
        for _ in self._changes():
            try:
                self._messenger.send(self._execution.facts)
            except CodePipelineError as error:  # tried again with the next change
                _logger.warning("execution %s: could not send its events: %s", self._execution.id, error)


class Messenger:
    """Sends each state change of an execution once, even if the same facts are passed again.

    Args:
        execution_id: the id of the pipeline execution.
        declaration: the definition that the execution runs.
        facts: the facts of the execution when the messenger is created.
    """

    def __init__(self, execution_id: str, declaration: PipelineDeclaration, facts: Sequence[AnyFact]) -> None:
        self._execution_id = execution_id
        self._account, self._region = place_of(declaration)
        self._builder = EventBuilder(execution_id, declaration, self._region)
        self._seen: set[str] = set()
        self._pending: list[StateChange] = []
        self._add(_facts_of_ended_processes(facts))
        self._pending.clear()

    def send(self, facts: Sequence[AnyFact]) -> None:
        """Send the events of new facts. Raises `PrefectUnavailable`; the next call sends the events again."""
        self._add(facts)
        if self._pending:
            events = [as_prefect_event(change, self._account, self._region) for change in self._pending]
            call("POST", "/events", events)
            self._pending.clear()

    def _add(self, facts: Sequence[AnyFact]) -> None:
        for fact in facts:
            if fact.key not in self._seen:
                self._seen.add(fact.key)
                self._pending += self._builder.add(fact)


class History:
    """All state changes of an execution so far, for senders that record themselves which ones they have sent."""

    def __init__(self, execution_id: str, declaration: PipelineDeclaration) -> None:
        self._builder = EventBuilder(execution_id, declaration, place_of(declaration)[1])
        self._seen: set[str] = set()
        self._changes: list[StateChange] = []

    def of(self, facts: Sequence[AnyFact]) -> list[StateChange]:
        """The changes of these facts and of all facts of earlier calls, in order."""
        for fact in facts:
            if fact.key not in self._seen:
                self._seen.add(fact.key)
                self._changes += self._builder.add(fact)
        return list(self._changes)


def place_of(declaration: PipelineDeclaration) -> tuple[str, str]:
    """The account and the region in a pipeline's events."""
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or _DEFAULT_REGION
    return declaration.role_arn.split(":")[4], region


def send_remaining_events(
    execution_id: str, declaration: PipelineDeclaration, facts: Sequence[AnyFact]
) -> None:
    """Send the remaining events of an execution that was ended from outside, so that no process of its own sends them.

    Raises:
        PrefectUnavailable: the API does not respond.
    """
    Messenger(execution_id, declaration, facts).send(facts)


def as_prefect_event(change: StateChange, account: str, region: str) -> dict[str, Any]:
    """The event in the format of Prefect's API; the payload is the complete AWS event (`payload.detail.state`)."""
    detail = change.detail
    pipeline, execution_id = detail["pipeline"], detail["execution-id"]
    resource = {
        "prefect.resource.id": _resource_id(change),
        "prefect.resource.name": detail.get("action") or detail.get("stage") or pipeline,
        "codepipeline.pipeline": pipeline,
        "codepipeline.state": change.state,
        **{f"codepipeline.{key}": detail[key] for key in ("stage", "action") if key in detail},
    }
    return {
        "id": str(change.id),
        "event": change.name,
        "occurred": change.time.isoformat(),
        "resource": resource,
        "related": [
            {
                "prefect.resource.id": f"codepipeline.pipeline.{pipeline}",
                "prefect.resource.role": "pipeline",
                "prefect.resource.name": pipeline,
            },
            {
                "prefect.resource.id": f"prefect.flow-run.{execution_id}",
                "prefect.resource.role": "flow-run",
            },
        ],
        "payload": change.to_event_bridge(account, region),
    }


def _resource_id(change: StateChange) -> str:
    detail = change.detail
    if change.level == "action":
        return f"codepipeline.action-execution.{detail['action-execution-id']}"
    if change.level == "stage":
        return f"codepipeline.stage-execution.{detail['execution-id']}.{detail['stage']}"
    return f"codepipeline.pipeline-execution.{detail['execution-id']}"


def _facts_of_ended_processes(facts: Sequence[AnyFact]) -> Sequence[AnyFact]:
    ends = [number for number, fact in enumerate(facts) if isinstance(fact, ProcessEnded)]
    return facts[: ends[-1] + 1] if ends else []
