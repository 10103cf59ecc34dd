"""What a name stands for: a pipeline that was deleted and deployed again, one that does not exist, a shortened id."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.client.schemas.actions import WorkPoolCreate

from prefect_codepipeline.deployments.create import deploy_pipeline, start_pipeline_execution
from prefect_codepipeline.engine.executions.record import RecordOf, utc_now
from prefect_codepipeline.engine.operations.rollback import latest_success
from prefect_codepipeline.model.record.facts import StopRequested
from prefect_codepipeline.prefect_api.client import client, flow_run

pytestmark = pytest.mark.live


@pytest.mark.long
def test_a_pipeline_deployed_again_under_its_name_is_new(world: Any) -> None:
    declaration = world.declare([world.action("Work")])
    old = world.start(declaration)
    world.ended(old)
    refused = world.cli("delete", world.name)
    not_asked = world.cli("delete", world.name, "--json")
    deleted = world.cli("delete", world.name, "--yes")
    gone = world.cli("status", world.name)
    deployed = deploy_pipeline(declaration)

    status, executions = world.json("status", world.name), world.cli("executions", world.name)
    assert (refused.returncode, "--yes" in refused.stderr) == (1, True), (
        "it asks, and nobody is there to answer"
    )
    assert (not_asked.returncode, "--json asks nothing" in not_asked.stderr) == (1, True)
    assert deleted.returncode == 0, deleted.stderr
    assert (gone.returncode, "does not exist" in gone.stderr) == (1, True)
    assert (deployed.version, deployed.created) == (1, True)
    assert [status["status"], status["executions"]] == [None, []]
    assert [each["latestExecution"] for each in status["stageStates"]] == [None, None]
    assert world.json("executions", world.name) == []
    assert old not in executions.stdout
    assert "has no execution" in world.cli("logs", world.name).stderr
    assert latest_success(world.name, "S1", 1, "") is None, "a rollback to it would have no definition"
    new = start_pipeline_execution(world.name, {}, {}, "tester")
    assert world.ended(new).status == "Succeeded"
    assert [each["pipelineExecutionId"] for each in world.json("executions", world.name)] == [new]


def test_a_stop_before_a_worker_has_begun(world: Any) -> None:
    pool = f"nobody-{world.name.lower().replace('.', '-')}"
    client().create_work_pool(WorkPoolCreate(name=pool, type="process"))
    deploy_pipeline(world.declare([world.action("Work")]), pool)
    waiting = start_pipeline_execution(world.name, {}, {}, "tester")
    before = world.cli("status", world.name)

    done = world.cli("stop", world.name, "-m", "too early")
    again = world.cli("stop", world.name, waiting)

    assert "waits for a worker" in before.stdout
    assert done.returncode == 0, done.stderr
    run = flow_run(waiting)
    assert run is not None
    assert (run["state_type"], run["state_name"]) == ("CANCELLED", "Stopped")
    shown = world.json("status", world.name, "--execution", waiting)
    assert (shown["status"], "too early" in shown["statusSummary"]) == ("Stopped", True)
    assert "Stopped before it began" in world.cli("status", world.name).stdout
    assert (again.returncode, "is Stopped" in again.stderr) == (1, True)


def test_a_worker_that_begins_finds_the_stop(world: Any) -> None:
    execution = world.start(world.declare([world.action("Work")]))
    request = StopRequested(at=utc_now(), epoch=0, how="stop", reason="too early", by="ana")

    assert RecordOf(execution).write(request)
    ended = world.ended(execution)

    assert (ended.status, ended.summary) == ("Stopped", "ana: too early")
    assert world.ran(execution) == []


@pytest.mark.long
def test_names_and_ids(world: Any) -> None:
    execution = world.start(world.declare([world.action("Ok", category="Approval")]))
    world.suspended(execution)
    misspelt = world.name.lower()
    of_name: tuple[tuple[str, ...], ...] = (
        ("status",), ("start",), ("executions",), ("logs",), ("approve",), ("reject",), ("stop",), ("export",),
        ("delete", "--yes"), ("retry", "S1"), ("override", "S1"), ("rollback", "S1", "--to", execution),
        ("transition", "enable", "S1"), ("schedule", "list"), ("shell", "Ok"), ("graph",), ("plan",), ("open",),
        ("status", "--execution", execution), ("logs", "--execution", execution[:8]),
    )  # fmt: skip
    for verb, *more in of_name:
        family = [verb, more.pop(0)] if verb in ("transition", "schedule") else [verb]
        done = world.cli(*family, misspelt, *more)
        assert done.returncode == 1, (verb, done.stdout)
        assert f"pipeline {misspelt!r} does not exist" in done.stderr, (verb, done.stderr)
        assert f"did you mean {world.name!r}?" in done.stderr, (verb, done.stderr)

    other = world.cli("status", world.name, "--execution", "00000000")
    shown = world.json("status", world.name, "--execution", execution[:4])
    approved = world.cli("approve", world.name, "--execution", execution[:8].upper())
    assert (other.returncode, "has no execution '00000000'" in other.stderr) == (1, True)
    assert shown["pipelineExecutionId"] == execution
    assert approved.returncode == 0, approved.stderr
    assert world.ended(execution).status == "Succeeded"
