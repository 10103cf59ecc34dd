"""What happens in an execution is told to Prefect, in AWS's order."""

from __future__ import annotations

import time
from typing import Any

import pytest

from prefect_codepipeline.tasks.prefect_api import call

pytestmark = pytest.mark.live


def test_an_executions_events_arrive_in_aws_order(world: Any) -> None:
    execution_id = world.start(world.declare([world.action("A")]))
    world.ended(execution_id)

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
        len((page := call("POST", "/events/filter", wanted)[1])["events"]) < 10 and time.monotonic() < until
    ):
        time.sleep(0.1)

    assert [event["event"].removeprefix("codepipeline.") for event in page["events"]] == [
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
