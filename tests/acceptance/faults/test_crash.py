"""A set-up of its own that is killed, stopped and started again: executions go on, and nothing that finished runs twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from chaos import start_together
from set_up import SetUp

from prefect_codepipeline.deployments.local import postgresql
from prefect_codepipeline.deployments.local.parts import identity, stop
from prefect_codepipeline.deployments.local.ports import free_port
from prefect_codepipeline.model.record.facts import NotificationSent

pytestmark = pytest.mark.live


def waiting(folder: Path, name: str, **configuration: str) -> dict[str, Any]:
    """An action beside the approval that waits for the file `done` in a folder with its name."""
    work = folder / name
    work.mkdir()
    kind = {"category": "Test", "owner": "Custom", "provider": "Waits", "version": "1"}
    values = {"Work": str(work), **configuration}
    return {"name": name, "runOrder": 3, "actionTypeId": kind, "configuration": values}


def declare(folder: Path, *beside: dict[str, Any]) -> Path:
    """A pipeline with a step that waits for a file, an approval, and a step that deploys by adding a line."""

    def action(name: str, run_order: int, category: str = "Test", **configuration: str) -> dict[str, Any]:
        owner, provider = ("AWS", "Manual") if category == "Approval" else ("Custom", "Scripted")
        kind = {"category": category, "owner": owner, "provider": provider, "version": "1"}
        if category != "Approval":
            configuration["Trace"] = str(folder / "trace")
        return {"name": name, "runOrder": run_order, "actionTypeId": kind, "configuration": configuration}

    pipeline = {
        "name": "crash",
        "roleArn": "arn:aws:iam::111122223333:role/p",
        "pipelineType": "V2",
        "artifactStore": {"type": "S3", "location": "bucket"},
        "stages": [
            {"name": "Source", "actions": [action("Src", 1, "Source")]},
            {
                "name": "Prod",
                "actions": [
                    action("Build", 1),
                    action("Slow", 2, Until=str(folder / "go")),
                    action("Ok", 3, "Approval"),
                    *beside,
                    action("Ship", 4),
                ],
            },
        ],
    }
    path = folder / "crash.json"
    path.write_text(json.dumps(pipeline))
    return path


def ran(folder: Path) -> list[str]:
    trace = folder / "trace"
    return [line.split(" ", 1)[1] for line in trace.read_text().splitlines()] if trace.exists() else []


def waits(set_up: SetUp) -> bool:
    return any(action["token"] for stage in set_up.status("crash")["stages"] for action in stage["actions"])


def in_progress(set_up: SetUp) -> dict[str, str]:
    """The actions of the stage that have not ended, each with what it does."""
    stage = next(stage for stage in set_up.status("crash")["stages"] if stage["stageName"] == "Prod")
    return {
        action["actionName"]: action["summary"]
        for action in stage["actions"]
        if action["status"] == "InProgress"
    }


def test_a_set_up_survives_the_death_of_everything_and_of_its_worker_and_a_move(set_up: SetUp) -> None:
    set_up.cli("up", "--limit", "3")
    everything_is_killed_while_an_approval_and_two_actions_wait_side_by_side(set_up)
    a_worker_killed_with_its_flow_is_found_out_and_the_next_execution_runs(set_up)
    a_server_that_is_moved_takes_its_worker_along(set_up)


def made(set_up: SetUp, name: str) -> Path:
    """A folder of the set-up's test."""
    folder = set_up.folder / name
    folder.mkdir()
    return folder


def everything_is_killed_while_an_approval_and_two_actions_wait_side_by_side(set_up: SetUp) -> None:
    folder = made(set_up, "everything")
    job = {"subject": "job", "channel": "job", "message_id": "1"}
    fact = NotificationSent(at=datetime.now(timezone.utc), **job)
    beside = waiting(folder, "Timed", Seconds="6"), waiting(folder, "Job", Fact=fact.key)
    set_up.cli("deploy", str(declare(folder, *beside)), "--start")
    set_up.wait(lambda: "Prod/Slow" in ran(folder))

    # The server is gone for a while in the middle of an action, then comes back at the same address.
    server = set_up.state["server"]["pid"]
    os.kill(server, signal.SIGSTOP)
    (folder / "go").touch()
    time.sleep(10)  # the fault itself: a server that does not answer for 10 s
    os.kill(server, signal.SIGCONT)
    all_wait = {"Ok": "waiting for approval", "Timed": "for the file", "Job": "for the file"}
    set_up.wait(lambda: in_progress(set_up) == all_wait)
    assert ran(folder) == ["Source/Src", "Prod/Build", "Prod/Slow"]

    set_up.kill_everything()
    # From here on a lease is short, so that the death of a flow is soon found out.
    set_up.environment["PREFECT_CODEPIPELINE_LEASE_SECONDS"] = "2"
    set_up.cli("up")
    assert in_progress(set_up) == all_wait
    set_up.cli("approve", "crash", "-m", "after the storm")
    set_up.wait(lambda: "Ok" not in in_progress(set_up))
    (folder / "Timed" / "done").touch()
    set_up.wait(lambda: list(in_progress(set_up)) == ["Job"])
    (folder / "Job" / "done").touch()
    execution_id = set_up.status("crash")["pipelineExecutionId"]
    set_up.python(
        "from prefect_codepipeline.engine.executions.record import RecordOf, utc_now\n"
        "from prefect_codepipeline.model.record.facts import NotificationSent\n"
        "from prefect_codepipeline.prefect_api.suspension import resume\n"
        f"RecordOf({execution_id!r}).write(NotificationSent(at=utc_now(), **{job!r}))\n"
        f"resume({execution_id!r})"
    )
    set_up.wait(lambda: set_up.status("crash")["status"] == "Succeeded")
    facts = set_up.facts([execution_id])[execution_id]
    kept = [fact["action"] for fact in facts if fact["kind"] == "action-kept"]
    assert sorted(kept) == ["Job", "Timed"], "what was begun was not begun again"
    assert (folder / "Job" / "calls").read_text().count("look") == 2

    assert ran(folder) == ["Source/Src", "Prod/Build", "Prod/Slow", "Prod/Ship"]


def a_worker_killed_with_its_flow_is_found_out_and_the_next_execution_runs(set_up: SetUp) -> None:
    folder = made(set_up, "worker")
    set_up.cli("deploy", str(declare(folder)), "--start")
    set_up.wait(lambda: "Prod/Slow" in ran(folder))

    server = set_up.state["server"]["pid"]
    for pid in set_up.processes():
        if pid != server:
            os.kill(pid, signal.SIGKILL)
    set_up.cli("up")
    set_up.wait(lambda: set_up.status("crash")["status"] == "Failed")

    failed = set_up.status("crash")
    assert "the worker died while it ran" in failed["statusSummary"]
    assert ran(folder) == ["Source/Src", "Prod/Build", "Prod/Slow"]
    (folder / "go").touch()
    set_up.cli("start", "crash")
    set_up.wait(lambda: waits(set_up))


def a_server_that_is_moved_takes_its_worker_along(set_up: SetUp) -> None:
    folder = made(set_up, "moved")
    state = set_up.state
    os.kill(state["server"]["pid"], signal.SIGKILL)
    port = state["port"]["number"]
    set_up.wait(lambda: not _listens(port))
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()

        assert set_up.run("up").returncode == 1  # a port is never changed without a word
        set_up.cli("up", "--port", str(free_port()))
        moved = set_up.state
        set_up.cli("deploy", str(declare(folder)))
        set_up.cli("start", "crash")

        assert moved["port"]["number"] != port
        assert moved["worker"]["pid"] != state["worker"]["pid"]
        assert moved["limit"] == 3
        set_up.wait(lambda: (folder / "trace").exists())


def test_the_set_up_runs_on_a_database_that_the_user_names(set_up: SetUp, tmp_path: Path) -> None:
    programs = postgresql.find_programs()
    assert programs
    home = Path(tempfile.mkdtemp(prefix="codepipeline-database-"))
    process = postgresql.start_database(home, programs)
    try:
        set_up.environment["PREFECT_CODEPIPELINE_DATABASE_URL"] = postgresql.database_url(home)
        release(set_up)
    finally:
        stop(identity(process.pid), postgresql.STOP_SIGNAL)
        shutil.rmtree(home, ignore_errors=True)

    assert not list(set_up.home.rglob("*.db"))
    assert not postgresql.data_folder(set_up.home).exists()


def test_the_set_up_runs_on_sqlite_and_keeps_to_it_and_a_crowd_waits_for_no_lock(set_up: SetUp) -> None:
    start_together(set_up, 16, "--sqlite")
    release(set_up)

    assert "SQLite" in set_up.cli("up")
    assert list(set_up.home.rglob("prefect.db"))
    assert not postgresql.data_folder(set_up.home).exists()


def test_a_set_up_on_postgresql_does_not_leave_its_data_for_sqlite(set_up: SetUp) -> None:
    programs = postgresql.find_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not available on this platform")
    set_up.home.mkdir()
    database = postgresql.start_database(set_up.home, programs)
    stop(identity(database.pid), postgresql.STOP_SIGNAL)

    done = set_up.run("up", "--sqlite")

    assert done.returncode == 1
    assert "has its data in PostgreSQL; `--sqlite` needs a new set-up" in done.stderr
    assert not set_up.processes()


def release(set_up: SetUp, *options: str) -> None:
    """A whole execution, with an approval."""
    (set_up.folder / "go").touch()
    set_up.cli("up", *options)
    set_up.cli("deploy", str(declare(set_up.folder)), "--start")
    set_up.wait(lambda: waits(set_up))
    set_up.cli("approve", "crash", "-m", "as always")
    set_up.wait(lambda: set_up.status("crash")["status"] == "Succeeded")
    set_up.cli("down")


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0
