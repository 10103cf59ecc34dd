"""The events of an execution arrive at a real server: once, in order, for automations to react to."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect.blocks.webhook import Webhook
from prefect.settings import PREFECT_API_URL, temporary_settings

from prefect_codepipeline.engine.executions.process import Execution
from prefect_codepipeline.engine.executions.record import RecordOf
from prefect_codepipeline.engine.notifications.events import (
    Messenger,
    PrefectEventPublisher,
    send_remaining_events,
)
from prefect_codepipeline.errors import PrefectUnavailable
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.record.facts import (
    ActionFinished,
    ActionStarted,
    AnyFact,
    ExecutionFinished,
    ExecutionPinned,
    ProcessEnded,
    ProcessStarted,
    StageEntered,
    StageFinished,
    StopRequested,
)
from prefect_codepipeline.prefect_api import client
from prefect_codepipeline.prefect_api.client import call

pytestmark = pytest.mark.live
SCRIPTED = {"owner": "Custom", "provider": "Scripted", "version": "1"}
SOURCE = {"name": "Src", "actionTypeId": {"category": "Source", **SCRIPTED}}
TEST = {"name": "Web", "actionTypeId": {"category": "Test", **SCRIPTED}}
DECLARATION = PipelineDeclaration.model_validate(
    {
        "name": "Events.Shop",
        "roleArn": "arn:aws:iam::111122223333:role/pipeline",
        "artifactStore": {"type": "S3", "location": "bucket"},
        "stages": [{"name": "Source", "actions": [SOURCE]}, {"name": "Deploy", "actions": [TEST]}],
    }
)


def facts() -> list[AnyFact]:
    """An execution whose only process starts a stage and leaves; then it is stopped, and a second one ends it."""
    start = datetime.now(timezone.utc)
    identity: Any = {"stage": "Deploy", "action": "Web", "attempt": 1, "action_execution_id": str(uuid4())}

    def at(second: int) -> Any:
        return start + timedelta(milliseconds=second)

    return [
        ExecutionPinned(
            at=at(0), pipeline_name="Events.Shop", pipeline_version=1, definition_id="d", variables={},
            source_revisions={}, trigger_type="StartPipelineExecution",
        ),
        ProcessStarted(at=at(1), process=1, run_count=1, host="h", pid=1),
        StageEntered(at=at(2), stage="Deploy", attempt=1),
        ActionStarted(at=at(3), **identity),
        ProcessEnded(at=at(4), process=1),
        StopRequested(at=at(5), epoch=0, how="abandon", reason="wrong", by="ada"),
        ProcessStarted(at=at(6), process=2, run_count=1, host="h", pid=2),
        ActionFinished(at=at(7), **identity, status="Abandoned"),
        StageFinished(at=at(8), stage="Deploy", attempt=1, status="Stopped"),
        ExecutionFinished(at=at(9), epoch=0, status="Stopped", summary=""),
        ProcessEnded(at=at(10), process=2),
    ]  # fmt: skip


FIRST = ["pipeline-execution.started", "stage-execution.started", "action-execution.started"]
SECOND = [
    "pipeline-execution.stopping",
    "stage-execution.stopping",
    "action-execution.abandoned",
    "stage-execution.stopped",
    "pipeline-execution.stopped",
]


def received(execution_id: str, count: int) -> list[dict[str, Any]]:
    """The events that the server has of the execution, oldest first, once there are so many."""
    wanted = {
        "filter": {
            "event": {"prefix": ["codepipeline."]},
            "related": {"id": [f"prefect.flow-run.{execution_id}"]},
            "order": "ASC",
        },
        "limit": 50,
    }
    until = time.monotonic() + 30
    while True:
        _, page = call("POST", "/events/filter", wanted)
        if len(page["events"]) >= count or time.monotonic() > until:
            return list(page["events"])
        time.sleep(0.1)


def names(events: list[dict[str, Any]]) -> list[str]:
    return [event["event"].removeprefix("codepipeline.") for event in events]


@pytest.fixture(scope="module")
def ids(prefect_server: str) -> dict[str, str]:
    """Executions by what became of them. All are told first: the server takes 5 s to write events down."""
    senders = {
        "two processes": _two_processes,
        "killed": _killed,
        "from outside": _from_outside,
        "no server": _no_server,
    }
    executions = {name: str(uuid4()) for name in senders}
    for name, sender in senders.items():
        sender(executions[name])
    return {**executions, "followed": _followed()}


def _two_processes(execution_id: str) -> None:
    known = facts()
    Messenger(execution_id, DECLARATION, known[:2]).send(known[:4])
    second = Messenger(execution_id, DECLARATION, known[:7])
    for length in (7, 9, 10, 10):
        second.send(known[:length])


def _killed(execution_id: str) -> None:
    known = [fact for fact in facts() if not isinstance(fact, ProcessEnded)]
    Messenger(execution_id, DECLARATION, known[:2]).send(known[:4])
    Messenger(execution_id, DECLARATION, known[:7]).send(known)


def _from_outside(execution_id: str) -> None:
    known = facts()[:-1]
    del known[6]  # nobody woke up
    send_remaining_events(execution_id, DECLARATION, known)


def _no_server(execution_id: str) -> None:
    known = facts()
    messenger = Messenger(execution_id, DECLARATION, [])
    with (
        pytest.MonkeyPatch.context() as patch,
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
    ):
        patch.setattr(client, "AWAY_SECONDS", 0)
        with pytest.raises(PrefectUnavailable):
            messenger.send(known[:3])
    messenger.send(known[:4])


def _followed() -> str:
    _, flow = call("POST", "/flows/", {"name": "events-test"})
    _, run = call("POST", "/flow_runs/", {"flow_id": flow["id"], "state": {"type": "RUNNING"}})
    known = facts()
    execution = Execution(RecordOf(str(run["id"])), DECLARATION, known[:2], 1, can_suspend=False)
    with PrefectEventPublisher(execution):
        for fact in known[2:4]:
            execution.write(fact)
    return execution.id


def test_each_process_sends_what_happened_since_the_last_one_left(ids: dict[str, str]) -> None:
    events = received(ids["two processes"], 8)

    assert names(events) == FIRST + SECOND
    action = events[5]
    assert action["resource"]["codepipeline.action"] == "Web"
    assert action["payload"]["detail-type"] == "CodePipeline Action Execution State Change"
    assert action["payload"]["detail"]["state"] == "ABANDONED"
    assert action["payload"]["account"] == "111122223333"
    assert {related["prefect.resource.id"] for related in action["related"]} == {
        "codepipeline.pipeline.Events.Shop",
        f"prefect.flow-run.{ids['two processes']}",
    }


def test_after_a_kill_the_next_process_sends_again_and_the_server_keeps_one(ids: dict[str, str]) -> None:
    assert names(received(ids["killed"], 8)) == FIRST + SECOND


def test_what_no_process_sends_is_sent_from_outside(ids: dict[str, str]) -> None:
    assert names(received(ids["from outside"], 5)) == SECOND


def test_what_could_not_be_sent_is_sent_next_time(ids: dict[str, str]) -> None:
    assert names(received(ids["no server"], 3)) == FIRST


def test_the_event_publisher_follows_an_execution_while_it_runs(ids: dict[str, str]) -> None:
    assert names(received(ids["followed"], 3)) == FIRST


@pytest.fixture
def pager(prefect_server: str) -> Iterator[list[str]]:
    """What is sent to the webhook block `pager`."""
    got: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(self.rfile.read(int(self.headers["content-length"])).decode())
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    Webhook(method="POST", url=f"http://127.0.0.1:{server.server_port}/").save("pager", overwrite=True)
    yield got
    server.shutdown()
    server.server_close()


def test_the_automation_of_the_documentation_fires(pager: list[str]) -> None:
    page = (Path(__file__).parent.parent.parent.parent / "docs" / "events.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(compile(code.replace('"shop"', '"Events.Shop"'), "docs/events.md", "exec"), {})
    *known, finished, _ = facts()
    known.append(finished.model_copy(update={"status": "Failed"}))

    executions = []
    until = time.monotonic() + 20
    while not pager and time.monotonic() < until:
        # The server takes a moment to take note of an automation: each second another execution fails.
        executions.append(str(uuid4()))
        send_remaining_events(executions[-1], DECLARATION, known)
        second = time.monotonic() + 1
        while not pager and time.monotonic() < second:
            time.sleep(0.05)

    assert pager[0].strip('"') in [f"{execution_id} failed" for execution_id in executions]
