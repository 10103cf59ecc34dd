"""What Prefect's page of an execution shows: approvals, stages still to come, failed conditions, reasons with their lines."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from waiting import until

from prefect_codepipeline.engine.executions.task_runs import end_what_is_pending
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.prefect_api.client import call

pytestmark = pytest.mark.live
REASON = "it broke\nin the second line"


def all_task_runs(execution_id: str) -> list[dict[str, Any]]:
    """The task runs in an execution's flow run, and in its subflows."""
    subflows = call(
        "POST", "/flow_runs/filter", {"flow_runs": {"parent_flow_run_id": {"any_": [execution_id]}}}
    )[1]
    wanted = {"flow_run_id": {"any_": [execution_id, *(each["id"] for each in subflows)]}}
    return list(call("POST", "/task_runs/filter", {"task_runs": wanted, "limit": 200})[1])


def task_runs(execution_id: str) -> dict[str, list[tuple[str, str]]]:
    """The same: type and name of their states, by name."""
    found: dict[str, list[tuple[str, str]]] = {}
    for run in all_task_runs(execution_id):
        found.setdefault(run["name"], []).append((run["state_type"], run["state_name"]))
    return found


def log(execution_id: str, level: int) -> list[str]:
    logs = {"flow_run_id": {"any_": [execution_id]}, "level": {"ge_": level}}
    return [line["message"] for line in call("POST", "/logs/filter", {"logs": logs})[1]]


def page(execution_id: str) -> str:
    wanted = {"flow_run_id": {"any_": [execution_id]}, "type": {"any_": ["markdown"]}}
    return str(call("POST", "/artifacts/filter", {"artifacts": wanted})[1][0]["data"])


def test_an_approval_is_one_run_that_waits_and_stages_to_come_are_pending(world: Any) -> None:
    stages = [
        [world.action("Ok", 1, "Approval")],
        [world.action("Ship")],
        [world.action("Last", 1, "Approval")],
    ]
    known = world.suspended(world.start(world.declare(*stages)))
    id_ = known.id
    waiting = {
        "Ok": [("PAUSED", "AwaitingApproval")],
        "S2": [("PENDING", "Pending")],
        "Last": [("PENDING", "Pending")],
    }
    until(lambda: {key: task_runs(id_).get(key) for key in waiting} == waiting, 30)

    timeline = [node[1] for node in call("GET", f"/flow_runs/{id_}/graph-v2")[1]["nodes"]]
    assert {node["label"]: node["state_type"] for node in timeline} == {
        "stage / Source": "COMPLETED",
        "Ok": "PAUSED",
        "S2": "PENDING",
        "Last": "PENDING",
    }

    world.cli("approve", world.name, "S1", "Ok")
    world.wait(id_, lambda known: known.is_suspended and known.state.open_approvals[0][1].name == "Last")
    world.cli("reject", world.name, "S3", "Last", "-m", REASON)
    known = world.ended(id_)

    ended = {
        "Ok": [("COMPLETED", "Approved")],
        "Last": [("FAILED", "Rejected")],
        "Ship": [("COMPLETED", "Succeeded")],
    }
    until(lambda: {key: task_runs(id_).get(key) for key in ended} == ended, 90, seen=lambda: task_runs(id_))
    runs = {run["name"]: run for run in all_task_runs(id_)}
    approval = runs["Last"]
    assert approval["start_time"] < approval["end_time"]
    said = world.cli("logs", world.name).stdout
    assert "Traceback" not in said
    assert "NoneType: None" not in said
    assert said.rstrip().endswith(REASON)
    assert "Finished in state" not in said
    assert any(REASON in message for message in log(id_, 40))
    assert f"{REASON}\n```" in page(id_)

    # As if Prefect had not recorded the ends of these by now: it does so later, and never after a kill.
    behind = {"Last": {"type": "PAUSED", "name": "AwaitingApproval"}, "Ship": {"type": "RUNNING"}}
    for name, state in behind.items():
        call("POST", f"/task_runs/{runs[name]['id']}/set_state", {"state": state, "force": True})
    assert task_runs(id_)["Ship"] == [("RUNNING", "Running")]
    end_what_is_pending(known.state)
    assert {key: task_runs(id_)[key] for key in ended} == ended


def test_what_an_execution_does_not_reach_does_not_stay_pending(world: Any) -> None:
    log_file = Path(os.environ["PREFECT_CODEPIPELINE_HOME"]) / "logs" / "worker.log"
    before = log_file.stat().st_size
    stages = [[world.action("Bad", FailUnless="/nowhere", Until=world.folder / "go")], [world.action("Ship")]]
    id_ = world.start(world.declare(*stages))
    until(lambda: task_runs(id_).get("S2") == [("PENDING", "Pending")], 60)
    (world.folder / "go").touch()
    world.ended(id_)

    until(lambda: task_runs(id_).get("S2") == [("CANCELLED", "NotReached")], 30)
    logged = log_file.read_bytes()[before:].decode()
    assert "Traceback" not in logged
    assert "NoneType: None" not in logged
    assert "exited with" not in logged


def test_a_stage_whose_condition_was_not_met_is_shown_as_failed(world: Any) -> None:
    check = {"Variable": "#{SourceVariables.CommitId}", "Operator": "EQ", "Value": "1"}
    kind = {"category": "Rule", "owner": "AWS", "provider": "VariableCheck", "version": "1"}
    rules = [{"name": "is-it", "ruleTypeId": kind, "configuration": check}]
    wire = world.declare([world.action("Work")]).to_wire()
    wire["stages"][1]["onSuccess"] = {"conditions": [{"result": "FAIL", "rules": rules}]}

    id_ = world.start(PipelineDeclaration.model_validate(wire))
    world.ended(id_)

    subflows = {"flow_runs": {"parent_flow_run_id": {"any_": [id_]}}}
    states = {run["name"]: run["state"] for run in call("POST", "/flow_runs/filter", subflows)[1]}
    assert {name: state["type"] for name, state in states.items()} == {
        "Source": "COMPLETED",
        "S1": "FAILED",
        "S1: on success": "FAILED",
    }
    assert "was not met" in states["S1"]["message"]
    assert ("COMPLETED", "Succeeded") in task_runs(id_)["Work"]


def test_a_failed_execution_counts_once_under_the_tags_of_executions(world: Any) -> None:
    id_ = world.start(world.declare([world.action("Bad", FailUnless="/nowhere")]))
    world.ended(id_)

    # Prefect's dashboard counts all flow runs that have one of the chosen tags.
    failed = {"state": {"type": {"any_": ["FAILED"]}}, "tags": {"any_": ["codepipeline"]}}
    found = call("POST", "/flow_runs/filter", {"flow_runs": failed, "limit": 200})[1]
    assert [run["id"] for run in found if id_ in (run["id"], run["name"]) or run["parent_task_run_id"]] == [
        id_
    ]
