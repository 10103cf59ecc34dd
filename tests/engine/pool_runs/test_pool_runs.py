"""An action with a work pool of its own runs there, once, and its execution waits for it."""

from __future__ import annotations

import logging
import os
import signal
import socket
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from pool_workers import count_pool_runs
from waiting import until

from prefect_codepipeline.blocks.pipeline_settings import PipelineSettings
from prefect_codepipeline.deployments.create import start_pipeline_execution
from prefect_codepipeline.deployments.worker.worker import CodePipelineWorker
from prefect_codepipeline.engine.executions.definitions import (
    keep_unnamed,
    pinned_declaration,
    read_definition_block,
)
from prefect_codepipeline.engine.executions.lookup import KnownExecution, read_execution
from prefect_codepipeline.engine.executions.record import RecordOf
from prefect_codepipeline.engine.operations.ending import Way, end_from_outside
from prefect_codepipeline.engine.operations.stopping import stop_pipeline_execution
from prefect_codepipeline.engine.pool_runs.pools import find_unserved
from prefect_codepipeline.engine.pool_runs.running import take
from prefect_codepipeline.engine.retention.pace import Pace
from prefect_codepipeline.engine.retention.prune import prune
from prefect_codepipeline.errors import PipelineNotFoundException
from prefect_codepipeline.flows.reconcile import reconcile_once
from prefect_codepipeline.model.definition.action_settings import ActionOverride, ActionSettings
from prefect_codepipeline.model.names import slug
from prefect_codepipeline.model.record.pool_run_facts import PoolRunAsked
from prefect_codepipeline.model.stored.settings import StoredSettings
from prefect_codepipeline.prefect_api.block_documents import find_block
from prefect_codepipeline.prefect_api.client import call, flow_run
from prefect_codepipeline.prefect_api.deployments import DEFAULT_WORK_POOL
from prefect_codepipeline.prefect_api.flow_runs import end_run, find_run_of_key
from prefect_codepipeline.prefect_api.leases import server_time

pytestmark = pytest.mark.live
# The pool of the session's worker, to which an action goes as to any other if its settings say so.
HERE = ActionOverride(work_pool=DEFAULT_WORK_POOL)
COMMANDS = {"category": "Compute", "owner": "AWS", "provider": "Commands", "version": "1"}


def settings(world: Any, **overrides: ActionOverride) -> None:
    """The settings of the pipeline: other places for actions of stage S1."""
    PipelineSettings(
        defaults=ActionSettings(run_on="host"),
        overrides={f"S1/{name}": override for name, override in overrides.items()},
    ).save(slug(world.name), overwrite=True)


def far(known: KnownExecution, name: str = "Far") -> Any:
    assert known.state
    return known.state.stage("S1").action(name)


def commands(name: str, *lines: str, inputs: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    """A Commands action."""
    named = [{"name": each} for each in inputs]
    return {"name": name, "actionTypeId": COMMANDS, "commands": list(lines), "inputArtifacts": named, **more}


def remote(name: str, work: Path) -> dict[str, Any]:
    """An action whose work goes on elsewhere when its process dies."""
    kind = {"category": "Test", "owner": "Custom", "provider": "Remote", "version": "1"}
    return {"name": name, "actionTypeId": kind, "configuration": {"Work": str(work)}}


def test_an_action_waits_for_a_worker_of_its_pool_and_runs_there(world: Any, worker_of: Any) -> None:
    worker = worker_of()
    settings(world, Far=ActionOverride(work_pool=worker.pool))
    source = {**world.action("Made", Output="from here"), "outputArtifacts": [{"name": "Made"}]}
    there = commands(
        "Far",
        "cat output.txt; echo TMPDIR is $TMPDIR; echo and there >> output.txt",
        "export SEEN=$(cat output.txt | tr '\\n' ' ')",
        inputs=("Made",),
        runOrder=2,
        namespace="Far",
        outputVariables=["SEEN"],
        outputArtifacts=[{"name": "Changed", "files": ["output.txt"]}],
    )
    back = commands(
        "Back", "grep 'and there' output.txt", "test '#{Far.SEEN}'", inputs=("Changed",), runOrder=3
    )
    execution_id = world.start(world.declare([source, there, back]))

    waiting = world.wait(execution_id, lambda known: known.state and far(known).waits_for_a_worker)

    assert f"no live worker serves work queue 'default' of work pool '{worker.pool}'" in far(waiting).summary
    assert worker.pool in world.cli("status", world.name).stdout

    worker.start()

    known = world.ended(execution_id)
    assert known.status == "Succeeded", known.state.summary
    pool_run = far(known).pool_run
    run = flow_run(pool_run.last_taken.flow_run_id)
    assert run
    assert run["work_pool_name"] == worker.pool
    assert run["state_type"] == "COMPLETED"
    assert run["idempotency_key"] == far(known).started.action_execution_id
    assert far(known).finished.output_variables["SEEN"].startswith("from here")
    log = until(lambda: "TMPDIR is" in (said := world.cli("logs", world.name, "Far").stdout) and said)
    assert "Action 'Far' of stage 'S1' Succeeded" in log
    assert "'Back'" not in log
    machine = socket.gethostname()
    assert f"on {machine}" in world.cli("status", world.name).stdout
    shown = world.json("status", world.name)
    assert f"'workPool': '{worker.pool}', 'machine': '{machine}'" in str(shown)
    assert far(known, "Back").pool_run is None
    assert far(known, "Made").pool_run is None


@pytest.mark.long
def test_an_abandon_ends_the_process_on_the_other_machine(world: Any, gone: Any, tmp_path: Path) -> None:
    settings(world, Far=HERE)
    execution_id = world.start(world.declare([world.action("Far", Until=tmp_path / "never")]))
    known = world.wait(execution_id, lambda known: "S1/Far" in world.ran() and far(known).pool_run.taken)
    assert "runs on" in far(known).summary

    stop_pipeline_execution(world.name, execution_id, abandon=True, reason="wrong one", by="tester")

    known = world.ended(execution_id)
    assert known.status == "Stopped"
    assert far(known).status == "Abandoned"
    taken = far(known).pool_run.last_taken
    until(lambda: gone(taken.pid))
    until(lambda: flow_run(taken.flow_run_id)["state_type"] == "CANCELLED")


@pytest.mark.long
def test_an_action_that_waits_for_a_worker_ends_with_its_execution(world: Any, worker_of: Any) -> None:
    """A worker that comes later, maybe days later, must not begin it."""
    worker = worker_of()
    settings(world, Far=ActionOverride(work_pool=worker.pool))
    execution_id = world.start(world.declare([world.action("Far")]))
    known = world.wait(execution_id, lambda known: known.state and far(known).waits_for_a_worker)
    action_execution_id = far(known).started.action_execution_id
    run = find_run_of_key(action_execution_id)
    assert run

    end_run(execution_id, "Stopped", "as of an execution whose pipeline was deleted")
    assert take(RecordOf(execution_id), action_execution_id, run["id"], logging.getLogger()) is None
    end_from_outside(known, Way.DIED_TWICE)
    worker.start()

    until(lambda: flow_run(run["id"])["state_type"] == "CANCELLED")
    until(lambda: find_unserved(worker.pool, "default") is None)
    ended = far(read_execution(execution_id)).pool_run.ended
    assert (ended.status, ended.summary) == ("Failed", Way.DIED_TWICE.sentence)
    assert world.ran() == ["Source/Src"]


@pytest.mark.long
def test_the_execution_finds_its_action_again_after_the_death_of_its_own_process(
    world: Any, tmp_path: Path
) -> None:
    settings(world, Far=HERE)
    (tmp_path / "may-keep").touch()
    beside = remote("Near", tmp_path)  # so that the execution has a process
    execution_id = world.start(world.declare([world.action("Far", Until=tmp_path / "done"), beside]))
    known = world.wait(
        execution_id, lambda known: known.state and far(known, "Near").kept and far(known).pool_run
    )
    asked = far(known).pool_run.asked

    os.kill(world.process_of(execution_id), signal.SIGKILL)
    world.wait(execution_id, lambda known: known.run["state_type"] == "CRASHED")
    reconcile_once(server_time() + timedelta(seconds=30))
    (tmp_path / "done").touch()

    known = world.ended(execution_id)
    assert known.status == "Succeeded", known.state.summary
    assert far(known).pool_run.asked == asked
    assert world.ran(execution_id) == ["Source/Src", "S1/Far"]


@pytest.mark.long
def test_what_dies_or_cannot_begin_on_a_pool_fails_with_the_reason_unless_it_can_be_found_again(
    world: Any, tmp_path: Path
) -> None:
    nowhere = {"working_dir": "/no/such/folder"}
    settings(
        world,
        Lost=HERE,
        Found=HERE,
        Nowhere=ActionOverride(work_pool=DEFAULT_WORK_POOL, job_variables=nowhere),
        Unknown=ActionOverride(work_pool="no-such-pool"),
    )
    (tmp_path / "may-keep").touch()
    lost = world.action("Lost", Until=tmp_path / "never")
    others = [world.action("Nowhere"), world.action("Unknown")]
    execution_id = world.start(world.declare([lost, remote("Found", tmp_path), *others]))
    known = world.wait(
        execution_id,
        lambda known: (
            "S1/Lost" in world.ran() and far(known, "Lost").pool_run.taken and far(known, "Found").kept
        ),
    )

    os.kill(far(known, "Lost").pool_run.taken.pid, signal.SIGKILL)
    os.kill(far(known, "Found").pool_run.taken.pid, signal.SIGKILL)
    (tmp_path / "done").touch()
    known = _reconcile_until_ended(world, execution_id)

    def said_of(name: str) -> str:
        assert far(known, name).status == "Failed"
        return str(far(known, name).finished.error_details.message)

    assert known.status == "Failed"
    assert world.ran(execution_id) == ["Source/Src", "S1/Lost"]
    assert count_pool_runs(execution_id) == 3, "one for each action whose pool exists"
    assert "the worker died while it ran" in said_of("Lost")
    assert DEFAULT_WORK_POOL in said_of("Lost")

    found = far(known, "Found")
    assert found.status == "Succeeded"
    assert (tmp_path / "calls").read_text().split() == ["start"]
    assert found.pool_run.deaths == 1
    assert found.finished.output_variables["Found"].startswith("job-1 https://example.com/job-1")

    # As with an image that cannot be pulled: it is not tried again and again.
    assert f"its flow run on work pool '{DEFAULT_WORK_POOL}' could not begin: " in said_of("Nowhere")
    assert "'/no/such/folder'" in said_of("Nowhere")

    assert "work pool 'no-such-pool' does not exist; there are: " in said_of("Unknown")
    assert f"'{DEFAULT_WORK_POOL}'" in said_of("Unknown")
    assert find_run_of_key(far(known, "Unknown").started.action_execution_id) is None


@pytest.mark.long
def test_only_the_secrets_of_the_action_are_kept_for_it_until_it_ends(
    world: Any, worker_of: Any, tmp_path: Path
) -> None:
    """On a pool of Prefect's own process workers."""
    worker = worker_of(kind="process").start()
    settings(world, Far=ActionOverride(work_pool=worker.pool))
    kind = {"category": "Test", "owner": "Custom", "provider": "Secretive", "version": "1"}
    ask_for = {"Until": str(tmp_path / "go"), "Token": "planted-far"}
    secretive = {"name": "Far", "actionTypeId": kind, "namespace": "Far", "configuration": ask_for}
    near = {**secretive, "name": "Near", "configuration": {"Token": "planted-near"}, "runOrder": 2}
    near.pop("namespace")
    execution_id = world.start(world.declare([secretive, near]))
    known = world.wait(
        execution_id, lambda known: known.state and far(known).pool_run and far(known).pool_run.taken
    )
    asked = far(known).pool_run.asked
    assert asked.declaration.configuration["Token"] == "****"
    kept = read_definition_block(asked.secrets_id)
    assert list(kept.secrets.get_secret_value().values()) == ["planted-far"]

    (tmp_path / "go").touch()

    known = world.ended(execution_id)
    assert known.status == "Succeeded", known.state.summary
    assert far(known).finished.output_variables == {"Length": str(len("planted-far"))}
    with pytest.raises(PipelineNotFoundException):
        read_definition_block(asked.secrets_id)
    run = call("GET", f"/flow_runs/{far(known).pool_run.last_taken.flow_run_id}")[1]
    facts = call("POST", f"/flow_runs/{execution_id}/input/filter", {"prefix": "", "limit": 1000})[1]
    assert "planted" not in f"{run} {facts} {worker.log()}"
    _goes_with_all_of_its_action(world, known, asked)


def _goes_with_all_of_its_action(world: Any, known: KnownExecution, asked: PoolRunAsked) -> None:
    """Retention removes the execution with the flow run of its action, and secrets that nothing has deleted."""
    start_pipeline_execution(world.name, {}, {}, "tester")  # the last success is kept
    listed = [each["pipelineExecutionId"] for each in world.json("executions", world.name)]
    world.ended(listed[0])
    run_id = far(known).pool_run.last_taken.flow_run_id
    call("POST", "/artifacts/", {"key": "page", "type": "markdown", "data": "x", "flow_run_id": run_id})
    left = str(keep_unnamed(pinned_declaration(known.state.pinned.definition_id)))
    # As of an action whose execution was ended from outside.
    of_other = {"action_execution_id": "other", "secrets_id": left}
    RecordOf(known.id).write(PoolRunAsked.model_validate({**asked.model_dump(), **of_other}))

    pruned = prune(now=server_time() + timedelta(days=366), pace=Pace(per_second=10_000))

    assert pruned
    assert pruned.by_pipeline[world.name] == 1
    assert [flow_run(each) for each in (known.id, run_id)] == [None, None]
    assert call("POST", "/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run_id]}}})[1] == []
    with pytest.raises(PipelineNotFoundException):
        read_definition_block(left)
    assert len(listed) == 2, "runs of actions are not executions"
    assert [each["pipelineExecutionId"] for each in world.json("executions", world.name)] == listed[:1]
    assert count_pool_runs(listed[0]) == 1


def _reconcile_until_ended(world: Any, execution_id: str) -> KnownExecution:
    def is_ended(known: KnownExecution) -> bool:
        reconcile_once()
        return known.run["state_type"] in ("COMPLETED", "FAILED", "CANCELLED")

    return world.wait(execution_id, is_ended)


def test_deploy_refuses_places_that_do_not_exist_or_are_not_allowed(world: Any, worker_of: Any) -> None:
    pool = worker_of().pool
    template = CodePipelineWorker.get_default_base_job_template()
    call("PATCH", f"/work_pools/{pool}", {"base_job_template": template})
    names = ("Pool", "Queue", "Variable", "Type", "Fine", "Homeless")
    declared = world.declare([world.action(name) for name in names])
    file = world.folder / "p.json"
    file.write_text(declared.model_dump_json(by_alias=True, exclude_none=True))
    written = {
        "Pool": {"work_pool": "no-such-pool"},
        "Queue": {"work_pool": pool, "work_queue": "defualt"},
        "Variable": {"work_pool": pool, "job_variables": {"working_dirs": "/"}},
        "Type": {"work_pool": pool, "job_variables": {"env": 5}},
        "Fine": {"work_pool": pool, "job_variables": {"env": {"A": "1"}}},
        "Homeless": {"work_queue": "default"},
    }
    settings_file = world.folder / "p.settings.yaml"
    settings_file.write_text(
        yaml.safe_dump({"overrides": {f"S1/{key}": each for key, each in written.items()}})
    )

    refused = world.cli("deploy", str(file)).stderr

    of_pool = f"of work pool '{pool}'"
    assert "action 'S1/Pool': work pool 'no-such-pool' does not exist; " in refused
    assert (
        f"action 'S1/Queue': work queue 'defualt' {of_pool} does not exist; did you mean 'default'?"
        in refused
    )
    assert (
        f"action 'S1/Variable': job variable 'working_dirs' {of_pool} does not exist; did you mean" in refused
    )
    assert f"action 'S1/Type': job variable 'env' {of_pool} must be of type object" in refused
    assert "action 'S1/Homeless': work_queue and job_variables of an action are those of its own" in refused
    assert "S1/Fine" not in refused
    assert find_block(StoredSettings, slug(world.name)) is None, "what is refused is not saved"

    settings_file.write_text(yaml.safe_dump({"overrides": {"S1/Fine": written["Fine"]}}))
    PipelineSettings(allowed_pools=["codepipeline"]).save(slug(world.name))
    refused = world.cli("deploy", str(file)).stderr
    assert f"work pool '{pool}' is not among the allowed pools ('codepipeline')" in refused
    settings_file.write_text("allowed_pools: []\n")
    assert "allowed_pools" in world.cli("deploy", str(file)).stderr

    settings_file.write_text(yaml.safe_dump({"overrides": {"S1/Fine": written["Fine"]}}))
    PipelineSettings(allowed_pools=["codepipeline", pool]).save(slug(world.name), overwrite=True)
    deployed = world.cli("deploy", str(file))
    assert deployed.returncode == 0, deployed.stderr
    assert f"deployment action/{pool}: created" in deployed.stdout
    assert "no live worker serves" in deployed.stdout
    kept = find_block(StoredSettings, slug(world.name))
    assert kept
    assert kept.allowed_pools == ["codepipeline", pool]
