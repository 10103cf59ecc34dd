"""Workers as people run them: the example, which knows only boto3, a command for each job, and a function in Python."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from commands import run_command
from shop import PATIENT, Shop, files_of
from waiting import until
from world import World

from prefect_codepipeline.blocks.artifact_store import ArtifactStore
from prefect_codepipeline.blocks.pipeline_settings import PipelineSettings
from prefect_codepipeline.engine.executions.definitions import settings_of
from prefect_codepipeline.engine.executions.lookup import find_runs
from prefect_codepipeline.engine.executions.record import RecordOf, utc_now
from prefect_codepipeline.engine.jobs import handing_out, handling, results, worker
from prefect_codepipeline.engine.jobs.known import TIME
from prefect_codepipeline.errors import PrefectUnavailable
from prefect_codepipeline.jobs import Job, Success
from prefect_codepipeline.model.names import slug
from prefect_codepipeline.model.record.facts import ActionStarted

pytestmark = pytest.mark.live
CATEGORIES = ("Source", "Build", "Deploy")
EXAMPLE = Path(__file__).parents[3] / "examples" / "worker" / "worker.py"


@pytest.fixture
def shop(world: World, aws: Callable[..., Any]) -> Shop:
    return Shop(world, aws(config=PATIENT))


@contextmanager
def example_workers(url: str, *kinds: dict[str, str]) -> Iterator[None]:
    """A worker of `examples/worker/` for each type."""
    environment = {**os.environ, "AWS_ENDPOINT_URL": url, "AWS_DEFAULT_REGION": "us-east-1"}
    workers = [
        subprocess.Popen(
            [sys.executable, EXAMPLE, kind["category"], kind["provider"], kind["version"]], env=environment
        )
        for kind in kinds
    ]
    try:
        yield
    finally:
        for each in workers:
            each.kill()
            each.wait()


def approve(shop: Shop) -> None:
    """Approve the first action of stage S2, once it is asked for."""

    def token() -> str | None:
        stages = shop.client.get_pipeline_state(name=shop.world.name)["stageStates"]
        found: str | None = stages[2]["actionStates"][0].get("latestExecution", {}).get("token")
        return found

    shop.client.put_approval_result(
        pipelineName=shop.world.name,
        stageName="S2",
        actionName="Ok",
        result={"summary": "fine", "status": "Approved"},
        token=until(token),
    )


def create_with_jobs(shop: Shop) -> None:
    """A pipeline whose source, build and deployment are jobs; an approval stands between them."""
    for category in CATEGORIES:
        shop.create_type(category)
    fetch = {**shop.action("Fetch", "Source"), "outputArtifacts": [{"name": "App"}]}
    make = {
        **shop.action("Make"),
        "inputArtifacts": [{"name": "App"}],
        "outputArtifacts": [{"name": "Built"}],
    }
    ship = {**shop.action("Ship", "Deploy", runOrder=2), "inputArtifacts": [{"name": "Built"}]}
    wire = shop.world.declare([make], [shop.world.action("Ok", category="Approval"), ship]).to_wire()
    wire["stages"][0]["actions"] = [fetch]
    shop.client.create_pipeline(pipeline=wire)


def test_workers_of_the_example_release_a_pipeline(shop: Shop, gateway: str) -> None:
    create_with_jobs(shop)
    with example_workers(gateway, *map(shop.kind, CATEGORIES)):
        approve(shop)
        execution_id = str(find_runs(shop.world.name)[0]["id"])
        known = shop.world.ended(execution_id)
    assert known.state
    assert known.status == "Succeeded"
    assert known.state.artifacts["Built"].files == 1
    fetched = shop.client.get_pipeline_execution(
        pipelineName=shop.world.name, pipelineExecutionId=execution_id
    )["pipelineExecution"]["artifactRevisions"][0]
    assert fetched["name"] == "App"
    listed = shop.client.list_action_executions(pipelineName=shop.world.name)["actionExecutionDetails"]
    shown = [each["input"]["configuration"]["Password"] for each in listed if each["actionName"] != "Ok"]
    assert shown == ["****"] * 3


@pytest.fixture
def in_s3(shop: Shop, moto_url: str) -> Iterator[Callable[[], list[str]]]:
    """The artifacts of the shop's pipeline are in a bucket of S3: a function that lists its objects."""
    import boto3

    name, bucket = shop.world.name, f"artifacts-{uuid4().hex[:12]}"
    s3 = boto3.client("s3", endpoint_url=moto_url, region_name="us-east-1")
    s3.create_bucket(Bucket=bucket)
    options = {"endpoint_url": moto_url, "key": "testing", "secret": "testing-secret"}
    ArtifactStore(url=f"s3://{bucket}/some", storage_options=options).save(slug(name))
    PipelineSettings(artifact_store=slug(name)).save(slug(name))
    yield lambda: [each["Key"] for each in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    PipelineSettings.delete(slug(name))
    ArtifactStore.delete(slug(name))


@pytest.mark.long
def test_a_pipeline_of_jobs_lives_through_everything_with_its_artifacts_in_s3(
    shop: Shop, gateway: str, in_s3: Callable[[], list[str]], aws: Callable[..., Any]
) -> None:
    """Released, failed and retried, rolled back, held and updated meanwhile, stopped and abandoned: by the API alone."""
    client, name, world = shop.client, shop.world.name, shop.world
    create_with_jobs(shop)
    with example_workers(gateway, *map(shop.kind, ("Source", "Build"))):
        first = str(find_runs(name)[0]["id"])
        approve(shop)
        job = shop.take("Deploy")
        assert list(files_of(shop.s3(aws, job), job["data"]["inputArtifacts"][0])) == ["configuration.txt"]
        why = {"type": "JobFailed", "message": "the host is full"}
        client.put_job_failure_result(jobId=job["id"], failureDetails=why)
        assert world.ended(first).status == "Failed"
        assert "the host is full" in world.ended(first).summary

        with example_workers(gateway, shop.kind("Deploy")):
            client.retry_stage_execution(
                pipelineName=name, stageName="S2", pipelineExecutionId=first, retryMode="FAILED_ACTIONS"
            )
            until(lambda: world.ended(first).status == "Succeeded")
            to = {"pipelineName": name, "stageName": "S1", "targetPipelineExecutionId": first}
            rolled = client.rollback_stage(**to)["pipelineExecutionId"]
            assert world.ended(rolled).status == "Succeeded"
        built = [world.ended(each).state.artifacts["Built"].sha256 for each in (first, rolled)]  # type: ignore[union-attr]
        assert built[0] == built[1], "made of the same source"

        stage = {"pipelineName": name, "stageName": "S1", "transitionType": "Inbound"}
        client.disable_stage_transition(**stage, reason="not now")

        def hold() -> str:
            held = str(client.start_pipeline_execution(name=name)["pipelineExecutionId"])
            world.wait(held, lambda known: known.state and known.state.stage("Source").status == "Succeeded")
            return held

        updated = hold()
        wire = client.get_pipeline(name=name)["pipeline"]
        assert client.update_pipeline(pipeline=wire)["pipeline"]["version"] == 2
        assert world.ended(updated).status == "Cancelled"
        stopped = hold()
        client.stop_pipeline_execution(pipelineName=name, pipelineExecutionId=stopped, abandon=True)
        assert world.ended(stopped).status == "Stopped"
    assert all(key.startswith("some/") for key in in_s3())


SCRIPT = """
set -e
test "$CONFIG_PROJECT" = site || { printf 'not\\000text'; exit 1; }
test "$CONFIG_PASSWORD" = whisper-7
test -z "$PREFECT_API_URL"
echo 'id build-9' >>"$JOB_PROGRESS"
echo '40 half way' >>"$JOB_PROGRESS"
while [ ! -e "$1" ]; do sleep 0.1; done
echo Url=https://site.test >>"$JOB_VARIABLES"
echo built >"$JOB_OUTPUTS/Built/page.txt"
"""


@pytest.mark.long
def test_a_command_does_a_job_with_folders_and_files(shop: Shop, tmp_path: Path) -> None:
    shop.create_type()
    kind = f"Build/Custom/{shop.provider}/1"
    (tmp_path / "build.sh").write_text(SCRIPT)
    make = {**shop.action(), "outputArtifacts": [{"name": "Built"}], "namespace": "Made"}
    broken = {**shop.action("Broken"), "configuration": {"Project": "other"}, "runOrder": 2}
    execution_id = shop.start([make, broken])
    listed = until(lambda: shop.world.json("jobs", "list", "--type", kind))
    assert (listed[0]["status"], listed[0]["actionName"]) == ("Queued", "Make")
    assert f"no worker has ever asked for {kind}" in listed[0]["why"]

    command = [
        sys.executable,
        "-c",
        "from prefect_codepipeline.cli import main; main()",
        "jobs",
        "work",
        kind,
    ]
    command += ["--most", "2", "--", "sh", str(tmp_path / "build.sh"), str(tmp_path / "go")]
    working = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    known = shop.world.wait(
        execution_id, lambda known: known.state and known.state.stage("S1").action("Make").percent_complete
    )
    assert known.state
    at_work = known.state.stage("S1").action("Make")
    assert (at_work.percent_complete, at_work.summary) == (40, "half way")
    assert at_work.external_execution_id == "build-9"
    assert "a worker has its job" in shop.world.json("jobs", "show", listed[0]["id"])["why"]
    (tmp_path / "go").touch()

    state = shop.world.ended(execution_id).state
    assert state
    assert working.wait(60) == 0, working.stderr and working.stderr.read()
    assert state.stage("S1").action("Make").status == "Succeeded"
    assert state.namespaces["Made"] == {"Url": "https://site.test"}
    assert state.artifacts["Built"].files == 1
    assert "exit code 1\nnot\N{REPLACEMENT CHARACTER}text" in state.stage("S1").action("Broken").summary
    assert run_command(["jobs", "work", f"{kind}x", "--", "true"]).returncode == 1


@pytest.mark.long
def test_a_function_does_the_jobs_that_a_dead_worker_left(shop: Shop, tmp_path: Path) -> None:
    """A worker that is killed loses its lease, and another one does its job again. The job is one of a partner's type."""
    shop.create_type()
    kind = f"Build/Custom/{shop.provider}/1"
    shop.create_type("Test", "ThirdParty", served_by=kind)
    partner = {**shop.action(), "actionTypeId": shop.kind("Test", "ThirdParty")}
    execution_id = shop.start([partner])
    command = [
        sys.executable,
        "-c",
        "from prefect_codepipeline.cli import main; main()",
        "jobs",
        "work",
        kind,
    ]
    lost = subprocess.Popen(
        [*command, "--", "sh", "-c", f"touch {tmp_path / 'begun'}; exec sleep 300"],
        env={**os.environ, "PREFECT_CODEPIPELINE_LEASE_SECONDS": "1"},
    )
    until((tmp_path / "begun").exists)
    lost.send_signal(signal.SIGKILL)
    lost.wait()

    program = (
        "from prefect_codepipeline.cli.session import connect; connect()\n"
        "from prefect_codepipeline.jobs import JobFailed, worker\n"
        "def fail(job):\n"
        "    raise JobFailed(f'no place for {job.configuration[\"Project\"]}', code='SystemUnavailable')\n"
        f"worker({kind!r}, fail, query={{'Project': 'site'}}, most=1)\n"
    )
    subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PREFECT_CODEPIPELINE_LEASE_SECONDS": "1"},
        check=True,
        timeout=120,
    )
    state = shop.world.ended(execution_id).state
    assert state
    ended = state.stage("S1").action("Make").finished
    assert ended
    assert ended.error_details
    assert (ended.error_details.code, ended.error_details.message) == (
        "SystemUnavailable",
        "no place for site",
    )


def losing_the_first_answer(operation: Callable[..., Any]) -> Callable[..., Any]:
    """The operation, but its first answer does not arrive."""
    lost: list[Any] = []

    def ask(*arguments: Any, **options: Any) -> Any:
        answer = operation(*arguments, **options)
        if not lost:
            lost.append(answer)
            raise PrefectUnavailable("the answer was lost")
        return answer

    return ask


@pytest.mark.long
def test_a_worker_repeats_what_was_not_answered_and_ends_each_job(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a worker lives no other one gets its jobs: those that it cannot end would wait for a day."""
    shop.create_type()
    execution_id = shop.start([shop.action("Good"), shop.action("Bad", runOrder=2)])
    monkeypatch.setattr(worker, "AWAY_SECONDS", 0.0)
    monkeypatch.setattr(worker, "put_result", losing_the_first_answer(results.put_result))
    monkeypatch.setattr(handing_out, "acknowledge", losing_the_first_answer(handing_out.acknowledge))
    monkeypatch.setattr(handling, "settings_of", losing_the_first_answer(settings_of))
    begun = []

    def release(job: Job) -> Success:
        begun.append(job.action_name)
        number: Any = 5
        return Success(output_variables={"Count": "5" if job.action_name == "Good" else number})

    worker.work(f"Build/Custom/{shop.provider}/1", release, most=2)

    state = shop.world.ended(execution_id).state
    assert state
    assert begun == ["Good", "Bad"]
    stage = state.stage("S1")
    assert stage.action("Good").status == "Succeeded"
    assert "the result of the work cannot be recorded" in stage.action("Bad").summary


def test_a_job_without_a_result_within_a_day_times_out(shop: Shop) -> None:
    """Its action was begun by an earlier process, a day ago."""
    shop.create_type()
    execution_id = shop.start(
        [shop.world.action("Before")],
        [shop.world.action("Ok", category="Approval"), shop.action("Make", runOrder=2)],
    )
    shop.world.wait(execution_id, lambda known: known.state and known.state.open_approvals)
    identity = {"stage": "S2", "action": "Make", "attempt": 1, "action_execution_id": str(uuid4())}
    RecordOf(execution_id).write(ActionStarted(at=utc_now() - TIME - timedelta(seconds=1), **identity))
    approve(shop)

    state = shop.world.ended(execution_id).state
    assert state
    ended = state.stage("S2").action("Make").finished
    assert ended
    assert ended.error_details
    assert ended.error_details.code == "Timeout"
    assert "within 24 hours" in ended.error_details.message
