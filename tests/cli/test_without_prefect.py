"""The commands that people wait for do not import Prefect, which takes two seconds; they do their work all the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from commands import run_without_prefect

from prefect_codepipeline.gateway.serve import prepare_gateway

pytestmark = pytest.mark.live
_PROGRAM = (
    "import atexit, sys\n"
    "loaded = lambda: [name for name in sys.modules if name.partition('.')[0] == 'prefect']\n"
    "atexit.register(lambda: print('loaded of Prefect:', loaded(), file=sys.stderr))\n"
    "from prefect_codepipeline.cli import main\n"
    "main()\n"
)


def run(*arguments: str, code: int = 0) -> str:
    """The output of a command, which must have imported no part of Prefect."""
    done = run_without_prefect(_PROGRAM, arguments)
    assert done.returncode == code, done.stdout + done.stderr
    assert "loaded of Prefect: []" in done.stderr, f"{arguments} imports Prefect"
    return done.stdout


def status_of(world: Any, execution: str) -> str:
    return str(json.loads(run("status", world.name, "--execution", execution, "--json"))["status"])


@pytest.mark.long
def test_commands_import_no_prefect(world: Any) -> None:
    go = world.folder / "go"
    work = [world.action("Work", FailUnless=go)]
    first = world.start(world.declare([world.action("Ok", category="Approval")], work))

    world.suspended(first)
    _look_at_it(world, first)
    _disable_and_enable(world)
    assert f"approve {world.name} S1 Ok" in run("status", world.name)
    prepare_gateway(None, "http://127.0.0.1:4290")
    assert "/approvals/" in run("approval-link", world.name)
    assert "approved: action 'Ok'" in run("approve", world.name, "S1", "Ok", "-m", "good")
    assert run("logs", world.name, "--follow")
    failed = run("status", world.name, "--exit-status", code=1)
    assert "there is no go" in failed
    assert f"retry with: codepipeline retry {world.name} S2 --execution {first[:8]}" in failed
    watched = run("status", world.name, "--watch", "--exit-status", code=1)
    assert f"retry with: codepipeline retry {world.name} S2 --execution {first[:8]}" in watched
    assert status_of(world, first) == "Failed"
    go.touch()
    run("retry", world.name, "S2")
    assert "Succeeded" in run("status", world.name, "--watch", "--exit-status")
    assert status_of(world, first) == "Succeeded"
    _start_more(world, first)


def _look_at_it(world: Any, execution: str) -> None:
    assert world.name in run("list")
    assert world.name in [each["name"] for each in json.loads(run("list", "--json"))]
    assert execution in run("executions", world.name)
    assert run("schedule", "list", world.name)


def _disable_and_enable(world: Any) -> None:
    run("transition", "disable", world.name, "S2", "-m", "not today")
    assert "inbound transition disabled by" in run("status", world.name)
    run("transition", "enable", world.name, "S2")


def _start_more(world: Any, first: str) -> None:
    run("start", world.name, "--watch", "--approve")
    assert run("rollback", world.name, "S2", "--to", first)
    rejected = run("start", world.name).strip()
    world.suspended(rejected)
    run("reject", world.name, "--execution", rejected)
    assert world.ended(rejected).status == "Failed"
    stopped = run("start", world.name).strip()
    world.suspended(stopped)
    run("stop", world.name, stopped, "--abandon")
    assert world.ended(stopped).status == "Stopped"
    run("override", world.name, "S1", code=1)  # it has no condition
