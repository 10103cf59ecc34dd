"""What happens in an execution is told to Prefect, in AWS's order."""

from __future__ import annotations

import time
from typing import Any

import pytest

from prefect_codepipeline.engine.operations.retrying import retry_stage_execution
from prefect_codepipeline.engine.operations.stopping import stop_pipeline_execution
from prefect_codepipeline.prefect_api.client import call

pytestmark = pytest.mark.live


def events(execution_id: str, count: int) -> list[str]:
    """What was told of an execution, once so many events have arrived."""
    wanted = {
        "filter": {
            "event": {"prefix": ["codepipeline."]},
            "related": {"id": [f"prefect.flow-run.{execution_id}"]},
            "order": "ASC",
        },
        "limit": 50,
    }
    until = time.monotonic() + 20
    while (
        len((page := call("POST", "/events/filter", wanted)[1])["events"]) < count
        and time.monotonic() < until
    ):
        time.sleep(0.1)
    return [event["event"].removeprefix("codepipeline.") for event in page["events"]]


def test_an_executions_events_arrive_in_aws_order(world: Any) -> None:
    execution_id = world.start(world.declare([world.action("A")]))
    world.ended(execution_id)

    assert events(execution_id, 10) == [
        "pipeline-execution.started",
        "stage-execution.started",
        "action-execution.started",
        "action-execution.succeeded",
        "stage-execution.succeeded",
        "stage-execution.started",
        "action-execution.started",
        "action-execution.succeeded",
        "stage-execution.succeeded",
        "pipeline-execution.succeeded",
    ]


@pytest.mark.long
def test_the_events_of_a_retry_and_of_an_abandon_arrive_in_aws_order(world: Any) -> None:
    there = world.folder / "there"
    stage = [world.action("A", FailUnless=there), world.action("B", 2, Until=world.folder / "never")]
    execution_id = world.start(world.declare(stage))
    world.ended(execution_id)
    there.touch()
    retry_stage_execution(world.name, "S1", execution_id, "FAILED_ACTIONS", "ana")
    world.wait(execution_id, lambda _: "S1/B" in world.ran())
    stop_pipeline_execution(world.name, execution_id, abandon=True, reason="enough", by="ana")
    world.wait(execution_id, lambda known: known.run["state_name"] == "Stopped")

    assert events(execution_id, 20)[5:] == [
        "stage-execution.started",
        "action-execution.started",
        "action-execution.failed",
        "stage-execution.failed",
        "pipeline-execution.failed",
        "pipeline-execution.resumed",
        "stage-execution.resumed",
        "action-execution.started",
        "action-execution.succeeded",
        "action-execution.started",
        "pipeline-execution.stopping",
        "stage-execution.stopping",
        "action-execution.abandoned",
        "stage-execution.stopped",
        "pipeline-execution.stopped",
    ]
