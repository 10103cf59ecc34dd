"""`codepipeline executions`: each page after an execution, with one read of each definition."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from prefect_codepipeline.cli.executions.status import executions
from prefect_codepipeline.deployments.create import start_pipeline_execution
from prefect_codepipeline.engine.executions.lookup import find_runs, known_execution
from prefect_codepipeline.prefect_api import client as prefect_api

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
    unknown = world.cli("executions", world.name, "--before", "ffffffff")
    assert "has no execution 'ffffffff'" in unknown.stderr

    sent.clear()
    assert executions(world.name) == 0
    assert len([path for path in sent if path.endswith("/input/filter")]) == 3
    assert len([path for path in sent if "/block_documents/" in path]) == 2
    assert len(sent) == 6
    sent.clear()
    assert [known_execution(run).status for run in find_runs(world.name)] == ["Succeeded"] * 3
    assert len([path for path in sent if "/block_documents/" in path]) <= 1
