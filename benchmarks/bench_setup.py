"""What the benchmarks share: a separate embedded set-up, pipelines whose actions do nothing, and waits with a deadline."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"
HOOK = Path(__file__).resolve().parent / "trace_hook"
BIN = Path(sys.executable).parent
DEADLINE_SECONDS = 180.0

PYTHON_PATH = os.environ.get("PYTHONPATH")
PREFECT_VARIABLES = ("PREFECT_API_URL", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH")


def prepare(home: str, trace: Path | None = None) -> None:
    """Set the environment of this process for an embedded set-up in that folder; `trace` gets a line for each request."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # stops the set-up too
    support = TESTS / "support"
    sys.path[:0] = list(map(str, (TESTS / "plugin", support, support / "aws", support / "compose")))
    paths = [str(HOOK)] if trace else []
    os.environ.update(
        PYTHONPATH=os.pathsep.join(filter(None, [*paths, str(TESTS / "plugin"), PYTHON_PATH])),
        PREFECT_CODEPIPELINE_HOME=f"{home}/set-up",
        PREFECT_CODEPIPELINE_ARTIFACTS=f"{home}/artifacts",
        PREFECT_LOGGING_LEVEL="ERROR",
    )
    for name in PREFECT_VARIABLES:
        os.environ.pop(name, None)
    os.environ.pop("CODEPIPELINE_TRACE", None)  # of a set-up before
    if trace:
        trace.mkdir()
        os.environ["CODEPIPELINE_TRACE"] = str(trace)


@contextlib.contextmanager
def set_up(sqlite: bool = False, trace: bool = False, limit: int | None = None) -> Iterator[Path]:
    """A running embedded set-up that this process talks to; its folder. With `trace`, its requests are in `../trace`."""
    with tempfile.TemporaryDirectory(prefix="codepipeline-bench-") as home:
        prepare(home, Path(home) / "trace" if trace else None)
        from prefect_codepipeline.deployments.local import api_url, embedded

        running = embedded.up(limit, sqlite=sqlite)
        api_url.point_at(running.api_url, running.profiles)
        try:
            yield Path(home) / "set-up"
        finally:
            embedded.down()


def leave() -> None:
    """End this process without waiting for Prefect's client, which tries for minutes to send events to the stopped server."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def command_line(*arguments: str) -> str:
    """The output of a `codepipeline` command."""
    command = [str(BIN / "codepipeline"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEADLINE_SECONDS)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def seconds(work: Callable[[], object]) -> float:
    """How long the work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def until(condition: Callable[[], Any], seconds: float = DEADLINE_SECONDS, pause: float = 0.05) -> Any:
    """Wait until the condition is true, and return its value."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {seconds:g} s without effect for {condition}")
        time.sleep(pause)
    return answer


def wait_for(execution_id: str, condition: Callable[[Any], Any], seconds: float = DEADLINE_SECONDS) -> Any:
    """The execution, as soon as the condition is true of it."""
    from prefect_codepipeline.engine.executions.lookup import read_execution

    known = read_execution(execution_id)
    deadline = time.monotonic() + seconds
    while not condition(known):
        if time.monotonic() > deadline:
            raise SystemExit(
                f"execution {execution_id} did not come that far in {seconds:g} s; its run is {known.run['state']}"
            )
        time.sleep(0.05)
        known = read_execution(execution_id)
    return known


def has_ended(known: Any) -> bool:
    """Whether the execution and its flow run have ended."""
    return bool(known.state and known.state.final and known.run["state_type"] in ("COMPLETED", "FAILED"))


def is_open(known: Any) -> bool:
    """Whether the execution waits for an approval."""
    return bool(known.state and known.state.open_approvals and known.is_suspended)


def started(known: Any, name: str) -> float:
    """The time of the fact that the action has started."""
    action = next(action for _, action in known.state.actions if action.name == name)
    return float(action.started.at.timestamp())


def wait_until_gone(known: Any) -> None:
    """Wait until the process that suspended the execution has ended."""
    pid = next(fact.pid for fact in known.facts if fact.kind == "process-started")
    until(lambda: not Path(f"/proc/{pid}").exists())


def approval(name: str, run_order: int = 1) -> dict[str, Any]:
    return action(name, run_order, "Approval", "AWS", "Manual")


def action(
    name: str, run_order: int = 1, category: str = "Test", owner: str = "Custom", provider: str = "Scripted"
) -> dict[str, Any]:
    """An action; the providers of `tests/plugin` do nothing."""
    kind = {"category": category, "owner": owner, "provider": provider, "version": "1"}
    return {"name": name, "runOrder": run_order, "actionTypeId": kind}


def pipeline(name: str, stages: dict[str, list[dict[str, Any]]], mode: str = "SUPERSEDED") -> Any:
    from prefect_codepipeline.model.definition.declaration import PipelineDeclaration

    return PipelineDeclaration.model_validate(
        {
            "name": name,
            "roleArn": "arn:aws:iam::111122223333:role/pipeline",
            "artifactStore": {"type": "S3", "location": "bench"},
            "pipelineType": "V2",
            "executionMode": mode,
            "stages": [{"name": stage, "actions": actions} for stage, actions in stages.items()],
        }
    )


def declaration(name: str, mode: str = "QUEUED", with_approval: bool = False) -> Any:
    """A pipeline of 3 stages and 6 actions; `with_approval` adds an approval before the last two."""
    source = action("Src", category="Source")
    release = [action("D", 2), action("E", 2)] if with_approval else [action("D"), action("E")]
    stages = {
        "Source": [source],
        "Build": [action("A"), action("B"), action("C")],
        "Deploy": [approval("Approve"), *release] if with_approval else release,
    }
    return pipeline(name, stages, mode)
