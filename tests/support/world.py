"""What tests of executions say: declare a pipeline, start it, wait until something holds."""

from __future__ import annotations

import json
import os
import subprocess
import time
import warnings
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from commands import run_command
from prefect.states import Scheduled
from set_up import SetUp
from waiting import rest

from prefect_codepipeline.deployments.create import deploy_pipeline, start_pipeline_execution
from prefect_codepipeline.engine.executions.lookup import (
    KnownExecution,
    find_all_runs,
    known_execution,
    read_execution,
)
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.record.facts import ProcessStarted
from prefect_codepipeline.prefect_api.client import call, client, flow_run

DEADLINE_SECONDS = 200
# No wait of a healthy set-up takes so long, also when four of them share two processors.
SLOW_SECONDS = 40
# The value of a variable of the session's worker, which no build may find.
PLANTED = f"planted-in-the-worker-{uuid4().hex}"


def _has_form(known: KnownExecution) -> bool:
    key = known.run["state"]["state_details"]["run_input_keyset"]["schema"]
    return call("GET", f"/flow_runs/{known.id}/input/{key}", expected=(404,))[0] == 200


def _tell_why_slow(known: KnownExecution) -> None:
    """Leave a warning with what would explain it: the summary of a test run shows it also where the test passes."""
    open_runs = find_all_runs(
        state_types=["SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CRASHED", "CANCELLING"]
    )
    shown = [f"{run['name']} {run['state_name']} since {run['state']['timestamp']}" for run in open_runs]
    log = Path(os.environ["PREFECT_CODEPIPELINE_HOME"]) / "logs" / "worker.log"
    facts = [f"{fact.at:%H:%M:%S} {fact.key}" for fact in known.facts]
    lines = log.read_text(errors="replace").splitlines()[-40:]
    warnings.warn(
        "\n".join([f"slow: {known.run['name']} {known.run['state']}", *facts, *shown, *lines]), stacklevel=2
    )


class World:
    """One pipeline of the test's own, and its executions."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f"Acc.{uuid4().hex[:8]}"
        self.trace = folder / "trace"

    def action(
        self, name: str, run_order: int = 1, category: str = "Test", **configuration: Any
    ) -> dict[str, Any]:
        """An action that leaves a line in the trace and does what its configuration says."""
        if category == "Approval":
            kind = {"category": "Approval", "owner": "AWS", "provider": "Manual", "version": "1"}
        else:
            kind = {"category": category, "owner": "Custom", "provider": "Scripted", "version": "1"}
            configuration = {"Trace": self.trace, **configuration}
        texts = {key: str(value) for key, value in configuration.items()}
        return {"name": name, "runOrder": run_order, "actionTypeId": kind, "configuration": texts}

    def declare(self, *stages: list[dict[str, Any]], **more: Any) -> PipelineDeclaration:
        """A pipeline with a source stage and these stages, named S1, S2 …"""
        source = {**self.action("Src", category="Source"), "namespace": "SourceVariables"}
        declared = [{"name": f"S{number}", "actions": actions} for number, actions in enumerate(stages, 1)]
        return PipelineDeclaration.model_validate(
            {
                "name": self.name,
                "roleArn": "arn:aws:iam::111122223333:role/pipeline",
                "artifactStore": {"type": "S3", "location": "bucket"},
                "pipelineType": "V2",
                "stages": [{"name": "Source", "actions": [source]}, *declared],
                **more,
            }
        )

    def start(self, declaration: PipelineDeclaration, **variables: str) -> str:
        """Deploy and start; the execution's id."""
        deploy_pipeline(declaration)
        return start_pipeline_execution(self.name, variables, {}, "tester")

    def wait(
        self,
        execution_id: str,
        condition: Callable[[KnownExecution], Any],
        seconds: float = DEADLINE_SECONDS,
        only_in: Container[str] | None = None,
    ) -> KnownExecution:
        """The execution once the condition holds; fails with how it stands otherwise.

        `only_in`: in which types of its run's state it can hold. In others the facts are not read, which is most of the work.
        """
        began, told = time.monotonic(), False
        until = began + seconds
        while True:
            asked = time.monotonic()
            run = flow_run(execution_id)
            assert run, f"there is no execution {execution_id}"
            if only_in is None or run["state_type"] in only_in:
                known = known_execution(run)
                if condition(known):
                    return known
            if time.monotonic() > began + SLOW_SECONDS and not told:
                told = True
                _tell_why_slow(read_execution(execution_id))
            if time.monotonic() > until:
                pytest.fail(f"{run['state']} {[fact.key for fact in read_execution(execution_id).facts]}")
            rest(asked, shortest=0.1)

    def ended(self, execution_id: str, seconds: float = DEADLINE_SECONDS) -> KnownExecution:
        """The execution once Prefect has its end."""
        return self.wait(execution_id, lambda _: True, seconds, ("COMPLETED", "FAILED", "CANCELLED"))

    def suspended(self, execution_id: str) -> KnownExecution:
        """The execution once it waits for an approval without a process, and its form can be answered."""
        return self.wait(
            execution_id,
            lambda known: known.state and known.state.open_approvals and _has_form(known),
            only_in=["PAUSED"],
        )

    def retry(self, execution_id: str) -> None:
        """What the Retry button of Prefect's UI does."""
        client().set_flow_run_state(UUID(execution_id), Scheduled(name="AwaitingRetry"))

    def ran(self, execution_id: str | None = None) -> list[str]:
        """The actions that ran, in order, as `stage/action`."""
        if not self.trace.exists():
            return []
        lines = [line.split(" ", 1) for line in self.trace.read_text().splitlines()]
        return [what for who, what in lines if execution_id in (None, who)]

    def is_named(self, execution_id: str, name: str) -> bool:
        """Whether Prefect shows the run by that state's name."""
        run = flow_run(execution_id)
        return bool(run and run["state_name"] == name)

    def process_of(self, execution_id: str) -> int:
        """The pid of the process that runs the execution."""
        started = [fact for fact in read_execution(execution_id).facts if isinstance(fact, ProcessStarted)]
        return started[-1].pid

    def cli(self, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """The `codepipeline` command, as a user runs it."""
        return run_command(arguments, **{"timeout": 120, **more})

    def json(self, *arguments: str) -> Any:
        """What a command prints with --json."""
        done = self.cli(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def world(prefect_server: str, tmp_path: Path) -> World:
    """A pipeline to declare and run on the session's server and worker."""
    return World(tmp_path)


@pytest.fixture
def set_up(tmp_path: Path) -> Iterator[SetUp]:
    """An embedded set-up of the test's own, which must leave nothing behind."""
    own = SetUp(tmp_path)
    yield own
    own.cli("down", check=False)
    left = own.processes()
    own.kill_everything()
    assert left == [], "`codepipeline down` left processes"


def is_gone(pid: int) -> bool:
    """Whether the process has ended; one that nobody has reaped yet has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.fixture
def gone() -> Callable[[int], bool]:
    """Whether a process has ended."""
    return is_gone
