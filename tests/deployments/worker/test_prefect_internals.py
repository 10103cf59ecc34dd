"""What Prefect keeps private and this package leans on: when one of these fails, Prefect has moved what it names.

`deployments/worker/prefect_internals.py` (the worker) and `prefect_engine.py` beside it (the process of a flow run) are
where all of it is used, and where a port to another version of Prefect begins; two more names are used in
`prefect_api/internals.py`.
"""

from __future__ import annotations

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from prefect.blocks.core import Block
from prefect.client.orchestration import SyncPrefectClient
from prefect.workers.base import BaseJobConfiguration, BaseWorker

ROOT = Path(__file__).parents[3]
FOLDERS = ("prefect_codepipeline", "flows", "tasks", "blocks", "deployments")
SEAM = (
    "deployments/worker/prefect_internals.py",
    "deployments/worker/prefect_engine.py",
    "prefect_codepipeline/prefect_api/internals.py",
    "prefect_codepipeline/prefect_api/subflow_engine.py",
)

# Module, name, its parameters (None: a class whose constructor is not called here), and what breaks without it.
MODULES = [
    ("_cancellation_manager", "CancellationManager", ["process_manager", "hook_runner", "state_proposer", "event_emitter", "client", "control_channel"], "a run is not cancelled when the server is away at that moment"),
    ("_cancellation_manager", "CancellationManager.cancel_by_id", ["self", "flow_run_id"], "a run is not cancelled when the server is away at that moment"),
    ("_flow_run_executor", "FlowRunExecutorContext.create_executor", ["self", "flow_run", "starter", "resolve_flow", "propose_submitting", "hook_runner"], "the worker starts no run"),
    ("_flow_run_executor", "FlowRunExecutor.submit", ["self", "task_status"], "the worker starts no run"),
    ("_hook_runner", "HookRunner", ["resolve_flow"], "hooks of flows that crash or are cancelled do not run"),
    ("_hook_runner", "HookRunner.run_crashed_hooks", ["self", "flow_run", "state"], "on_crashed hooks do not run"),
    ("_hook_runner", "HookRunner.run_cancellation_hooks", ["self", "flow_run", "state"], "on_cancellation hooks do not run"),
    ("_process_manager", "ProcessHandle", None, "a forked process cannot be handed to Prefect, which watches and ends it"),
    ("_process_manager", "ProcessManager", ["on_add", "on_remove"], "processes are ended by Prefect's own look, every 3 s"),
    ("_process_manager", "ProcessManager.kill", ["self", "flow_run_id", "grace_seconds", "force"], "processes are ended by Prefect's own look, every 3 s"),
    ("_process_manager", "ProcessManager.get", ["self", "flow_run_id"], "no process of a run is found, so none is ended"),
    ("_process_manager", "ProcessManager.flow_run_ids", ["self"], "stopping the worker ends no run"),
    ("_process_manager", "create_isolated_termination_scope", ["pid"], "a run's process is ended without its children"),
    ("_state_proposer", "StateProposer", ["client"], "a late report of a crash overwrites a newer attempt"),
    ("_state_proposer", "StateProposer.propose_crashed", ["self", "flow_run", "message"], "a late report of a crash overwrites a newer attempt"),
]  # fmt: skip
# The same for the process of a flow run, with whole module names.
ENGINE = [
    ("prefect._internal.control_listener", "configure_from_env", [], "a run that is cancelled ends as crashed"),
    ("prefect._internal.metrics", "RunMetrics", ["flow_run", "flow"], "no run starts"),
    ("prefect.client.orchestration", "_api_version_check_key", ["api_url", "client_version"], "each run asks the server for its version"),
    ("prefect.client.orchestration", "_cache_api_version_check", ["key"], "each run asks the server for its version"),
    ("prefect.engine", "_drive_run_flow_result", ["flow", "run_result"], "async flows do not run"),
    ("prefect.flow_engine", "_send_heartbeats", ["engine", "join_on_exit"], "runs send no heartbeats"),
    ("prefect.flow_engine", "observe_flow_run_suspension", ["flow_run_id", "suspension_request", "polling_interval"], "Suspend in Prefect's UI is not seen"),
]  # fmt: skip
# What `python -m prefect.engine` calls, in this order; `run_flow_run` does the same.
PROGRAM = ["configure_from_env", "handle_engine_signals", "load_flow_run", "flow_run_logger", "load_flow", "RunMetrics", "run_flow", "_drive_run_flow_result"]  # fmt: skip
# Of the context's `__aenter__`: what it makes, and what is put in the place of it.
CONTEXT = {
    "_stack": "the process manager is not left when the worker stops",
    "_state_proposer": "a late report of a crash overwrites a newer attempt",
    "_cancellation_manager": "a run is not cancelled when the server is away at that moment",
    "_hook_runner": "hooks of runs that are cancelled do not run",
    "_event_emitter": "no event says that a run was cancelled",
}
WORKER: dict[str, tuple[list[str], str]] = {
    "_submit_scheduled_flow_runs": (["self", "flow_run_response"], "a run is started twice while its process ends"),
    "_submit_run": (["self", "flow_run"], "a server that is away for a moment ends the worker"),
    "_release_limit_slot": (["self", "flow_run_id"], "slots of ended runs are not free again at once"),
    "_propose_pending_state": (["self", "flow_run"], "two workers start the same run"),
    "_submit_run_and_capture_errors": (["self", "flow_run", "task_status"], "no run starts"),
    "_mark_flow_run_as_cancelled": (["self", "flow_run", "state_updates"], "a run without its deployment stays Pending"),
    "_give_worker_labels_to_flow_run": (["self", "flow_run_id"], "each start waits for a request more"),
    "_propose_submitting_state": (["self", "flow_run"], "each start waits for a request more"),
    "_propose_crashed_state": (["self", "flow_run", "message", "client"], "a late crash overwrites a newer attempt"),
}  # fmt: skip
WORKER_FIELDS = {
    "_work_pool": "the worker hears of no work, and looks on its timer only",
    "_exit_stack": "the processes' context is not entered when the worker is set up",
    "_runs_task_group": "a run that is scheduled again waits for its old process without end",
    "_cancelling_observer": "runs that ended are asked for without end",
    "_submitting_flow_run_ids": "a run that could not be started is never tried again",
}


@pytest.mark.parametrize(
    ("module", "name", "parameters", "breaks"), MODULES, ids=lambda value: str(value)[:40]
)
def test_what_is_imported_is_there(module: str, name: str, parameters: list[str] | None, breaks: str) -> None:
    found: Any = import_module(f"prefect.runner.{module}")
    for part in name.split("."):
        assert hasattr(found, part), f"prefect.runner.{module} has no {name} any more: {breaks}"
        found = getattr(found, part)
    if parameters is not None:
        there = [each for each in inspect.signature(found).parameters if each in parameters]
        assert there == parameters, f"{name} of prefect.runner.{module} takes other arguments: {breaks}"


@pytest.mark.parametrize(
    ("module", "name", "parameters", "breaks"), ENGINE, ids=lambda value: str(value)[:40]
)
def test_what_a_runs_process_uses_is_there(
    module: str, name: str, parameters: list[str], breaks: str
) -> None:
    found = getattr(import_module(module), name, None)
    assert found, f"{module} has no {name} any more: {breaks}"
    assert list(inspect.signature(found).parameters) == parameters, f"{name} of {module} changed: {breaks}"


def test_what_is_replaced_in_the_engine_is_used_there() -> None:
    from prefect import flow_engine

    source = inspect.getsource(flow_engine.BaseFlowRunEngine) + inspect.getsource(flow_engine.FlowRunEngine)
    assert "with _send_heartbeats(self)" in source, "the first heartbeat is sent while a run starts"
    assert "observe_flow_run_suspension(" in source, "a run waits for a connection of its own when it starts"
    assert "ssl.create_default_context(" in inspect.getsource(SyncPrefectClient.__init__), (
        "SyncPrefectClient makes its TLS context elsewhere: each run reads all certificates again"
    )


def test_a_run_starts_as_by_the_program_of_prefect() -> None:
    engine = import_module("prefect.engine")
    program = next(node for node in ast.parse(inspect.getsource(engine)).body if isinstance(node, ast.If) and "__main__" in ast.unparse(node.test))  # fmt: skip
    calls = [node for node in ast.walk(program) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]  # fmt: skip
    ours = sorted((call.lineno, call.func.id) for call in calls if isinstance(call.func, ast.Name))
    names = [name for _, name in ours if name not in ("UUID", "len", "exit")]
    assert names == PROGRAM, "prefect.engine starts a run in another way; `run_flow_run` must do so too"


@pytest.mark.parametrize("name", CONTEXT)
def test_what_is_replaced_in_the_executors_context_is_made_there(name: str) -> None:
    from prefect.runner._flow_run_executor import FlowRunExecutorContext
    from prefect.runner._process_manager import ProcessManager

    source = inspect.getsource(FlowRunExecutorContext.__aenter__)
    assert f"self.{name} =" in source, f"FlowRunExecutorContext makes no {name} any more: {CONTEXT[name]}"
    assert "self.control_channel =" in source, (
        "FlowRunExecutorContext has no control_channel: runs do not start"
    )
    made = inspect.getsource(ProcessManager.__init__)
    for callback in ("_on_add", "_on_remove"):
        assert f"self.{callback} =" in made, f"ProcessManager keeps no {callback}: cancellation is not seen"


@pytest.mark.parametrize("name", WORKER)
def test_what_is_overridden_in_the_worker_is_there(name: str) -> None:
    parameters, breaks = WORKER[name]
    overridden = getattr(BaseWorker, name, None)
    assert overridden, f"BaseWorker has no {name} any more, and what overrides it is never called: {breaks}"
    assert list(inspect.signature(overridden).parameters) == parameters, (
        f"BaseWorker.{name} changed: {breaks}"
    )
    callers = inspect.getsource(BaseWorker).replace(f"def {name}(", "")
    assert f"self.{name}" in callers, f"BaseWorker does not call {name} any more: {breaks}"


@pytest.mark.parametrize("name", WORKER_FIELDS)
def test_what_is_read_of_the_worker_is_there(name: str) -> None:
    source = inspect.getsource(BaseWorker.__init__)
    assert f"self.{name}" in source, f"BaseWorker has no {name} any more: {WORKER_FIELDS[name]}"


def test_a_configuration_knows_its_usual_command() -> None:
    command = BaseJobConfiguration._base_flow_run_command()
    assert command.endswith("prefect flow-run execute"), (
        "BaseJobConfiguration._base_flow_run_command tells another command: every run would be started by it, "
        "and none in a fork"
    )


def test_a_configuration_takes_what_the_worker_has_read() -> None:
    parameters = inspect.signature(BaseJobConfiguration.resolve_for_flow_run).parameters
    assert {"client", "deployment"} <= set(parameters), "the deployment of each run is read twice"
    source = inspect.getsource(BaseJobConfiguration)
    assert "client.read_flow(" in source, "the flow of each run is read twice"
    assert "self._base_environment()" in source, "all of Prefect's settings are written out for each run"


def test_a_subflow_that_runs_already_is_taken_by_the_engine() -> None:
    from prefect import flow_engine

    initialize = inspect.getsource(flow_engine.FlowRunEngine.initialize_run)
    assert "self.flow_run = self.create_flow_run(self.client)" in initialize, (
        "each stage costs a request more"
    )
    assert "self.begin_run()" in inspect.getsource(flow_engine.FlowRunEngine.start), (
        "each stage costs a request more"
    )
    names = re.findall(r"engine\.(\w+)", inspect.getsource(flow_engine.run_flow_sync))
    assert names == ["start", "is_running", "run_context", "call_flow_fn", "state", "result"], (
        "Prefect runs a flow in another way; `run_as` must do so too"
    )


def test_a_block_can_be_saved_without_a_name() -> None:
    assert "is_anonymous" in inspect.signature(Block._save_sync).parameters, (
        "Block._save_sync changed: versions of pipelines cannot be kept"
    )


def test_the_client_is_one_of_httpx() -> None:
    assert "self._client = " in inspect.getsource(SyncPrefectClient.__init__), (
        "SyncPrefectClient keeps its httpx client elsewhere: a server that restarts fails executions"
    )


def test_nothing_else_knows_prefects_inside() -> None:
    found = []
    for path in (path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))):
        name = str(path.relative_to(ROOT))
        if name in SEAM:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found += [f"{name}: {each}" for each in modules if each.startswith("prefect.") and "._" in each]
            if isinstance(node, ast.Attribute) and node.attr in {
                *WORKER,
                *WORKER_FIELDS,
                "_save_sync",
                "_from_block_document",
            }:
                found.append(f"{name}: {node.attr}")
    assert found == []
