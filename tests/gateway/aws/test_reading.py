"""Executions read by boto3 while they run, fail, are retried, wait and end; every answer is checked against AWS's model."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from importlib import import_module
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError
from past_executions import write_past_executions
from waiting import until

from prefect_codepipeline.deployments.create import deploy_pipeline
from prefect_codepipeline.deployments.delete import delete_pipeline
from prefect_codepipeline.engine.executions import run_lists
from prefect_codepipeline.gateway.aws.mirror import fresh
from prefect_codepipeline.gateway.aws.mirror.history import History
from prefect_codepipeline.model.wire.artifact_keys import artifact_key
from prefect_codepipeline.prefect_api import client as prefect

pytestmark = pytest.mark.live
CALLER = "arn:aws:iam::123456789012:user/anonymous"


def refused(operation: Callable[..., Any], **members: Any) -> str:
    """The name of the exception, and its message."""
    with pytest.raises(ClientError) as caught:
        operation(**members)
    error = caught.value.response["Error"]
    return f"{error['Code']}: {error['Message']}"


def declared(world: Any) -> Any:
    """S1 fails until `good` exists, and its rule is asked after it; S2 waits for an approval."""
    kind = {"category": "Rule", "owner": "Custom", "provider": "Scripted", "version": "1"}
    rule = {"name": "calm", "ruleTypeId": kind, "configuration": {"Trace": str(world.folder / "asked")}}
    code = [{"name": "SourceOutput"}]
    work = world.action("Work", FailUnless=world.folder / "good")
    declaration = world.declare(
        [
            {**work, "inputArtifacts": code, "outputArtifacts": [{"name": "Built"}]},
            world.action("Beside"),
        ],
        [world.action("Ok", 1, "Approval", CustomData="Ship?")],
        variables=[{"name": "Place", "defaultValue": "here"}],
        artifactStore={"type": "S3", "location": "the-bucket"},
    )
    wire = declaration.to_wire()
    wire["stages"][0]["actions"][0]["outputArtifacts"] = code
    wire["stages"][1]["onSuccess"] = {"conditions": [{"result": "FAIL", "rules": [rule]}]}
    return type(declaration).model_validate(wire)


def test_an_execution_is_read_from_start_to_end(world: Any, aws: Callable[..., Any]) -> None:
    client, name = aws(), world.name
    deploy_pipeline(declared(world))
    began = datetime.now(timezone.utc)
    first = client.start_pipeline_execution(name=name)["pipelineExecutionId"]
    one = {"pipelineName": name, "pipelineExecutionId": first}
    there = client.get_pipeline_execution(**one)["pipelineExecution"]
    assert (there["status"], there["pipelineVersion"]) == ("InProgress", 1), "readable at once"
    assert there["trigger"] == {"triggerType": "StartPipelineExecution", "triggerDetail": CALLER}
    assert there["variables"] == [{"name": "Place", "resolvedValue": "here"}]
    world.ended(first)
    until(lambda: client.get_pipeline_execution(**one)["pipelineExecution"]["status"] == "Failed", 5)

    failed_states(client, name, first)
    (world.folder / "good").touch()
    client.retry_stage_execution(**one, stageName="S1", retryMode="FAILED_ACTIONS")
    assert client.get_pipeline_execution(**one)["pipelineExecution"]["status"] == "InProgress"
    world.suspended(first)
    token = until(lambda: waiting_token(client, name), 5)
    listed = client.list_action_executions(pipelineName=name)["actionExecutionDetails"]
    approval = listed[0]["output"]["executionResult"]
    assert approval["externalExecutionId"] == token, "where a pipeline in PARALLEL mode has it"
    actions_of_all_attempts(client, name, first, listed)
    rules(client, name, first)

    stage = {"pipelineName": name, "stageName": "S2"}
    result = {"status": "Approved", "summary": "fine"}
    client.put_approval_result(**stage, actionName="Ok", result=result, token=token)
    ok = states(client, name)["S2"]["actionStates"][0]["latestExecution"]
    assert "token" not in ok
    world.ended(first)
    until(lambda: client.get_pipeline_execution(**one)["pipelineExecution"]["status"] == "Succeeded", 5)
    ok = states(client, name)["S2"]["actionStates"][0]["latestExecution"]
    assert (ok["status"], ok["lastUpdatedBy"], ok["summary"]) == ("Succeeded", CALLER, "fine")
    (summary,) = client.list_pipeline_executions(pipelineName=name)["pipelineExecutionSummaries"]
    assert summary["pipelineExecutionId"] == first
    assert began - timedelta(seconds=2) < summary["startTime"] <= summary["lastUpdateTime"]
    assert summary["sourceRevisions"][0]["revisionId"] == "0" * 40
    for stage_name, found in (("S1", [first]), ("no-such", [])):
        wanted = {"succeededInStage": {"stageName": stage_name}}
        page = client.list_pipeline_executions(pipelineName=name, filter=wanted)
        assert [each["pipelineExecutionId"] for each in page["pipelineExecutionSummaries"]] == found
    refusals(client, name)


def states(client: Any, name: str) -> dict[str, Any]:
    return {each["stageName"]: each for each in client.get_pipeline_state(name=name)["stageStates"]}


def waiting_token(client: Any, name: str) -> str | None:
    latest = states(client, name)["S2"]["actionStates"][0].get("latestExecution") or {}
    return str(latest["token"]) if latest.get("token") else None


def failed_states(client: Any, name: str, execution_id: str) -> None:
    """The state of the stages after a failure."""
    found = client.get_pipeline_state(name=name)
    assert (found["pipelineName"], found["pipelineVersion"]) == (name, 1)
    assert found["created"] <= found["updated"]
    source, s1, s2 = found["stageStates"]
    latest = {"pipelineExecutionId": execution_id, "type": "STANDARD"}
    assert source["latestExecution"] == {**latest, "status": "Succeeded"}
    assert source["inboundTransitionState"] == {"enabled": True}
    fetched = source["actionStates"][0]
    assert fetched["currentRevision"]["revisionId"] == "0" * 40
    assert s1["latestExecution"] == {**latest, "status": "Failed"}
    work, beside = s1["actionStates"]
    assert work["latestExecution"]["errorDetails"] == {"code": "JobFailed", "message": "there is no good"}
    assert beside["latestExecution"]["status"] == "Succeeded"
    assert s1["onSuccessConditionState"] == {"conditionStates": [{"ruleStates": [{"ruleName": "calm"}]}]}
    assert "latestExecution" not in s2
    assert s2["actionStates"] == [{"actionName": "Ok"}]


def actions_of_all_attempts(client: Any, name: str, execution_id: str, listed: list[Any]) -> None:
    """Every attempt is a row of its own, the newest first, with the places of its artifacts."""
    assert [each["actionName"] for each in listed[:2]] == ["Ok", "Work"]
    assert sorted(each["actionName"] for each in listed[2:4]) == ["Beside", "Work"]
    assert listed[4]["actionName"] == "Src"
    starts = [each["startTime"] for each in listed]
    assert starts == sorted(starts, reverse=True)
    again, fetched = listed[1], listed[4]
    first = next(each for each in listed[2:4] if each["actionName"] == "Work")
    assert (again["status"], first["status"]) == ("Succeeded", "Failed")
    assert first["output"]["executionResult"]["errorDetails"]["message"] == "there is no good"
    source = {
        "name": "SourceOutput",
        "s3location": {
            "bucket": "the-bucket",
            "key": artifact_key(name, "SourceOutput", fetched["actionExecutionId"]),
        },
    }
    assert fetched["output"]["outputArtifacts"] == [source]
    assert again["input"]["inputArtifacts"] == [source]
    assert again["output"]["outputArtifacts"][0]["name"] == "Built"
    assert fetched["output"]["outputVariables"] == {"CommitId": "0" * 40}
    assert fetched["input"]["namespace"] == "SourceVariables"

    def ids(**wanted: Any) -> list[str]:
        page = client.list_action_executions(pipelineName=name, filter=wanted)
        return [each["actionExecutionId"] for each in page["actionExecutionDetails"]]

    all_ids = [each["actionExecutionId"] for each in listed]
    assert ids(pipelineExecutionId=execution_id) == all_ids
    latest = {"pipelineExecutionId": execution_id, "startTimeRange": "All"}
    assert ids(latestInPipelineExecution=latest) == all_ids
    latest["startTimeRange"] = "Latest"
    assert ids(latestInPipelineExecution=latest) == [
        each for each in all_ids if each != first["actionExecutionId"]
    ]


def rules(client: Any, name: str, execution_id: str) -> None:
    """The rule of the condition, in the history and in the state."""
    wanted = {"pipelineExecutionId": execution_id}
    (row,) = client.list_rule_executions(pipelineName=name, filter=wanted)["ruleExecutionDetails"]
    assert (row["stageName"], row["ruleName"], row["status"]) == ("S1", "calm", "Succeeded")
    s1 = states(client, name)["S1"]
    condition = s1["onSuccessConditionState"]
    assert condition["latestExecution"]["status"] == "Succeeded"
    rule = condition["conditionStates"][0]["ruleStates"][0]
    assert rule["latestExecution"]["ruleExecutionId"] == row["ruleExecutionId"]
    assert s1["retryStageMetadata"] == {
        "manualStageRetryAttempt": 1, "latestRetryTrigger": "ManualStageRetry",
    }  # fmt: skip


def refusals(client: Any, name: str) -> None:
    """What is missing, and tokens of other lists."""
    missing, unknown = f"{name}-missing", str(uuid4())
    said = f"PipelineNotFoundException: Account '123456789012' does not have a pipeline with name '{missing}'"
    assert refused(client.get_pipeline_state, name=missing) == said
    for operation in (
        client.list_pipeline_executions, client.list_action_executions, client.list_rule_executions,
    ):  # fmt: skip
        assert refused(operation, pipelineName=missing) == said
        assert refused(operation, pipelineName=name, nextToken="no token").startswith("InvalidNextToken")
    get = client.get_pipeline_execution
    assert refused(get, pipelineName=missing, pipelineExecutionId=unknown) == said
    not_found = f"PipelineExecutionNotFoundException: Pipeline '{name}' does not have a pipeline execution"
    assert refused(get, pipelineName=name, pipelineExecutionId=unknown).startswith(not_found)
    for operation in (client.list_action_executions, client.list_rule_executions):
        wanted = {"pipelineExecutionId": unknown}
        assert refused(operation, pipelineName=name, filter=wanted).startswith(not_found)


@pytest.mark.long
def test_pages_of_a_long_history(
    world: Any, aws: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What begins and ends meanwhile neither repeats nor hides a row; a retry of an old execution comes first."""
    monkeypatch.setattr(run_lists, "PAGE", 5)
    monkeypatch.setattr(History.__init__, "__defaults__", (run_lists.page_before, 5))
    client, name = aws(), world.name
    deploy_pipeline(world.declare([world.action("Work", FailUnless=world.folder / "good")]))
    old = client.start_pipeline_execution(name=name)["pipelineExecutionId"]
    assert world.ended(old).status == "Failed"
    past = {old, *write_past_executions(name, 24)}

    seen: list[str] = []
    pages = client.get_paginator("list_pipeline_executions").paginate(
        pipelineName=name, PaginationConfig={"PageSize": 7}
    )
    for page in pages:
        seen += [each["pipelineExecutionId"] for each in page["pipelineExecutionSummaries"]]
        if len(seen) < 20:
            write_past_executions(name, 1)
            client.get_pipeline_state(name=name)
    assert len(seen) == 25
    assert set(seen) == past
    assert seen[-1] == old
    until(lambda: ids_of_all(client, name)[2:] == seen, 5, lambda: ids_of_all(client, name))

    (world.folder / "good").touch()
    client.retry_stage_execution(
        pipelineName=name, stageName="S1", pipelineExecutionId=old, retryMode="FAILED_ACTIONS"
    )
    world.ended(old)
    rows = until(lambda: rows_of_all_pages(client, name, old), 5)
    assert len({row["actionExecutionId"] for row in rows}) == len(rows) == 2 * 26 + 3
    starts = [row["startTime"] for row in rows]
    assert starts == sorted(starts, reverse=True)
    tokens(client, name)
    with monkeypatch.context() as patch:
        answers_ask_nothing(patch, client, name, old)
    targets(client, name, rows[0]["actionExecutionId"])
    prefect.call("DELETE", f"/flow_runs/{seen[0]}")
    assert seen[0] in ids_of_all(client, name)
    monkeypatch.setattr(import_module(f"{fresh.__package__}.mirror"), "_LISTED_SECONDS", 0.0)
    until(lambda: seen[0] not in ids_of_all(client, name))
    made_again(world, client, old)


def made_again(world: Any, client: Any, old: str) -> None:
    """A pipeline that another process deletes and makes again has no history, and a new version is seen."""
    name = world.name
    delete_pipeline(name)
    until(lambda: refused_as_missing(client, name), 5)
    deploy_pipeline(world.declare([world.action("Work")]))
    until(lambda: not refused_as_missing(client, name), 5)
    assert client.list_pipeline_executions(pipelineName=name)["pipelineExecutionSummaries"] == []
    assert client.list_action_executions(pipelineName=name)["actionExecutionDetails"] == []
    one = {"pipelineName": name, "pipelineExecutionId": old}
    assert refused(client.get_pipeline_execution, **one).startswith("PipelineExecutionNotFound")
    deploy_pipeline(world.declare([world.action("Work"), world.action("More")]))
    until(lambda: client.get_pipeline_state(name=name)["pipelineVersion"] == 2, 5)
    assert [each["version"] for each in client.list_pipelines()["pipelines"] if each["name"] == name] == [2]


def refused_as_missing(client: Any, name: str) -> bool:
    try:
        return not client.get_pipeline_state(name=name)
    except client.exceptions.PipelineNotFoundException:
        return True


def ids_of_all(client: Any, name: str) -> list[str]:
    page = client.list_pipeline_executions(pipelineName=name, maxResults=100)
    return [each["pipelineExecutionId"] for each in page["pipelineExecutionSummaries"]]


def rows_of_all_pages(client: Any, name: str, execution_id: str) -> list[Any] | None:
    """The rows of all actions, once the first is one of that execution that has ended."""
    pages = client.get_paginator("list_action_executions").paginate(
        pipelineName=name, PaginationConfig={"PageSize": 7}
    )
    rows = [row for page in pages for row in page["actionExecutionDetails"]]
    first = (rows[0]["pipelineExecutionId"], rows[0]["actionName"], rows[0]["status"])
    return rows if first == (execution_id, "Work", "Succeeded") else None


def answers_ask_nothing(patch: pytest.MonkeyPatch, client: Any, name: str, old: str) -> None:
    """Within the second, answers cost no question to Prefect, whatever they are about."""
    patch.setattr(fresh, "MOST_SECONDS", 1000.0)
    patch.setattr(fresh, "_AHEAD_SECONDS", 1000.0)

    def all_answers() -> None:
        client.get_pipeline(name=name)
        client.get_pipeline_state(name=name)
        client.get_pipeline_execution(pipelineName=name, pipelineExecutionId=old)
        client.list_pipelines()
        for list_ in (
            client.list_pipeline_executions, client.list_action_executions, client.list_rule_executions,
        ):  # fmt: skip
            list_(pipelineName=name)

    all_answers()
    asked: list[str] = []
    send = prefect.request
    patch.setattr(prefect, "request", lambda *given: asked.append(str(given[1])) or send(*given))
    for _ in range(5):
        all_answers()
    assert len(asked) <= 2, f"only the keys may be read anew: {asked}"


def tokens(client: Any, name: str) -> None:
    """A token is good for its own list, and only whole."""
    list_ = client.list_pipeline_executions
    token = list_(pipelineName=name, maxResults=1)["nextToken"]
    assert list_(pipelineName=name, nextToken=token)["pipelineExecutionSummaries"]
    other = {"succeededInStage": {"stageName": "S1"}}
    for members in ({"nextToken": token, "filter": other}, {"nextToken": token[:-1]}):
        assert refused(list_, pipelineName=name, **members).startswith("InvalidNextToken")
    actions = client.list_action_executions
    assert refused(actions, pipelineName=name, nextToken=token).startswith("InvalidNextToken")


def targets(client: Any, name: str, action_execution_id: str) -> None:
    """An action that deploys to no hosts has none; an id of no action execution is refused."""
    list_ = client.list_deploy_action_execution_targets
    assert list_(pipelineName=name, actionExecutionId=action_execution_id)["targets"] == []
    assert list_(actionExecutionId=action_execution_id)["targets"] == []
    missing = {"pipelineName": name, "actionExecutionId": str(uuid4())}
    assert refused(list_, **missing).startswith("ActionExecutionNotFound")
