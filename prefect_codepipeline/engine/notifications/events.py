"""Tell Prefect the state changes of an execution, as events that automations can react to.

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
from prefect_codepipeline.model.record.events import EventTeller, StateChange
from prefect_codepipeline.model.record.facts import AnyFact, ProcessEnded
from prefect_codepipeline.prefect_api.client import call

_PAUSE_SECONDS = 0.2  # one request tells all facts of a burst
_DEFAULT_REGION = "us-east-1"
_logger = logging.getLogger(__name__)


class Herald(Follower):
    """Tells what happens in one execution, in order.

    It begins after the last process that left by itself, which has told what there was. So what a process did
    before it was killed is told by the next one, perhaps for the second time, with the same ids.
    """

    def __init__(self, execution: Execution) -> None:
        super().__init__(execution, "codepipeline-events", _PAUSE_SECONDS)
        self._messenger = Messenger(execution.id, execution.declaration, execution.facts)

    def _follow(self) -> None:
        for _ in self._changes():
            try:
                self._messenger.tell(self._execution.facts)
            except CodePipelineError as error:  # it is tried again with the next change
                _logger.warning("what happened could not be told as events: %s", error)


class Messenger:
    """Sends each state change of an execution once, whoever asks it to and how often.

    Args:
        execution_id: of the pipeline execution.
        declaration: the definition that it runs.
        facts: what its record says when the messenger begins.
    """

    def __init__(self, execution_id: str, declaration: PipelineDeclaration, facts: Sequence[AnyFact]) -> None:
        self._execution_id = execution_id
        self._account, self._region = place_of(declaration)
        self._teller = EventBuilder(execution_id, declaration, self._region)
        self._seen: set[str] = set()
        self._pending: list[StateChange] = []
        self._learn(_told_before(facts))
        self._pending.clear()

    def tell(self, facts: Sequence[AnyFact]) -> None:
        """Send what these facts add. Raises `PrefectUnavailable`; what was not sent is sent next time."""
        self._learn(facts)
        if self._pending:
            events = [as_prefect_event(change, self._account, self._region) for change in self._pending]
            call("POST", "/events", events)
            self._pending.clear()

    def _learn(self, facts: Sequence[AnyFact]) -> None:
        for fact in facts:
            if fact.key not in self._seen:
                self._seen.add(fact.key)
                self._pending += self._teller.add(fact)


class History:
    """Every state change of an execution so far, for those who keep count by themselves of what they were told."""

    def __init__(self, execution_id: str, declaration: PipelineDeclaration) -> None:
        self._teller = EventBuilder(execution_id, declaration, place_of(declaration)[1])
        self._seen: set[str] = set()
        self._changes: list[StateChange] = []

    def of(self, facts: Sequence[AnyFact]) -> list[StateChange]:
        """The changes that these facts and those given before are, in their order."""
        for fact in facts:
            if fact.key not in self._seen:
                self._seen.add(fact.key)
                self._changes += self._teller.add(fact)
        return list(self._changes)


def place_of(declaration: PipelineDeclaration) -> tuple[str, str]:
    """The account and the region that a pipeline's events name."""
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or _DEFAULT_REGION
    return declaration.role_arn.split(":")[4], region


def tell_the_rest(execution_id: str, declaration: PipelineDeclaration, facts: Sequence[AnyFact]) -> None:
    """Send what no process will tell: for an execution that was ended from outside.

    Raises:
        PrefectUnavailable: the API does not answer.
    """
    Messenger(execution_id, declaration, facts).tell(facts)


def as_prefect_event(change: StateChange, account: str, region: str) -> dict[str, Any]:
    """The event as Prefect's API takes it; its payload is AWS's whole event, so `payload.detail.state` holds."""
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


def _told_before(facts: Sequence[AnyFact]) -> Sequence[AnyFact]:
    ends = [number for number, fact in enumerate(facts) if isinstance(fact, ProcessEnded)]
    return facts[: ends[-1] + 1] if ends else []
