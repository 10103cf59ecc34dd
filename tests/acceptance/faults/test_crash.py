"""A set-up of its own that is killed, stopped and started again: executions go on, and nothing that finished runs twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from aws_server import AwsServer
from chaos import start_together
from pages import ROOT, blocks_of
from set_up import SetUp

from prefect_codepipeline.deployments.local import postgresql
from prefect_codepipeline.deployments.local.parts import identity, stop
from prefect_codepipeline.deployments.local.ports import free_port
from prefect_codepipeline.model.record.facts import NotificationSent

pytestmark = pytest.mark.live
BUILD = {
    "id": "far:1", "arn": "arn:aws:codebuild:us-east-1:123456789012:build/far:1", "currentPhase": "BUILD",
    "buildStatus": "IN_PROGRESS",
}  # fmt: skip


def waiting(folder: Path, name: str, **configuration: str) -> dict[str, Any]:
    """An action beside the approval that waits for the file `done` in a folder with its name."""
    work = folder / name
    work.mkdir()
    kind = {"category": "Test", "owner": "Custom", "provider": "Waits", "version": "1"}
    values = {"Work": str(work), **configuration}
    return {"name": name, "runOrder": 3, "actionTypeId": kind, "configuration": values}


def in_codebuild() -> dict[str, Any]:
    """A build in AWS beside the approval."""
    kind = {"category": "Test", "owner": "AWS", "provider": "CodeBuild", "version": "1"}
    inputs = [{"name": "App"}]
    return {
        "name": "Far", "runOrder": 3, "actionTypeId": kind, "configuration": {"ProjectName": "far"},
        "inputArtifacts": inputs,
    }  # fmt: skip


def alarm_goes(aws: Any, state: str) -> None:
    cloudwatch = aws("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName="Errors", MetricName="5xx", Namespace="Shop", Statistic="Sum", Period=60, Threshold=1,
        EvaluationPeriods=1, ComparisonOperator="GreaterThanThreshold",
    )  # fmt: skip
    cloudwatch.set_alarm_state(AlarmName="Errors", StateValue=state, StateReason=f"now {state}")


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
            {
                "name": "Source",
                "actions": [{**action("Src", 1, "Source"), "outputArtifacts": [{"name": "App"}]}],
            },
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


@pytest.fixture
def codebuild(set_up: SetUp) -> Iterator[AwsServer]:
    """CodeBuild with a build that runs until its answer is changed."""
    server = AwsServer()
    server.answers = {
        "BatchGetProjects": lambda _: {"projects": [{"name": "far", "source": {"type": "GITHUB"}}]},
        "StartBuild": lambda _: {"build": BUILD},
        "BatchGetBuilds": lambda _: {"builds": [{**BUILD, "buildStatus": "IN_PROGRESS"}]},
    }
    set_up.environment |= {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    yield server
    server.stop()


def watching(folder: Path) -> Path:
    """A pipeline whose second stage is entered when an alarm has ended."""
    kind = {"category": "Rule", "owner": "AWS", "provider": "CloudWatchAlarm", "version": "1"}
    configuration = {"AlarmName": "Errors", "WaitTime": "30"}
    rule = {"name": "Quiet", "ruleTypeId": kind, "configuration": configuration}
    pipeline = json.loads(declare(folder).read_text())
    pipeline["name"] = "watch"
    pipeline["stages"][1]["actions"][1:] = []
    pipeline["stages"][1]["beforeEntry"] = {"conditions": [{"result": "FAIL", "rules": [rule]}]}
    path = folder / "watch.json"
    path.write_text(json.dumps(pipeline))
    return path


@pytest.mark.long
def test_a_set_up_survives_the_death_of_everything(
    set_up: SetUp, codebuild: AwsServer, moto_url: str, aws: Any
) -> None:
    set_up.environment["AWS_ENDPOINT_URL_CLOUDWATCH"] = moto_url
    set_up.cli("up")
    everything_is_killed_while_an_approval_a_build_in_aws_a_job_and_an_alarm_rule_wait(set_up, codebuild, aws)


@pytest.mark.long
def test_a_set_up_survives_the_death_of_its_worker_and_a_move(set_up: SetUp) -> None:
    set_up.environment["PREFECT_CODEPIPELINE_LEASE_SECONDS"] = "2"
    set_up.cli("up", "--limit", "3")
    a_worker_killed_with_its_flow_is_found_out_and_the_next_execution_runs(set_up)
    a_server_that_is_moved_takes_its_worker_along(set_up)


def made(set_up: SetUp, name: str) -> Path:
    """A folder of the set-up's test."""
    folder = set_up.folder / name
    folder.mkdir()
    return folder


def everything_is_killed_while_an_approval_a_build_in_aws_a_job_and_an_alarm_rule_wait(
    set_up: SetUp, codebuild: AwsServer, aws: Any
) -> None:
    folder = made(set_up, "everything")
    job = {"subject": "job", "channel": "job", "message_id": "1"}
    fact = NotificationSent(at=datetime.now(timezone.utc), **job)
    beside = in_codebuild(), waiting(folder, "Job", Fact=fact.key)
    alarm_goes(aws, "ALARM")
    set_up.python(
        "from prefect_codepipeline.blocks.codebuild_project import CodeBuildProject\n"
        "CodeBuildProject(where='aws').save('far')"
    )
    set_up.cli("deploy", str(watching(folder)), "--start")
    set_up.cli("deploy", str(declare(folder, *beside)), "--start")
    set_up.wait(lambda: "Prod/Slow" in ran(folder))

    # The server is gone for a while in the middle of an action, then comes back at the same address.
    server = set_up.state["server"]["pid"]
    os.kill(server, signal.SIGSTOP)
    (folder / "go").touch()
    time.sleep(10)  # the fault itself: a server that does not answer for 10 s
    os.kill(server, signal.SIGCONT)
    all_wait = {"Ok": "waiting for approval", "Far": "BUILD", "Job": "for the file"}
    set_up.wait(lambda: in_progress(set_up) == all_wait)
    begun = ran(folder)
    assert begun.count("Source/Src") == 2
    assert begun.count("Prod/Build") == begun.count("Prod/Slow") == 1, "the alarm is on"

    set_up.kill_everything()
    alarm_goes(aws, "OK")
    # From here on a lease is short, so that the death of a flow is soon found out.
    set_up.environment["PREFECT_CODEPIPELINE_LEASE_SECONDS"] = "2"
    set_up.cli("up")
    assert in_progress(set_up) == all_wait
    set_up.cli("approve", "crash", "-m", "after the storm")
    set_up.wait(lambda: "Ok" not in in_progress(set_up))
    codebuild.answers["BatchGetBuilds"] = lambda _: {"builds": [{**BUILD, "buildStatus": "SUCCEEDED"}]}
    set_up.wait(lambda: list(in_progress(set_up)) == ["Job"])
    assert len(codebuild.asked("StartBuild")) == 1
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
    assert (folder / "Job" / "calls").read_text().count("look") == 2
    set_up.wait(lambda: set_up.status("watch")["status"] == "Succeeded")

    assert sorted(ran(folder)) == sorted([*begun, "Prod/Build", "Prod/Ship"]), "nothing ran twice"


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
        # The worker holds the port against others; a program of the same user can ask to share it.
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
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


@pytest.mark.long
def test_the_set_up_runs_on_a_database_that_the_user_names(set_up: SetUp, tmp_path: Path) -> None:
    programs = postgresql.find_programs()
    assert programs
    home = Path(tempfile.mkdtemp(prefix="codepipeline-database-"))
    process = postgresql.start_database(home, programs)
    try:
        set_up.environment["PREFECT_CODEPIPELINE_DATABASE_URL"] = postgresql.database_url(home)
        release(set_up)
        assert moved(home, tmp_path) == ["1", "1"]
    finally:
        stop(identity(process.pid), postgresql.STOP_SIGNAL)
        shutil.rmtree(home, ignore_errors=True)

    assert not list(set_up.home.rglob("*.db"))
    assert not postgresql.data_folder(set_up.home).exists()


def moved(home: Path, folder: Path) -> list[str]:
    """Move the database as docs/embedded.md says, to that of a user without rights; its pipelines before and after."""
    [page] = [text for _, text in blocks_of(ROOT / "docs" / "embedded.md") if "pg_dump" in text]
    program = folder / "bin" / "codepipeline"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\n")
    program.chmod(0o755)
    theirs = f"postgresql:///moved?host={home}/postgresql&user=prefect&options=-c%20role%3Dreader"
    load = page.replace("postgresql://USER:PASSWORD@HOST/DATABASE", f"'{theirs}'")
    count = "-Atc \"select count(*) from deployment where name = 'crash'\""
    ours = f'"$bin/psql" -h {home}/postgresql -U prefect'
    commands = [line for line in load.splitlines() if not line.startswith(("codepipeline", "export"))]
    new_database = f"{ours} -c 'create role reader' -c 'create database moved owner reader' postgres"
    commands[3:3] = [new_database]
    counts = [f"{ours} {count} postgres >&3", f"\"$bin/psql\" '{theirs}' {count} >&3"]
    script = "\n".join(["set -eu", *commands, *counts])
    environment = {**os.environ, "PREFECT_CODEPIPELINE_HOME": str(home)}
    environment["PATH"] = f"{program.parent}:{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-c", f"exec 3>&1 >&2\n{script}"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.long
def test_on_sqlite_a_crowd_waits_for_no_lock(set_up: SetUp) -> None:
    start_together(set_up, 16, "--sqlite")


@pytest.mark.long
def test_the_set_up_runs_on_sqlite_and_keeps_to_it(set_up: SetUp) -> None:
    release(set_up, "--sqlite")

    assert json.loads(set_up.cli("up", "--json"))["database"] == "sqlite"
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
