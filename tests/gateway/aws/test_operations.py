"""Each of the 44 operations, asked for a good answer and for each exception that AWS's model lists for it.

`every_pair` is what the model has. The test asks in the order of a pipeline's life, so that each state is made once;
what was not asked fails it, unless `NEVER` says why it does not happen here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
from api_requests import UUID, good, places, unlike, with_value
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import ClientError
from waiting import until
from world import World

from prefect_codepipeline.deployments import create as creation
from prefect_codepipeline.engine.executions.definitions import claim_version
from prefect_codepipeline.engine.jobs.index import read_open_jobs
from prefect_codepipeline.engine.operations import action_types as own_types
from prefect_codepipeline.engine.operations.starting import find_deployment
from prefect_codepipeline.engine.triggers import pipeline_webhooks
from prefect_codepipeline.gateway.aws.protocol.service_model import service_model
from prefect_codepipeline.model.definition.own_types import CustomActionType
from prefect_codepipeline.model.definition.published_types import declaration_of
from prefect_codepipeline.model.stored.action_type import StoredActionType
from prefect_codepipeline.prefect_api.client import call
from prefect_codepipeline.prefect_api.deployments import DEFAULT_WORK_POOL
from prefect_codepipeline.prefect_api.flow_runs import create_flow_run
from prefect_codepipeline.prefect_api.together import together

pytestmark = pytest.mark.live
ARN = "arn:aws:codepipeline:us-east-1:123456789012:"
TOKEN = "the-token-of-the-partner"
COUNTS = {"minimumCount": 0, "maximumCount": 5}
NEVER = {
    ("ListRuleTypes", "InvalidNextTokenException"): "its requests have no token",
    ("DeleteCustomActionType", "ConcurrentModificationException"): "of two deletions both succeed",
    ("DeleteWebhook", "ConcurrentModificationException"): "of two deletions both succeed",
    ("UntagResource", "ConcurrentModificationException"): "each tag is removed for itself",
}


def every_pair() -> set[tuple[str, str]]:
    """All operations with `OK` and with each of their exceptions, as the model lists them."""
    models = [service_model().operation_model(name) for name in service_model().operation_names]
    refused = {(model.name, shape.name) for model in models for shape in model.error_shapes}
    return refused | {(model.name, "OK") for model in models}


class Asker:
    """Asks operations, checks which exception they answer, and knows what was asked."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.asked: set[tuple[str, str]] = set()
        self.wrong: list[str] = []

    def __call__(self, operation: str, code: str = "OK", **members: Any) -> Any:
        answer = self.answer(operation, members)
        got = answer.get("Error", {"Code": "OK"})
        if got["Code"] == code:
            self.asked.add((operation, code))
        else:
            self.wrong.append(f"{operation}: {got} in place of {code}")
        return answer

    def answer(self, operation: str, members: dict[str, Any]) -> Any:
        try:
            return getattr(self.client, xform_name(operation))(**members)
        except ClientError as error:
            return error.response

    def at_once(self, operation: str, code: str, arn: str, *requests: dict[str, Any]) -> None:
        """Send requests that tag a resource at the same time, until one is answered with that exception."""
        keys = [each["key"] for request in requests for each in request["tags"]]
        with ThreadPoolExecutor(len(requests)) as threads:
            for _ in range(20):
                answers = list(threads.map(lambda each: self.answer(operation, each), requests))
                self("UntagResource", resourceArn=arn, tagKeys=keys)
                codes = [each.get("Error", {}).get("Code", "OK") for each in answers]
                if code in codes:
                    self.asked.add((operation, code))
                    return
        self.wrong.append(f"{operation} at once: never {code}: {codes}")


def shapes(code: str) -> Iterator[tuple[str, Any]]:
    """The operations that may answer with that exception, with the shapes of their requests."""
    for operation, each in sorted(every_pair()):
        if each == code:
            yield operation, service_model().operation_model(operation).input_shape


def test_every_operation_and_each_of_its_exceptions(
    world: World, aws: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Config(retries={"total_max_attempts": 1}, parameter_validation=False)
    ask = Asker(aws(config=plain))
    refuse_what_breaks_the_model(ask)
    refuse_what_is_missing(ask)
    partner = make_types(ask, world, monkeypatch)
    refuse_definitions(ask, world, monkeypatch)
    ask_for_a_pipeline_that_is_being_created(ask, world)
    first = make_pipeline(ask, world)
    refuse_parts_that_are_missing(ask, world.name)
    ask_for_tags_and_webhooks(ask, world.name, monkeypatch)
    answer_jobs(ask, world, first)
    answer_jobs_of_the_partner(ask, world, partner)
    retry_and_approve(ask, world, first)
    ask_while_no_worker_begins(ask, world, first)
    ask_for_what_has_ended(ask, world, first)
    roll_back_stop_and_delete(ask, world, first)
    unmake_types(ask, world, partner)

    assert ask.wrong == []
    assert ask.asked - every_pair() == set(), "the model does not list these"
    assert every_pair() - ask.asked - NEVER.keys() == set(), "no request provokes these"
    assert NEVER.keys() & ask.asked == set(), "these happen after all"


def refuse_what_breaks_the_model(ask: Asker) -> None:
    """A member of each operation that is unlike its pattern, or too short."""
    for operation, shape in shapes("ValidationException"):
        place = next(
            each
            for each in places(shape)
            if each.shape.type_name in ("string", "integer")
            and each.shape.metadata.keys() & {"pattern", "min"}
        )
        value: Any = unlike(place.shape) if "pattern" in place.shape.metadata else ""
        if place.shape.type_name == "integer":
            value = place.shape.metadata["min"] - 1
        ask(operation, "ValidationException", **with_value(shape, place.steps, value))


def refuse_what_is_missing(ask: Asker) -> None:
    """Good requests, which name what does not exist."""
    for operation, shape in shapes("PipelineNotFoundException"):
        members = good(shape)
        if operation == "ListDeployActionExecutionTargets":
            members["pipelineName"] = "a"
        if operation == "PutWebhook":
            members["webhook"]["authentication"] = "UNAUTHENTICATED"
        ask(operation, "PipelineNotFoundException", **members)
    for code in (
        "JobNotFoundException",
        "WebhookNotFoundException",
        "ActionTypeNotFoundException",
        "ResourceNotFoundException",
    ):
        for operation, shape in shapes(code):
            named = {"webhookName": "a"} if code == "WebhookNotFoundException" else {}
            ask(operation, code, **good(shape), **named)
    for operation, shape in shapes("InvalidArnException"):
        ask(operation, "InvalidArnException", **{**good(shape), "resourceArn": f"{ARN}a/b/c/d"})


def tag(key: str) -> dict[str, str]:
    return {"key": key, "value": "x"}


def tags(letter: str, count: int) -> list[dict[str, str]]:
    return [tag(f"{letter}{number}") for number in range(count)]


def provider_of(world: World) -> str:
    return f"Acme-{world.name.partition('.')[2]}"


def kind(world: World, owner: str = "Custom") -> dict[str, str]:
    return {"category": "Build", "owner": owner, "provider": provider_of(world), "version": "1"}


def make_types(ask: Asker, world: World, monkeypatch: pytest.MonkeyPatch) -> StoredActionType:
    """A custom type and the one of a partner, which is returned."""
    wanted = {
        **{key: value for key, value in kind(world).items() if key != "owner"},
        "inputArtifactDetails": COUNTS,
        "outputArtifactDetails": COUNTS,
    }
    create = "CreateCustomActionType"
    ask(create, "InvalidTagsException", **wanted, tags=[tag("aws:x")])
    ask(create, "TooManyTagsException", **wanted, tags=tags("t", 51))
    with monkeypatch.context() as patch:
        patch.setattr(own_types, "MOST_CUSTOM_TYPES", 0)
        ask(create, "LimitExceededException", **wanted)
    ask(create, **wanted)
    two = [{**wanted, "tags": tags(letter, 26)} for letter in "ab"]
    arn = f"{ARN}actiontype:Custom/Build/{provider_of(world)}/1"
    ask.at_once(create, "ConcurrentModificationException", arn, *two)
    ask("ListActionTypes")
    ask("ListActionTypes", "InvalidNextTokenException", nextToken="x")
    ask("ListRuleTypes")
    given = CustomActionType.model_validate(wanted)
    plain = StoredActionType.of(given, "ThirdParty")
    partner = StoredActionType.of(
        given,
        "ThirdParty",
        declaration=declaration_of(plain.id, given),
        client_id=str(uuid4()),
        client_token=TOKEN,
    )
    own_types.create_type(partner)
    declared = ask("GetActionType", **kind(world, "ThirdParty"))["actionType"]
    ask("UpdateActionType", actionType=declared)
    arn = "arn:aws:lambda:us-east-1:123456789012:function:f"
    executor = {
        "type": "Lambda",
        "configuration": {"lambdaExecutorConfiguration": {"lambdaFunctionArn": arn}},
    }
    ask("UpdateActionType", "RequestFailedException", actionType={**declared, "executor": executor})
    return partner


def unmake_types(ask: Asker, world: World, partner: StoredActionType) -> None:
    own_types.delete_type(partner.id)
    ask("DeleteCustomActionType", category="Build", provider=provider_of(world), version="1")


def refuse_definitions(ask: Asker, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the catalogue of errors has: one definition for each exception; and the limits."""
    work = world.action("Work")
    blocker = {"name": "B", "type": "Schedule"}
    wrong: dict[str, Callable[[dict[str, Any]], Any]] = {
        "InvalidStructureException": lambda wire: wire["stages"].pop(),
        "InvalidStageDeclarationException": lambda wire: wire["stages"][1].update(name="Source"),
        "InvalidActionDeclarationException": lambda wire: wire["stages"][1]["actions"].append(work),
        "InvalidBlockerDeclarationException": lambda wire: wire["stages"][1].update(
            blockers=[blocker, blocker]
        ),
        "LimitExceededException": lambda wire: wire["stages"].extend(
            {"name": f"L{stage}", "actions": [{**work, "name": f"A{number}"} for number in range(50)]}
            for stage in range(21)
        ),
    }
    ask("CreatePipeline", pipeline=idle(world).to_wire())
    for operation in ("CreatePipeline", "UpdatePipeline"):
        for code, spoil in wrong.items():
            wire = idle(world).to_wire()
            if operation == "CreatePipeline":
                wire["name"] += "-new"
            spoil(wire)
            ask(operation, code, pipeline=wire)
    named = {"pipeline": {**idle(world).to_wire(), "name": f"{world.name}-new"}}
    ask("CreatePipeline", "InvalidTagsException", **named, tags=[tag("aws:x")])
    ask("CreatePipeline", "TooManyTagsException", **named, tags=tags("t", 51))
    with monkeypatch.context() as patch:
        patch.setattr(creation, "MOST_PIPELINES", 0)
        ask("CreatePipeline", "LimitExceededException", **named)
    ask("CreatePipeline", "PipelineNameInUseException", pipeline=idle(world).to_wire())
    delete_while_it_is_created(ask, {**named, "tags": tags("t", 40)})
    ask("DeletePipeline", name=idle(world).name)


def delete_while_it_is_created(ask: Asker, wanted: dict[str, Any]) -> None:
    name, code = wanted["pipeline"]["name"], "ConcurrentModificationException"
    with ThreadPoolExecutor() as threads:
        for _ in range(20):
            created = threads.submit(ask.answer, "CreatePipeline", wanted)
            while not created.done():
                ask("DeletePipeline", name=name)
            ask("DeletePipeline", name=name)
            if created.result().get("Error", {}).get("Code") == code:
                ask.asked.add(("CreatePipeline", code))
                return
    ask.wrong.append(f"deleted while it was created: never {code}")


def idle(world: World) -> Any:
    """A pipeline that is only asked for: without a value of its variable, its first execution is not started."""
    declaration = world.declare([world.action("Work")], variables=[{"name": "Needed"}])
    return declaration.model_copy(update={"name": f"{world.name}-idle"})


def ask_for_a_pipeline_that_is_being_created(ask: Asker, world: World) -> None:
    """Its definition is stored, and its deployment is not made yet."""
    half = idle(world).model_copy(update={"name": f"{world.name}-half"})
    claim_version(half)
    for operation, shape in shapes("ConflictException"):
        name = "name" if "name" in shape.members else "pipelineName"
        ask(operation, "ConflictException", **{**good(shape), name: half.name})
    ask("DeletePipeline", name=half.name)


def make_pipeline(ask: Asker, world: World) -> str:
    """The pipeline of the rest: jobs, an approval, and an action that waits; its first execution, which has started."""

    def job(name: str, owner: str) -> dict[str, Any]:
        return {"name": name, "actionTypeId": kind(world, owner)}

    check = {"category": "Rule", "owner": "AWS", "provider": "VariableCheck", "version": "1"}
    is_there = {"Variable": "#{variables.Place}", "Value": "there", "Operator": "EQ"}
    rule = {"name": "there", "ruleTypeId": check, "configuration": is_there}
    waits = world.action("Waits", Work=world.folder)
    waits["actionTypeId"]["provider"] = "Waits"
    waits["configuration"] = {"Work": str(world.folder), "Seconds": "3600"}
    wire = world.declare(
        [job("J1", "Custom"), job("J2", "Custom"), job("T1", "ThirdParty"), job("T2", "ThirdParty")],
        [world.action("Ok", 1, "Approval")],
        [waits],
        executionMode="QUEUED",
        variables=[{"name": "Place", "defaultValue": "here"}],
    ).to_wire()
    wire["stages"][3]["onSuccess"] = {"conditions": [{"result": "FAIL", "rules": [rule]}]}
    (world.folder / "done").touch()
    ask("CreatePipeline", pipeline=wire)
    ask("ListPipelines")
    ask("ListPipelines", "InvalidNextTokenException", nextToken="x")
    (row,) = ask("ListPipelineExecutions", pipelineName=world.name)["pipelineExecutionSummaries"]
    return str(row["pipelineExecutionId"])


def refuse_parts_that_are_missing(ask: Asker, name: str) -> None:
    """Requests for a pipeline that exists, which name parts of it that do not."""
    ask("GetPipeline", "PipelineVersionNotFoundException", name=name, version=99)
    for operation, shape in shapes("StageNotFoundException"):
        ask(operation, "StageNotFoundException", **{**good(shape), "pipelineName": name})
    for operation, shape in shapes("ActionNotFoundException"):
        ask(operation, "ActionNotFoundException", **{**good(shape), "pipelineName": name, "stageName": "S2"})
    for operation, shape in shapes("PipelineExecutionNotFoundException"):
        members = {**good(shape), "pipelineName": name}
        if "filter" in shape.members:
            members["filter"] = {"pipelineExecutionId": UUID}
        if "stageName" in shape.members:
            members["stageName"] = "S1"
        ask(operation, "PipelineExecutionNotFoundException", **members)
    for operation, shape in shapes("InvalidNextTokenException"):
        if "pipelineName" in shape.required_members:
            ask(
                operation,
                "InvalidNextTokenException",
                **{**good(shape), "pipelineName": name, "nextToken": "x"},
            )
    targets = {"pipelineName": name, "actionExecutionId": UUID}
    ask("ListDeployActionExecutionTargets", "ActionExecutionNotFoundException", **targets)
    stage = {"pipelineName": name, "stageName": "S1", "pipelineExecutionId": UUID}
    ask("RetryStageExecution", "NotLatestPipelineExecutionException", **stage, retryMode="ALL_ACTIONS")
    ask("OverrideStageCondition", "NotLatestPipelineExecutionException", **stage, conditionType="ON_SUCCESS")
    stop = {"pipelineName": name, "pipelineExecutionId": UUID}
    ask("StopPipelineExecution", "PipelineExecutionNotStoppableException", **stop)
    answer = {"pipelineName": name, "stageName": "S2", "actionName": "Ok", "token": UUID}
    result = {"status": "Approved", "summary": ""}
    ask("PutApprovalResult", "InvalidApprovalTokenException", **answer, result=result)
    gate = {"pipelineName": name, "stageName": "S3", "transitionType": "Inbound"}
    ask("DisableStageTransition", **gate, reason="later")
    ask("EnableStageTransition", **gate)
    ask("GetPipeline", name=name)


def ask_for_tags_and_webhooks(ask: Asker, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    resource, hook = {"resourceArn": ARN + name}, f"{name}-hook"
    ask("TagResource", "InvalidTagsException", **resource, tags=[tag("aws:x")])
    ask("UntagResource", "InvalidTagsException", **resource, tagKeys=["aws:x"])
    ask("TagResource", "TooManyTagsException", **resource, tags=tags("t", 51))

    two = [{**resource, "tags": tags(letter, 26)} for letter in "ab"]
    ask.at_once("TagResource", "ConcurrentModificationException", ARN + name, *two)
    ask("TagResource", **resource, tags=[tag("team")])
    ask("ListTagsForResource", **resource)
    ask("ListTagsForResource", "InvalidNextTokenException", **resource, nextToken="x")
    webhook = {
        "name": hook, "targetPipeline": name, "targetAction": "Src", "authentication": "UNAUTHENTICATED",
        "filters": [{"jsonPath": "$.ref"}], "authenticationConfiguration": {},
    }  # fmt: skip
    put = "PutWebhook"
    ask(put, "InvalidWebhookFilterPatternException", webhook={**webhook, "filters": [{"jsonPath": "ref"}]})
    ask(put, "InvalidWebhookAuthenticationParametersException", webhook={**webhook, "authentication": "IP"})
    ask(put, "InvalidTagsException", webhook=webhook, tags=[tag("aws:x")])
    ask(put, "TooManyTagsException", webhook=webhook, tags=tags("t", 51))
    with monkeypatch.context() as patch:
        patch.setattr(pipeline_webhooks, "MOST_WEBHOOKS", 0)
        ask(put, "LimitExceededException", webhook=webhook)
    ask(put, webhook=webhook)
    two = [{"webhook": webhook, "tags": tags(letter, 26)} for letter in "ab"]
    ask.at_once(put, "ConcurrentModificationException", f"{ARN}webhook:{hook}", *two)
    ask("ListWebhooks")
    ask("ListWebhooks", "InvalidNextTokenException", NextToken="x")
    ask("RegisterWebhookWithThirdParty", webhookName=hook)
    ask("DeregisterWebhookWithThirdParty", webhookName=hook)
    ask("DeleteWebhook", name=hook)


def answer_jobs(ask: Asker, world: World, first: str) -> None:
    """J1 succeeds, J2 fails."""
    polled = {"actionTypeId": kind(world), "maxBatchSize": 2}
    jobs: list[dict[str, Any]] = []
    until(lambda: jobs.extend(ask("PollForJobs", **polled)["jobs"]) or len(jobs) == 2)
    results: list[tuple[str, dict[str, Any]]] = [
        ("PutJobSuccessResult", {}),
        ("PutJobFailureResult", {"failureDetails": {"type": "JobFailed", "message": "no"}}),
    ]
    jobs.sort(key=lambda job: job["data"]["pipelineContext"]["action"]["name"])
    for job, (put, result) in zip(jobs, results, strict=True):
        taken = {"jobId": job["id"]}
        ask(put, "InvalidJobStateException", **taken, **result)
        ask("AcknowledgeJob", "InvalidNonceException", **taken, nonce="0")
        ask("AcknowledgeJob", **taken, nonce=job["nonce"])
        ask("GetJobDetails", **taken)
        if put == "PutJobSuccessResult":
            much = {"a" * 100: "b" * 122_800}
            ask(put, "OutputVariablesSizeExceededException", **taken, outputVariables=much)
        ask(put, **taken, **result)
        ask(put, "InvalidJobStateException", **taken, **result)


def answer_jobs_of_the_partner(ask: Asker, world: World, partner: StoredActionType) -> None:
    """T1 succeeds, T2 fails."""
    polled = {"actionTypeId": kind(world, "ThirdParty")}
    results: list[tuple[str, dict[str, Any]]] = [
        ("PutThirdPartyJobSuccessResult", {}),
        ("PutThirdPartyJobFailureResult", {"failureDetails": {"type": "JobFailed", "message": "no"}}),
    ]
    right, wrong = {"clientToken": TOKEN}, {"clientToken": "guessed"}
    refuse_a_job_that_was_not_handed_out(ask, world, right)
    for put, result in results:
        found = until(lambda: ask("PollForThirdPartyJobs", **polled)["jobs"])
        assert found[0]["clientId"] == partner.client_id
        job = {"jobId": found[0]["jobId"]}
        ask("GetThirdPartyJobDetails", "InvalidClientTokenException", **job, **wrong)
        nonce = ask("GetThirdPartyJobDetails", **job, **right)["jobDetails"]["nonce"]
        ask("AcknowledgeThirdPartyJob", "InvalidClientTokenException", **job, **wrong, nonce=nonce)
        ask("AcknowledgeThirdPartyJob", "InvalidNonceException", **job, **right, nonce="0")
        ask("AcknowledgeThirdPartyJob", **job, **right, nonce=nonce)
        ask(put, "InvalidClientTokenException", **job, **wrong, **result)
        ask(put, **job, **right, **result)
        ask(put, "InvalidJobStateException", **job, **right, **result)


def refuse_a_job_that_was_not_handed_out(ask: Asker, world: World, right: dict[str, str]) -> None:
    """A partner's job that no worker has polled for."""
    wanted = f"Build/ThirdParty/{provider_of(world)}/1"
    opened = until(lambda: [job for job in read_open_jobs() if job.kind == wanted])
    ask("GetThirdPartyJobDetails", "InvalidJobException", jobId=opened[0].id, **right)


def retry_and_approve(ask: Asker, world: World, first: str) -> None:
    """Stage S1 failed; once retried, its jobs succeed, and S2 is approved."""
    stage = {"pipelineName": world.name, "stageName": "S1", "pipelineExecutionId": first}
    world.ended(first)
    ask("RetryStageExecution", **stage, retryMode="FAILED_ACTIONS")
    job = until(lambda: ask("PollForJobs", actionTypeId=kind(world))["jobs"])[0]
    ask("AcknowledgeJob", jobId=job["id"], nonce=job["nonce"])
    ask("PutJobSuccessResult", jobId=job["id"])
    found = until(lambda: ask("PollForThirdPartyJobs", actionTypeId=kind(world, "ThirdParty"))["jobs"])
    partners = {"jobId": found[0]["jobId"], "clientToken": TOKEN}
    nonce = ask("GetThirdPartyJobDetails", **partners)["jobDetails"]["nonce"]
    ask("AcknowledgeThirdPartyJob", **partners, nonce=nonce)
    ask("PutThirdPartyJobSuccessResult", **partners)

    def token() -> str | None:
        stages = ask("GetPipelineState", name=world.name)["stageStates"]
        return stages[2]["actionStates"][0].get("latestExecution", {}).get("token")

    answer = {
        "pipelineName": world.name, "stageName": "S2", "actionName": "Ok", "token": until(token),
        "result": {"status": "Approved", "summary": "fine"},
    }  # fmt: skip
    ask("PutApprovalResult", **answer)
    ask("PutApprovalResult", "ApprovalAlreadyCompletedException", **answer)
    world.ended(first)


@contextmanager
def without_workers() -> Iterator[None]:
    """No execution begins."""
    call("PATCH", f"/work_pools/{DEFAULT_WORK_POOL}", {"is_paused": True})
    try:
        yield
    finally:
        call("PATCH", f"/work_pools/{DEFAULT_WORK_POOL}", {"is_paused": False})


def ask_while_no_worker_begins(ask: Asker, world: World, failed: str) -> None:
    """Executions that were started and have not begun; then fifty, which is the limit of a QUEUED pipeline."""
    name = world.name
    revision = {"revisionId": "r1", "revisionChangeId": "1", "created": 1_700_000_000}
    source = {"pipelineName": name, "stageName": "Source", "actionName": "Src", "actionRevision": revision}
    with without_workers():
        started = ask("StartPipelineExecution", name=name)["pipelineExecutionId"]
        stage = {"pipelineName": name, "stageName": "S1", "pipelineExecutionId": started}
        ask("RetryStageExecution", "StageNotRetryableException", **stage, retryMode="ALL_ACTIONS")
        ask("OverrideStageCondition", "ConditionNotOverridableException", **stage, conditionType="ON_SUCCESS")
        ask("StopPipelineExecution", pipelineName=name, pipelineExecutionId=started)
        revised = ask("PutActionRevision", **source)["pipelineExecutionId"]
        deployment = find_deployment(name)["id"]
        others = together([lambda: create_flow_run(deployment, {}, {}, None)] * 50)
        limit, ended = (
            "ConcurrentPipelineExecutionsLimitExceededException",
            {**stage, "pipelineExecutionId": failed},
        )
        ask("StartPipelineExecution", limit, name=name)
        ask("PutActionRevision", limit, **{**source, "actionRevision": {**revision, "revisionId": "r2"}})
        ended["stageName"] = "S3"
        ask("RetryStageExecution", limit, **ended, retryMode="ALL_ACTIONS")
        ask("OverrideStageCondition", limit, **ended, conditionType="ON_SUCCESS")
        together([lambda each=each: call("DELETE", f"/flow_runs/{each}") for each in [revised, *others]])


def ask_for_what_has_ended(ask: Asker, world: World, first: str) -> None:
    """A condition of S3 failed; once it is overridden, the execution has succeeded."""
    stage = {"pipelineName": world.name, "stageName": "S3", "pipelineExecutionId": first}
    ask("OverrideStageCondition", **stage, conditionType="ON_SUCCESS")
    assert world.ended(first).status == "Succeeded"
    ask("GetPipelineExecution", pipelineName=world.name, pipelineExecutionId=first)
    actions = ask("ListActionExecutions", pipelineName=world.name)["actionExecutionDetails"]
    ask("ListRuleExecutions", pipelineName=world.name)
    target = {"pipelineName": world.name, "actionExecutionId": actions[0]["actionExecutionId"]}
    ask("ListDeployActionExecutionTargets", **target)
    ask("ListDeployActionExecutionTargets", "InvalidNextTokenException", **target, nextToken="x")


def roll_back_stop_and_delete(ask: Asker, world: World, first: str) -> None:
    """A rollback of S3, which waits; it is stopped, and its pipeline is changed and deleted while it is."""
    name = world.name
    back = {"pipelineName": name, "targetPipelineExecutionId": first}
    ask("RollbackStage", "UnableToRollbackStageException", **back, stageName="Source")
    (world.folder / "done").unlink()
    rolled = ask("RollbackStage", **back, stageName="S3")["pipelineExecutionId"]
    world.wait(rolled, lambda known: known.state and known.state.stage("S3").entered, only_in=["PAUSED"])
    with without_workers():
        stop = {"pipelineName": name, "pipelineExecutionId": rolled}
        ask("StopPipelineExecution", **stop)
        ask("StopPipelineExecution", "DuplicatedStopRequestException", **stop)
        ask("DeletePipeline", "ConcurrentModificationException", name=name)
        wire = ask("GetPipeline", name=name)["pipeline"]
        wire["variables"][0]["defaultValue"] = "there"
        ask("UpdatePipeline", pipeline=wire)
        ask("RollbackStage", "PipelineExecutionOutdatedException", **back, stageName="S3")
    world.ended(rolled)
    ask("DeletePipeline", name=name)
