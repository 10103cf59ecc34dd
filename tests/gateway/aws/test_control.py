"""Executions started, stopped, retried, rolled back, overridden and approved by boto3, as users' tools do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError
from waiting import until

from prefect_codepipeline.blocks.pipeline_settings import PipelineSettings
from prefect_codepipeline.deployments.create import deploy_pipeline
from prefect_codepipeline.deployments.delete import delete_pipeline
from prefect_codepipeline.deployments.files.settings import save_settings
from prefect_codepipeline.engine.executions.definitions import claim_version, newest_version
from prefect_codepipeline.engine.executions.lookup import KnownExecution, read_execution
from prefect_codepipeline.engine.operations import retrying
from prefect_codepipeline.engine.operations.starting import find_deployment
from prefect_codepipeline.model.approvals.policy import ApprovalPolicy
from prefect_codepipeline.prefect_api.client import call, flow_run
from prefect_codepipeline.prefect_api.flow_runs import create_flow_run
from prefect_codepipeline.prefect_api.together import together

pytestmark = pytest.mark.live
CALLER = "arn:aws:iam::123456789012:user/anonymous"
COMMIT = "c0ffee" * 6 + "c0de"
AT_ONCE = 20


def refused(operation: Callable[..., Any], **members: Any) -> str:
    """The name of the exception, and its message."""
    with pytest.raises(ClientError) as caught:
        operation(**members)
    error = caught.value.response["Error"]
    return f"{error['Code']}: {error['Message']}"


@pytest.fixture
def unserved(world: Any) -> Iterator[str]:
    """A work pool without a worker: no execution in it ever begins."""
    name = f"unserved-{uuid4().hex[:8]}"
    call("POST", "/work_pools/", {"name": name, "type": "process"})
    yield name
    call("DELETE", f"/work_pools/{name}")


def released(world: Any) -> dict[str, Any]:
    """A pipeline whose S1 fails until `good` exists and waits for `may-end`, S2 is approved, and S3 does not succeed."""
    work = world.action("Work", FailUnless=world.folder / "good")
    long = world.action("Long", Until=world.folder / "may-end")
    approval = world.action("Ok", 1, "Approval", CustomData="Ship?")
    declaration = world.declare(
        [work, long],
        [approval],
        [world.action("Last")],
        variables=[{"name": "Place", "defaultValue": "here"}],
    )
    wire: dict[str, Any] = declaration.to_wire()
    kind = {"category": "Rule", "owner": "Custom", "provider": "Scripted", "version": "1"}
    rule = {"name": "never", "ruleTypeId": kind, "configuration": {"FailUnless": str(world.folder / "no")}}
    wire["stages"][3]["onSuccess"] = {"conditions": [{"result": "FAIL", "rules": [rule]}]}
    deploy_pipeline(type(declaration).model_validate(wire))
    return wire


def failed(world: Any, execution_id: str) -> KnownExecution:
    """The execution as soon as its record has the end, which is before Prefect has it."""
    known: KnownExecution = world.wait(
        execution_id, lambda known: known.state and known.state.final, only_in=["RUNNING", "FAILED"]
    )
    assert known.status == "Failed"
    return known


@pytest.mark.long
def test_an_execution_is_controlled_from_start_to_end(
    world: Any, aws: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, name = aws(), world.name
    wire = released(world)
    revision = {"actionName": "Src", "revisionType": "COMMIT_ID", "revisionValue": COMMIT}
    start = {
        "name": name, "clientRequestToken": f"t-{name.partition('.')[2]}", "sourceRevisions": [revision],
        "variables": [{"name": "Place", "value": "there"}],
    }  # fmt: skip
    client.disable_stage_transition(
        pipelineName=name, stageName="S3", transitionType="Inbound", reason="not yet"
    )
    with ThreadPoolExecutor(5) as threads:
        started = list(threads.map(lambda _: client.start_pipeline_execution(**start), range(5)))
    ids = {each["pipelineExecutionId"] for each in started}
    assert len(ids) == 1, "the same token started several executions"
    first = ids.pop()
    stage = {"pipelineName": name, "pipelineExecutionId": first}

    retry = {**stage, "stageName": "S1", "retryMode": "FAILED_ACTIONS"}
    world.wait(first, lambda known: known.state and "Failed" in statuses(known), only_in=["RUNNING"])
    with monkeypatch.context() as patched:
        patched.setattr(retrying, "ENDING_SECONDS", 0.3)
        assert refused(client.retry_stage_execution, **retry).startswith("ConflictException: Your request")
    (world.folder / "may-end").touch()
    known = failed(world, first)
    assert known.state
    assert known.state.pinned.variables == {"Place": "there"}
    assert known.state.pinned.trigger_detail == CALLER
    assert known.state.source_revisions["Src"].revision_id == COMMIT
    (world.folder / "good").touch()
    retries = both(lambda: client.retry_stage_execution(**retry), 2)
    retries.remove(first)
    assert retries in (["ConflictException"], ["StageNotRetryableException"]), "of two retries one counts"

    approve_by_one_of_many(world, client, first)
    # An answer may be a second old.
    third = until(
        lambda: [
            each
            for each in client.get_pipeline_state(name=name)["stageStates"]
            if each.get("inboundExecution", {}).get("pipelineExecutionId") == first
        ]
    )[0]
    assert third["stageName"] == "S3"
    transition = third["inboundTransitionState"]
    assert (transition["enabled"], transition["disabledReason"]) == (False, "not yet")
    assert transition["lastChangedBy"] == CALLER
    client.enable_stage_transition(pipelineName=name, stageName="S3", transitionType="Inbound")
    failed(world, first)
    client.override_stage_condition(**stage, stageName="S3", conditionType="ON_SUCCESS")
    assert world.ended(first).status == "Succeeded"
    assert sorted(world.ran(first)) == ["S1/Long", "S1/Work", "S1/Work", "S3/Last", "Source/Src"]
    roll_back_and_abandon(world, client, first)
    refuse_what_has_changed(world, client, wire, first)


def statuses(known: KnownExecution) -> list[str | None]:
    assert known.state
    return [action.status for _, action in known.state.actions]


def both(request: Callable[[], Any], times: int) -> list[str]:
    """What concurrent requests are answered: the execution or the name of the exception."""

    def asked(_: int) -> str:
        try:
            return str(request().get("pipelineExecutionId", "done"))
        except ClientError as error:
            return str(error.response["Error"]["Code"])

    with ThreadPoolExecutor(times) as threads:
        return list(threads.map(asked, range(times)))


def approve_by_one_of_many(world: Any, client: Any, execution_id: str) -> None:
    """The pipeline, the stage, the action and the token are checked, in this order; then the first answer counts."""
    waiting = world.suspended(execution_id)
    request = waiting.state.open_approvals[0][1].request
    assert until(lambda: shown_token(client, world.name)) == request.token
    answer = {
        "pipelineName": world.name, "stageName": "S2", "actionName": "Ok", "token": request.token,
        "result": {"status": "Approved", "summary": "fine"},
    }  # fmt: skip
    put, other = client.put_approval_result, str(uuid4())
    assert refused(put, **{**answer, "pipelineName": "no", "stageName": "no"}).startswith("PipelineNotFound")
    assert refused(put, **{**answer, "stageName": "no", "actionName": "no"}).startswith("StageNotFound")
    assert refused(put, **{**answer, "actionName": "no"}).startswith("ActionNotFound")
    assert refused(put, **{**answer, "token": other}).startswith("InvalidApprovalToken")
    save_settings(
        world.name, PipelineSettings(approvals={"S2/Ok": ApprovalPolicy(approvers=("ana@example.com",))})
    )
    assert refused(put, **answer).startswith(
        f"AccessDeniedException: User: {CALLER} is not authorized to perform: codepipeline:PutApprovalResult on "
        f"resource: arn:aws:codepipeline:us-east-1:123456789012:{world.name}/S2/Ok because this approval needs a known"
    )
    save_settings(world.name, PipelineSettings())

    before = datetime.now(timezone.utc)
    answers = both(lambda: put(**answer), AT_ONCE)

    assert sorted(answers) == ["ApprovalAlreadyCompletedException"] * (AT_ONCE - 1) + ["done"]
    decision = read_execution(execution_id).state.stage("S2").actions[0].decision  # type: ignore[union-attr]
    assert decision
    assert (decision.by, decision.summary) == (CALLER, "fine")
    assert decision.at >= before


def shown_token(client: Any, name: str) -> str | None:
    action = client.get_pipeline_state(name=name)["stageStates"][2]["actionStates"][0]
    token: str | None = action.get("latestExecution", {}).get("token")
    return token


def roll_back_and_abandon(world: Any, client: Any, target: str) -> None:
    """A rollback is a new execution; it is stopped once, then abandoned once."""
    name = world.name
    (world.folder / "may-end").unlink()
    to = {"pipelineName": name, "targetPipelineExecutionId": target}
    rolled = client.rollback_stage(**to, stageName="S1")["pipelineExecutionId"]
    world.wait(rolled, lambda known: known.state and known.state.stage("S1").entered)
    assert refused(client.rollback_stage, **to, stageName="S1").startswith("UnableToRollbackStage")
    stop = {"pipelineName": name, "pipelineExecutionId": rolled}
    assert client.stop_pipeline_execution(**stop)["pipelineExecutionId"] == rolled
    assert refused(client.stop_pipeline_execution, **stop).endswith(
        "If you already chose to stop and wait, you cannot make that request again."
    )
    client.stop_pipeline_execution(**stop, abandon=True, reason="enough")
    ended = world.ended(rolled)
    assert ended.status == "Stopped"
    assert ended.state.pinned.trigger_type == "ManualRollback"
    assert f"{CALLER}: enough" in ended.summary
    assert refused(client.stop_pipeline_execution, **stop).startswith("PipelineExecutionNotStoppable")
    other = {"pipelineName": name, "stageName": "S1", "targetPipelineExecutionId": rolled}
    assert refused(client.rollback_stage, **other).startswith("UnableToRollbackStage")


def refuse_what_has_changed(world: Any, client: Any, wire: dict[str, Any], first: str) -> None:
    """The exceptions of executions that have ended, or ran an earlier version."""
    name = world.name
    retry = {"pipelineName": name, "pipelineExecutionId": first, "retryMode": "ALL_ACTIONS"}
    override = {"pipelineName": name, "pipelineExecutionId": first, "conditionType": "ON_SUCCESS"}
    unknown = {"pipelineExecutionId": str(uuid4())}
    target = {"pipelineName": name, "targetPipelineExecutionId": first}
    assert refused(client.retry_stage_execution, **retry, stageName="S1").startswith("StageNotRetryable")
    assert refused(client.retry_stage_execution, **retry, stageName="no") == (
        f"StageNotFoundException: Pipeline '{name}' does not have a stage with name 'no'"
    )
    assert refused(client.retry_stage_execution, **{**retry, **unknown}, stageName="S1").startswith(
        "NotLatest"
    )
    assert refused(client.override_stage_condition, **override, stageName="S3").startswith("ConditionNotOver")
    assert refused(client.override_stage_condition, **{**override, **unknown}, stageName="S3").startswith(
        "NotLatest"
    )
    assert refused(client.rollback_stage, **target, stageName="Source").startswith("UnableToRollbackStage")
    assert refused(client.rollback_stage, **target, stageName="no").startswith("StageNotFound")
    assert refused(
        client.rollback_stage, **{**target, "targetPipelineExecutionId": str(uuid4())}, stageName="S1"
    ).startswith("PipelineExecutionNotFound")
    used = client.put_action_revision(
        pipelineName=name, stageName="Source", actionName="Src", actionRevision=a_revision(COMMIT)
    )
    del used["ResponseMetadata"]
    assert used == {"newRevision": False, "pipelineExecutionId": first}
    wire["variables"][0]["defaultValue"] = "elsewhere"
    deploy_pipeline(world.declare().model_validate(wire))
    assert refused(client.rollback_stage, **target, stageName="S1").startswith("PipelineExecutionOutdated")


def status_of(client: Any, **execution: str) -> str:
    return str(client.get_pipeline_execution(**execution)["pipelineExecution"]["status"])


def a_revision(revision_id: str) -> dict[str, Any]:
    return {"revisionId": revision_id, "revisionChangeId": "1", "created": datetime.now(timezone.utc)}


def test_before_a_worker_has_begun_it(world: Any, aws: Callable[..., Any], unserved: str) -> None:
    client, name, missing = aws(), world.name, f"{world.name}-missing"
    declaration = world.declare([world.action("Work")], variables=[{"name": "Place"}])
    there = [{"name": "Place", "value": "there"}]
    token = {"name": name, "clientRequestToken": "once", "variables": there}
    assert refused(client.start_pipeline_execution, name=missing) == (
        f"PipelineNotFoundException: Pipeline with name {missing} does not exist in account 123456789012"
    )
    claim_version(declaration)  # as far as the creation of a pipeline has come that is under way
    assert refused(client.start_pipeline_execution, **token).startswith("ConflictException: Your request")
    deploy_pipeline(declaration, unserved)
    said = refused(client.start_pipeline_execution, name=name, variables=[{"name": "No", "value": "x"}])
    assert said.startswith("ValidationException: pipeline")
    assert "it has no variable 'No' (it has: Place)" in said
    assert "variable 'Place' has no default and no value was given" in said
    digest = {"actionName": "Src", "revisionType": "IMAGE_DIGEST", "revisionValue": "sha256:1"}
    said = refused(client.start_pipeline_execution, name=name, variables=there, sourceRevisions=[digest])
    assert "source action 'Src' of provider Scripted takes no revision of type IMAGE_DIGEST" in said

    started = client.start_pipeline_execution(**token)["pipelineExecutionId"]
    stop = {"pipelineName": name, "pipelineExecutionId": started}
    assert refused(client.stop_pipeline_execution, **{**stop, "pipelineName": missing}) == (
        f"PipelineNotFoundException: Account '123456789012' does not have a pipeline with name '{missing}'"
    )
    assert refused(client.retry_stage_execution, **stop, stageName="S1", retryMode="ALL_ACTIONS").startswith(
        "StageNotRetryable"
    )
    assert status_of(client, **stop) == "InProgress"
    assert client.stop_pipeline_execution(**stop)["pipelineExecutionId"] == started
    assert status_of(client, **stop) == "Stopped"
    assert refused(client.stop_pipeline_execution, **stop).startswith("PipelineExecutionNotStoppable")

    assert client.start_pipeline_execution(**token)["pipelineExecutionId"] == started
    deploy_pipeline(world.declare([world.action("Work"), world.action("More")]), unserved)
    newer = client.start_pipeline_execution(name=name)["pipelineExecutionId"]
    run = flow_run(newer)
    assert run
    assert run["labels"]["codepipeline.definition"] == str(newest_version(name)[0])
    client.stop_pipeline_execution(pipelineName=name, pipelineExecutionId=newer)
    delete_pipeline(name)
    deploy_pipeline(world.declare([world.action("Work")]), unserved)
    assert refused(client.stop_pipeline_execution, **stop).startswith("PipelineExecutionNotStoppable")
    target = {"pipelineName": name, "stageName": "S1", "targetPipelineExecutionId": started}
    assert refused(client.rollback_stage, **target).startswith("PipelineExecutionNotFound")
    again = client.start_pipeline_execution(name=name, clientRequestToken="once")["pipelineExecutionId"]
    assert again != started, "a token of a deleted pipeline counted"
    client.stop_pipeline_execution(pipelineName=name, pipelineExecutionId=again, abandon=True)


@pytest.mark.long
def test_a_revision_starts_one_execution(world: Any, aws: Callable[..., Any], unserved: str) -> None:
    client, name = aws(), world.name
    deploy_pipeline(world.declare([world.action("Work")], executionMode="QUEUED"), unserved)
    source = {"pipelineName": name, "stageName": "Source", "actionName": "Src"}
    put, new = client.put_action_revision, a_revision("r1")

    with ThreadPoolExecutor(5) as threads:
        answers = list(threads.map(lambda _: put(**source, actionRevision=new), range(5)))

    assert sorted(each["newRevision"] for each in answers) == [False] * 4 + [True]
    ids = {each["pipelineExecutionId"] for each in answers}
    assert len(ids) == 1
    run = flow_run(ids.pop())
    assert run
    assert run["parameters"]["source_revisions"] == {"Src": "r1"}
    assert run["labels"]["codepipeline.trigger-type"] == "PutActionRevision"
    assert run["labels"]["codepipeline.started-by"] == CALLER
    assert refused(put, **{**source, "stageName": "no"}, actionRevision=new).startswith("StageNotFound")
    assert refused(put, **{**source, "actionName": "no"}, actionRevision=new).startswith("ActionNotFound")
    work = {"pipelineName": name, "stageName": "S1", "actionName": "Work"}
    assert "is not a source action" in refused(put, **work, actionRevision=new)

    started = client.start_pipeline_execution(name=name, clientRequestToken="once")["pipelineExecutionId"]
    deployment = find_deployment(name)["id"]
    others = together([lambda: create_flow_run(deployment, {}, {}, None)] * 50)
    assert refused(client.start_pipeline_execution, name=name).startswith("ConcurrentPipelineExecutionsLimit")
    assert refused(put, **source, actionRevision=a_revision("r2")).startswith(
        "ConcurrentPipelineExecutionsLimit"
    )
    assert (
        client.start_pipeline_execution(name=name, clientRequestToken="once")["pipelineExecutionId"]
        == started
    )
    # Other tests would look at them.
    together([lambda each=each: call("DELETE", f"/flow_runs/{each}") for each in others])
