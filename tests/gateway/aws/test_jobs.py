"""Actions of custom types: a worker polls for their jobs, takes them and answers, through the API."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr
from shop import PATIENT, Shop, files_of, put_files
from waiting import until
from world import World

from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.engine.jobs import handing_out, index
from prefect_codepipeline.engine.jobs.waiting import why_it_waits
from prefect_codepipeline.errors import JobNotFoundException
from prefect_codepipeline.model.names import slug
from prefect_codepipeline.model.record.job_facts import JobCreated, JobState
from prefect_codepipeline.prefect_api.variables import put_variable

pytestmark = pytest.mark.live


@pytest.fixture
def shop(world: World, aws: Callable[..., Any]) -> Shop:
    return Shop(world, aws(config=PATIENT))


@pytest.mark.long
def test_a_release_with_workers_for_its_source_and_its_build(shop: Shop, aws: Callable[..., Any]) -> None:
    """Created by the API; artifacts go through the S3 endpoint with the credentials of each job."""
    for category in ("Source", "Build"):
        shop.create_type(category)
    source = {**shop.action("Fetch", "Source"), "outputArtifacts": [{"name": "App"}], "runOrder": 1}
    build = {
        **shop.action("Make"),
        "inputArtifacts": [{"name": "App"}],
        "outputArtifacts": [{"name": "Built"}],
    }
    missing = {**shop.action("Lose", runOrder=2), "outputArtifacts": [{"name": "Lost"}]}
    wire = shop.world.declare([build, missing]).to_wire()
    wire["stages"][0]["actions"] = [source]
    shop.client.create_pipeline(pipeline={**wire, "name": shop.world.name})

    fetch = shop.take("Source")
    put_files(shop.s3(aws, fetch), fetch["data"]["outputArtifacts"][0], {"page.txt": "one"})
    revision = {"revision": "r-1", "changeIdentifier": "c-1", "revisionSummary": "first"}
    shop.client.put_job_success_result(jobId=fetch["id"], currentRevision=revision)
    make = shop.take()
    given = make["data"]["inputArtifacts"][0]
    assert given["revision"] == "r-1"
    s3 = shop.s3(aws, make)
    assert files_of(s3, given) == {"page.txt": "one"}
    with pytest.raises(s3.exceptions.ClientError, match="AccessDenied"):
        files_of(
            s3,
            fetch["data"]["outputArtifacts"][0]
            | {"location": {"s3Location": {"bucketName": "bucket", "objectKey": "Acc/App/other"}}},
        )
    put_files(s3, make["data"]["outputArtifacts"][0], {"page.txt": "two"})
    shop.client.put_job_success_result(jobId=make["id"])
    lose = shop.take()
    shop.client.put_job_success_result(jobId=lose["id"])

    execution_id = make["data"]["pipelineContext"]["pipelineExecutionId"]
    known = shop.world.ended(execution_id)
    assert known.state
    assert known.status == "Failed"
    place = lose["data"]["outputArtifacts"][0]["location"]["s3Location"]
    expected = f"s3://{place['bucketName']}/{place['objectKey']}"
    assert expected in known.state.stage("S1").action("Lose").summary
    assert known.state.artifacts["Built"].revision_id == "r-1"
    assert known.state.source_revisions["Fetch"].revision_summary == "first"


def test_an_action_is_a_job_that_a_worker_takes_and_answers(shop: Shop) -> None:
    shop.create_type()
    execution_id = shop.start([{**shop.action(), "namespace": "Made"}])

    until(index.read_open_jobs)
    kind = f"Build/Custom/{shop.provider}/1"
    assert handing_out.poll(kind, scope=handing_out.Scope(("shop-*",))) == []
    job = shop.take()
    asked = utc_now() - timedelta(hours=2)
    put_variable(f"codepipeline_polled_{slug(kind)}", {"type": kind, "at": asked.isoformat()}, [])
    waiting = JobState(
        JobCreated(
            **dict.fromkeys(("stage", "action", "action_execution_id", "job"), "x"),
            at=asked,
            attempt=1,
            number=1,
        )
    )
    assert f"no worker has asked for {kind} since" in why_it_waits(kind, waiting)
    with pytest.raises(JobNotFoundException):
        handing_out.details(job["id"], handing_out.Scope(("shop-*",)))

    assert job["data"]["actionConfiguration"]["configuration"] == {"Project": "site", "Password": "whisper-7"}
    assert job["data"]["pipelineContext"]["pipelineExecutionId"] == execution_id
    shop.client.put_job_success_result(
        jobId=job["id"],
        executionDetails={"summary": "made", "externalExecutionId": "42"},
        outputVariables={"Url": "https://made.test"},
    )
    state = shop.world.ended(execution_id).state
    assert state
    made = state.stage("S1").action("Make")
    assert (made.status, made.summary, made.external_execution_id) == ("Succeeded", "made", "42")
    assert state.namespaces["Made"] == {"Url": "https://made.test"}
    assert "whisper-7" not in str(state)
    with pytest.raises(shop.client.exceptions.InvalidJobStateException):
        shop.client.put_job_success_result(jobId=job["id"])


@pytest.mark.long
def test_workers_share_jobs_hand_them_on_and_fail(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three actions and an approval side by side; what is asked of one does not hold up the others."""
    shop.create_type()
    shop.create_type("Test", "ThirdParty", client_id=str(uuid4()), client_token=SecretStr("shared"))
    approval = shop.world.action("Ok", category="Approval")
    other = shop.action("Other")
    other["configuration"] = {"Project": "other"}
    partner = {
        "name": "Partner",
        "actionTypeId": shop.kind("Test", "ThirdParty"),
        "configuration": {"Project": "site"},
    }
    execution_id = shop.start([shop.action("Long"), other, partner, approval])

    # The queryable property chooses; the oldest job comes first; one of twenty who acknowledge it has it.
    assert shop.poll(queryParam={"Project": "other"})["data"]["pipelineContext"]["action"]["name"] == "Other"
    monkeypatch.setattr(handing_out, "UNACKNOWLEDGED", timedelta(0))
    forget_rests()
    again = shop.poll(queryParam={"Project": "other"})
    first = shop.poll(queryParam={"Project": "site"})
    assert first["data"]["pipelineContext"]["action"]["name"] == "Long"
    monkeypatch.undo()

    def acknowledge(nonce: str) -> str:
        try:
            return str(shop.client.acknowledge_job(jobId=again["id"], nonce=nonce)["status"])
        except shop.client.exceptions.InvalidNonceException:
            return "InvalidNonce"

    with ThreadPoolExecutor(20) as threads:
        answers = sorted(threads.map(acknowledge, [again["nonce"]] * 20))
    assert answers == ["InProgress", *["InvalidNonce"] * 19]

    # A continuation token ends the job, and another job has the token; what it says shows at once.
    with pytest.raises(shop.client.exceptions.InvalidJobStateException):
        shop.client.put_job_success_result(jobId=first["id"])
    shop.client.acknowledge_job(jobId=first["id"], nonce=first["nonce"])
    details = {"summary": "half", "percentComplete": 50, "externalExecutionId": "build-7"}
    shop.client.put_job_success_result(jobId=first["id"], continuationToken="go on", executionDetails=details)
    shown = {
        each["actionName"]: each
        for each in shop.client.get_pipeline_state(name=shop.world.name)["stageStates"][1]["actionStates"]
    }
    assert shown["Long"]["latestExecution"]["percentComplete"] == 50
    assert shown["Long"]["latestExecution"]["summary"] == "half"
    second = shop.take()
    assert second["id"] != first["id"]
    assert second["data"]["continuationToken"] == "go on"
    found = shop.client.get_job_details(jobId=second["id"])["jobDetails"]
    assert found["data"]["actionConfiguration"]["configuration"]["Password"] == "whisper-7"

    partner_job(shop)
    shop.client.put_job_success_result(jobId=second["id"])
    failure = {"type": "RevisionOutOfSync", "message": "too old", "externalExecutionId": "x"}
    shop.client.put_job_failure_result(jobId=again["id"], failureDetails=failure)
    names = ("Long", "Other", "Partner")
    known = shop.world.wait(
        execution_id,
        lambda known: all(known.state.stage("S1").action(name).finished for name in names),
    )
    assert known.state
    stage = known.state.stage("S1")
    assert {name: stage.action(name).status for name in ("Long", "Partner")} == {
        "Long": "Succeeded",
        "Partner": "Succeeded",
    }
    ended = stage.action("Other").finished
    assert ended
    assert ended.error_details
    assert (ended.error_details.code, ended.error_details.message) == ("RevisionOutOfSync", "too old")
    with pytest.raises(shop.client.exceptions.JobNotFoundException):
        shop.client.get_job_details(jobId=str(uuid4()))


def partner_job(shop: Shop) -> None:
    """The same with the token of a partner's client; a wrong one is refused."""
    client = shop.client
    jobs = until(
        lambda: client.poll_for_third_party_jobs(actionTypeId=shop.kind("Test", "ThirdParty"))["jobs"]
    )
    job, right = jobs[0]["jobId"], {"clientToken": "shared"}
    with pytest.raises(client.exceptions.JobNotFoundException):
        client.get_job_details(jobId=job)  # that needs no client token
    with pytest.raises(client.exceptions.InvalidClientTokenException):
        client.get_third_party_job_details(jobId=job, clientToken="guessed")
    details = client.get_third_party_job_details(jobId=job, **right)["jobDetails"]
    assert "pipelineExecutionId" not in details["data"]["pipelineContext"]
    answer = client.acknowledge_third_party_job(jobId=job, nonce=details["nonce"], **right)
    assert answer["status"] == "InProgress"
    with pytest.raises(client.exceptions.InvalidClientTokenException):
        client.put_third_party_job_success_result(jobId=job, clientToken="guessed")
    client.put_third_party_job_success_result(jobId=job, **right)
    with pytest.raises(client.exceptions.InvalidJobStateException):
        client.put_third_party_job_failure_result(
            jobId=job, failureDetails={"type": "JobFailed", "message": "no"}, **right
        )


def forget_rests() -> None:
    """Look at jobs again that were handed out."""
    index.open_jobs._rests.clear()


def test_an_abandoned_job_has_no_result_and_no_worker_gets_it(shop: Shop) -> None:
    shop.create_type()
    execution_id = shop.start([shop.action(), shop.action("Other", runOrder=1)])
    job, other = shop.take(), shop.poll()
    shop.client.stop_pipeline_execution(
        pipelineName=shop.world.name, pipelineExecutionId=execution_id, abandon=True
    )
    with pytest.raises(shop.client.exceptions.InvalidNonceException):
        shop.client.acknowledge_job(jobId=other["id"], nonce=other["nonce"])
    with pytest.raises(shop.client.exceptions.InvalidJobStateException):
        shop.client.put_job_success_result(jobId=job["id"])
    state = shop.world.ended(execution_id).state
    assert state
    assert (state.status, state.stage("S1").action("Make").status) == ("Stopped", "Abandoned")
    assert shop.client.poll_for_jobs(actionTypeId=shop.kind())["jobs"] == []

    with pytest.raises(
        shop.client.exceptions.ActionTypeNotFoundException, match=f"Provider: '{shop.provider}x', "
    ):
        shop.client.poll_for_jobs(actionTypeId={**shop.kind(), "provider": f"{shop.provider}x"})
