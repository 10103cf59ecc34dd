"""`codepipeline executions`: each page after an execution, with one read of each definition."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import httpx
import pytest
from waiting import until

from prefect_codepipeline.cli.executions.status import executions
from prefect_codepipeline.deployments.create import start_pipeline_execution
from prefect_codepipeline.engine.executions.lookup import find_runs, known_execution
from prefect_codepipeline.model.record.format import FORMAT
from prefect_codepipeline.prefect_api import client as prefect_api
from prefect_codepipeline.prefect_api.client import call
from prefect_codepipeline.prefect_api.deployments import find_deployment_of

pytestmark = pytest.mark.live


@pytest.fixture
def sent(prefect_server: str) -> Iterator[list[str]]:
    """The paths of the requests that this process sends to Prefect."""
    paths: list[str] = []
    http, _ = prefect_api._connection()

    def listen(request: httpx.Request) -> None:
        paths.append(request.url.path)

    http.event_hooks = {"request": [listen]}
    yield paths
    http.event_hooks = {"request": []}


@pytest.mark.long
def test_executions_are_listed_page_by_page(world: Any, sent: list[str]) -> None:
    ids = [world.start(world.declare([world.action("Work")]))]
    world.ended(ids[0])
    for _ in range(2):
        ids.append(start_pipeline_execution(world.name, {}, {}, "tester"))
        world.ended(ids[-1])

    first = world.cli("executions", world.name, "--limit", "2").stdout
    second = json.loads(
        world.cli("executions", world.name, "--limit", "2", "--before", ids[1], "--json").stdout
    )

    assert [line.split()[0] for line in first.splitlines()[1:3]] == [ids[2], ids[1]]
    assert first.splitlines()[-1] == (
        f"earlier ones: codepipeline executions {world.name} --limit 2 --before {ids[1][:8]}"
    )
    assert [each["pipelineExecutionId"] for each in second] == [ids[0]]
    assert "earlier" not in world.cli("executions", world.name, "--limit", "3").stdout
    none = world.cli("executions", world.name, "--before", ids[0][:8], "--json")
    assert json.loads(none.stdout) == []
    for garbage in ("ffffffff", "", "not an id", f"{ids[0][:8]}/../..", "\x1b[2J"):
        unknown = world.cli("executions", world.name, "--before", garbage)
        assert f"has no execution {garbage!r}" in unknown.stderr
        assert unknown.returncode == 1

    sent.clear()
    assert executions(world.name) == 0
    assert len([path for path in sent if path.endswith("/input/filter")]) == 3
    assert len([path for path in sent if "/block_documents/" in path]) == 2
    assert len(sent) == 6
    sent.clear()
    assert [known_execution(run).status for run in find_runs(world.name)] == ["Succeeded"] * 3
    assert len([path for path in sent if "/block_documents/" in path]) <= 1


@pytest.mark.long
def test_neither_what_a_schedule_plans_nor_what_a_newer_release_wrote_ends_the_pages(world: Any) -> None:
    ids = [world.start(world.declare([world.action("Work")]))]
    world.ended(ids[0])
    for _ in range(2):
        ids.append(start_pipeline_execution(world.name, {}, {}, "tester"))
        world.ended(ids[-1])
    deployment = find_deployment_of("pipeline", world.name)
    assert deployment
    schedule = {"interval": 60, "anchor_date": datetime.now(timezone.utc).isoformat()}
    call("POST", f"/deployments/{deployment['id']}/schedules", [{"schedule": schedule, "active": True}])
    try:
        planned = {
            "flow_runs": {
                "deployment_id": {"any_": [deployment["id"]]},
                "state": {"type": {"any_": ["SCHEDULED"]}},
            }
        }
        call("PATCH", f"/deployments/{deployment['id']}", {"paused": False})
        until(lambda: len(call("POST", "/flow_runs/filter", planned)[1]) > 2, 90)
        fact = {"key": "of-tomorrow", "value": json.dumps({"format": FORMAT + 1, "fact": {}})}
        call("POST", f"/flow_runs/{ids[1]}/input", {**fact, "sender": "prefect-codepipeline"})

        first = world.cli("executions", world.name, "--limit", "2").stdout
        second = world.json("executions", world.name, "--limit", "2", "--before", ids[1])
    finally:
        for each in call("GET", f"/deployments/{deployment['id']}/schedules")[1]:
            call("DELETE", f"/deployments/{deployment['id']}/schedules/{each['id']}")

    assert [line.split()[0] for line in first.splitlines()[1:3]] == [ids[2], ids[1]]
    assert f"--limit 2 --before {ids[1][:8]}" in first
    assert [each["pipelineExecutionId"] for each in second] == [ids[0]]
