"""Retention on a real server: what is old goes, with everything that belongs to it; what others need stays."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from waiting import until

from prefect_codepipeline.actions.artifacts.objects import list_objects, write_object
from prefect_codepipeline.actions.artifacts.storing import load_artifact_store
from prefect_codepipeline.actions.artifacts.sweeping import note_user
from prefect_codepipeline.blocks.artifact_store import ArtifactStore
from prefect_codepipeline.deployments.create import start_pipeline_execution
from prefect_codepipeline.deployments.observing.executions import Observer
from prefect_codepipeline.deployments.reconciling import retention as daily
from prefect_codepipeline.engine.approvals.view import view_approval
from prefect_codepipeline.engine.executions.lookup import latest_execution
from prefect_codepipeline.engine.executions.record import RecordOf, utc_now
from prefect_codepipeline.engine.operations.retrying import _start_again
from prefect_codepipeline.engine.retention import prune as rounds
from prefect_codepipeline.engine.retention.pace import Pace
from prefect_codepipeline.engine.retention.prune import Pruned, prune
from prefect_codepipeline.errors import InvalidApprovalTokenException, PipelineExecutionNotFoundException
from prefect_codepipeline.model.names import slug
from prefect_codepipeline.model.record.facts import ProcessEnded
from prefect_codepipeline.prefect_api.block_documents import delete_block, replace_data
from prefect_codepipeline.prefect_api.client import call, flow_run
from prefect_codepipeline.prefect_api.leases import exclusive_lease, server_time

pytestmark = pytest.mark.live
YEAR = timedelta(days=365)


class _Died(BaseException):
    """The process is killed."""


def prune_at(later: timedelta, **more: Any) -> Pruned:
    done = prune(now=server_time() + later, pace=more.pop("pace", Pace(per_second=10_000)), **more)
    assert done is not None
    return done


def flow_runs_of(execution_id: str) -> list[str]:
    wanted = {"flow_runs": {"parent_flow_run_id": {"any_": [execution_id]}}}
    return [run["id"] for run in call("POST", "/flow_runs/filter", wanted)[1]]


def pages_of(flow_run_ids: list[str]) -> list[dict[str, Any]]:
    wanted = {"artifacts": {"flow_run_id": {"any_": flow_run_ids}}}
    found: list[dict[str, Any]] = call("POST", "/artifacts/filter", wanted)[1]
    return found


@pytest.mark.long
def test_old_executions_go_with_all_that_is_theirs_and_the_last_success_stays(world: Any) -> None:
    no, go = world.folder / "no", world.folder / "go"
    declared = world.declare([world.action("Unit", Until=go)], [world.action("Ship", FailUnless=no)])
    go.touch()
    no.touch()
    whole = world.start(declared)
    world.ended(whole)
    no.unlink()
    partly = [start_pipeline_execution(world.name, {}, {}, "tester")]
    assert world.ended(partly[0]).status == "Failed"
    partly.append(start_pipeline_execution(world.name, {}, {}, "tester"))
    assert world.ended(partly[1]).status == "Failed"
    go.unlink()
    running = start_pipeline_execution(world.name, {}, {}, "tester")
    world.wait(running, lambda known: "S1/Unit" in world.ran(running))
    stages = flow_runs_of(partly[0])
    assert len(stages) == 3
    assert pages_of([partly[0]])

    assert prune_at(YEAR - timedelta(days=1)).executions == 0
    looked = prune_at(YEAR + timedelta(days=1), dry_run=True)
    assert looked.by_pipeline[world.name] == 1
    shown = world.json("prune", "--dry-run", "--older-than", "0d")
    assert shown["executionsByPipeline"][world.name] == 1
    assert flow_run(partly[0])

    # `whole` is the last success of S2, and `partly[1]` is the one that the gate of S2 names as its last.
    assert prune_at(YEAR + timedelta(days=1)).by_pipeline[world.name] == 1
    assert [bool(flow_run(each)) for each in (whole, *partly, running)] == [True, False, True, True]
    assert not any(flow_run(each) for each in stages)
    assert pages_of([partly[0], *stages]) == []
    listed = world.json("executions", world.name)
    assert [each["pipelineExecutionId"] for each in listed] == [running, partly[1], whole]

    with pytest.raises(InvalidApprovalTokenException, match=r"^this execution was removed by retention$"):
        view_approval(partly[0], "token")
    with pytest.raises(PipelineExecutionNotFoundException, match=r"^this execution was removed by retention"):
        RecordOf(partly[0]).write(ProcessEnded(at=utc_now(), process=9))
    with pytest.raises(PipelineExecutionNotFoundException, match=r"^this execution was removed by retention"):
        _start_again(partly[0])
    for command in (
        ["status", world.name, "--execution", partly[0]],
        ["status", world.name, "--execution", partly[0][:8]],
        ["retry", world.name, "S2", "--execution", partly[0]],
        ["rollback", world.name, "S2", "--to", partly[0]],
        ["logs", world.name, "--execution", partly[0]],
    ):
        done = world.cli(*command)
        assert (done.returncode, done.stdout) == (1, ""), command
        assert done.stderr.startswith("codepipeline: this execution was removed by retention"), command
    go.touch()
    assert world.ended(running).status == "Failed"


@pytest.mark.long
def test_a_round_that_is_killed_is_finished_by_the_next_and_only_one_runs(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [world.start(world.declare([world.action("Unit")]))]
    world.ended(ids[0])
    for _ in range(2):
        ids.append(start_pipeline_execution(world.name, {}, {}, "tester"))
        world.ended(ids[-1])
    with exclusive_lease("retention") as is_mine:
        assert is_mine
        assert prune(now=server_time() + 2 * YEAR) is None
    left = [0]

    class Killing(Pace):
        def wait(self, requests: int = 1) -> None:
            left[0] -= 1
            if not left[0]:
                raise _Died

    killed = 0
    for after in range(2, 60, 3):
        left[0] = after
        try:
            prune_at(2 * YEAR, pace=Killing())
            break
        except _Died:
            killed += 1
    prune_at(2 * YEAR)

    assert killed > 2
    assert [bool(flow_run(each)) for each in ids] == [False, False, True]
    assert RecordOf(ids[2]).read()
    assert [flow_runs_of(each) for each in ids[:2]] == [[], []]
    wanted = {"flow_runs": {"tags": {"all_": ["codepipeline", f"pipeline:{world.name}"]}}}
    top = [run["id"] for run in call("POST", "/flow_runs/filter", wanted)[1] if not run["parent_task_run_id"]]
    assert top == [ids[2]], "no stage is left without its execution"


@pytest.mark.long
def test_a_run_in_the_foreground_goes_with_its_definition(world: Any) -> None:
    file = world.folder / "pipeline.json"
    declared = world.declare([world.action("Unit")]).model_dump(mode="json", by_alias=True, exclude_none=True)
    file.write_text(json.dumps({"pipeline": declared}))
    assert world.cli("run", file).returncode == 0
    known = latest_execution(world.name)
    assert known.state
    definition = f"/block_documents/{known.state.pinned.definition_id}"
    assert call("GET", definition)[0] == 200

    assert prune_at(YEAR + timedelta(days=1)).by_pipeline[world.name] == 1
    assert flow_run(known.id) is None
    assert call("GET", definition, expected=(404,))[0] == 404


def test_a_store_that_cannot_be_used_or_is_shared_keeps_what_it_has_and_the_others_do_not(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unnamed = f"trees/aa/{'a' * 64}.tar"
    stores = {name: ArtifactStore(url=str(tmp_path / name)) for name in ("own", "shared")}
    names = [f"{slug(world.name)}-{name}" for name in (*stores, "broken")]
    for name, store in zip(names, stores.values(), strict=False):
        write_object(store, unnamed, b"x")
        store.save(name)
    broken = ArtifactStore(url=str(tmp_path / "broken")).save(names[2])
    replace_data(str(broken), {"url": "nowhere"})
    note_user(stores["shared"], "another-server")

    def refusals(age: timedelta) -> list[str]:
        # Other tests on this server leave stores that cannot be used, too.
        return [
            said for said in prune_at(age).refused if any(name in said for name in (names[2], str(tmp_path)))
        ]

    try:
        refused = refusals(timedelta(0))
        again = refusals(timedelta(days=2))
    finally:
        for name in names:
            delete_block(ArtifactStore, name)

    assert refused == again
    assert len(refused) == 2
    assert "is a relative path" in refused[0]
    assert refused[1].startswith(
        f"nothing was removed from artifact store '{tmp_path}/shared': other Prefect servers"
    )
    assert list_objects(stores["shared"], "trees")
    assert list_objects(stores["own"], "trees") == {}


def test_a_server_is_known_in_its_stores_before_its_first_round_and_not_by_a_dry_run(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another server's retention would remove what this one needs, if this one is never up until its first round."""
    name, store = slug(world.name), ArtifactStore(url=str(tmp_path / "store"))
    write_object(store, f"trees/aa/{'a' * 64}.tar", b"x")
    store.save(name)
    try:
        prune_at(timedelta(0), dry_run=True)
        assert list_objects(store, "") == {f"trees/aa/{'a' * 64}.tar": 1}

        stop = threading.Event()
        beside = daily.pruning(stop)
        beside.start()
        until(lambda: list(list_objects(store, "servers")) == [rounds._state()["id"]])
        stop.set()
        beside.join(60)
    finally:
        delete_block(ArtifactStore, name)


def test_a_round_is_done_once_a_day(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store = load_artifact_store(None)
    write_object(store, f"trees/bb/{'b' * 64}.tar", b"12345")
    rounds.update_variable(rounds._state()["id"], {"began": "2000-01-01T00:00:00+00:00"})
    stop = threading.Event()
    monkeypatch.setattr(daily, "LOOK_SECONDS", 0.1)
    beside = daily.pruning(stop)
    beside.start()
    began = until(lambda: (at := rounds._state()["value"]["began"]) > "2001" and at)
    stop.set()
    beside.join(60)
    stored = rounds.stored_bytes()
    Observer().look()

    assert stored >= 5
    assert REGISTRY.get_sample_value("codepipeline_store_bytes") == stored
    assert rounds.prune_when_due() == []
    assert rounds._state()["value"]["began"] == began
    later = server_time() + timedelta(days=1, minutes=1)
    monkeypatch.setattr(rounds, "server_time", lambda: later)
    rounds.prune_when_due()
    assert rounds._state()["value"]["began"] == later.isoformat()
    monkeypatch.undo()
    rounds.update_variable(rounds._state()["id"], {"began": began})
