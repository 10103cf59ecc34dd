"""Pipelines by the AWS API: created and started, read, updated, listed and deleted, as boto3 asks for it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from api_checks import refused
from botocore.exceptions import ClientError
from waiting import until

from prefect_codepipeline.blocks.pipeline_settings import PipelineSettings
from prefect_codepipeline.deployments import create
from prefect_codepipeline.deployments.create import find_deployment, start_pipeline_execution
from prefect_codepipeline.deployments.files.settings import save_settings
from prefect_codepipeline.engine.executions.definitions import (
    claim_version,
    definition_documents,
    find_newest_version,
    find_version,
)
from prefect_codepipeline.engine.executions.lookup import (
    find_runs,
    known_executions,
    latest_execution,
)
from prefect_codepipeline.engine.operations.deleting import begin_deletion, finish_deletion
from prefect_codepipeline.engine.operations.projection import UNSTARTED, project
from prefect_codepipeline.engine.operations.retrying import retry_stage_execution
from prefect_codepipeline.engine.operations.rollback import rollback_stage
from prefect_codepipeline.engine.operations.tagging import tags_of
from prefect_codepipeline.errors import PipelineServiceError
from prefect_codepipeline.flows.reconcile import Memory, reconcile_once
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.record.condition_facts import RuleAnswered
from prefect_codepipeline.model.record.facts import StopRequested
from prefect_codepipeline.prefect_api.block_documents import delete_document
from prefect_codepipeline.prefect_api.client import call

pytestmark = pytest.mark.live

PAGE = Path(__file__).parents[3] / "docs" / "aws-api.md"
IDLE = "pool-without-a-worker"
ANYBODY = "arn:aws:iam::123456789012:user/anonymous"
GITHUB = {"Owner": "o", "Repo": "r", "Branch": "main", "OAuthToken": "planted-secret"}


def act(name: str, kind: str, **more: Any) -> dict[str, Any]:
    """An action; `kind` is `Category/Owner/Provider`."""
    category, owner, provider = kind.split("/")
    return {
        "name": name,
        "actionTypeId": {"category": category, "owner": owner, "provider": provider, "version": "1"},
        **more,
    }


def declare(name: str, **more: Any) -> dict[str, Any]:
    """A pipeline as a user writes it, with nothing that has a default."""
    hub = act("Hub", "Source/ThirdParty/GitHub", configuration=GITHUB, outputArtifacts=[{"name": "Code"}])
    return {
        "name": name,
        "roleArn": "arn:aws:iam::123456789012:role/pipeline",
        "artifactStore": {"type": "S3", "location": "bucket"},
        "stages": [
            {"name": "Source", "actions": [copy.deepcopy(hub)]},
            {"name": "Ok", "actions": [act("Ok", "Approval/AWS/Manual")]},
        ],
        **more,
    }


@pytest.fixture
def client(aws: Callable[..., Any]) -> Any:
    return aws()


@pytest.fixture
def name(prefect_server: str, client: Any) -> Iterator[str]:
    """The name of a pipeline whose executions no worker takes; it is deleted in the end."""
    call("POST", "/work_pools/", {"name": IDLE, "type": "process"}, expected=(409,))
    name = f"Api.{uuid4().hex[:8]}"
    save_settings(name, PipelineSettings(work_pool=IDLE))
    yield name
    client.delete_pipeline(name=name)


def executions(name: str) -> list[Any]:
    return known_executions(find_runs(name))


def cancelled_by(known: Any) -> list[str]:
    """Who asked that an execution ends as Cancelled."""
    stops = [fact for fact in known.facts if isinstance(fact, StopRequested)]
    return [stop.by for stop in stops if stop.ends_as == "Cancelled"]


def token_of(name: str) -> str:
    newest = find_newest_version(name)
    assert newest
    return newest[1].whole().stages[0].actions[0].configuration["OAuthToken"]


def test_a_pipeline_is_created_with_every_default_and_started(name: str, client: Any) -> None:
    before = datetime.now(timezone.utc)
    tags = [{"key": "team", "value": "shop"}]
    answer = client.create_pipeline(pipeline=declare(name), tags=tags)
    got = client.get_pipeline(name=name)

    whole = declare(name, version=1, executionMode="SUPERSEDED", pipelineType="V1")
    for stage in whole["stages"]:
        for action in stage["actions"]:
            defaults = {"runOrder": 1, "configuration": {}, "inputArtifacts": [], "outputArtifacts": []}
            action.update({**defaults, **action})
    whole["stages"][0]["actions"][0]["configuration"]["OAuthToken"] = "****"
    assert (answer["pipeline"], answer["tags"]) == (whole, tags)
    assert got["pipeline"] == whole
    assert got["metadata"].keys() == {"pipelineArn", "created", "updated"}
    arn = got["metadata"]["pipelineArn"]
    assert arn == f"arn:aws:codepipeline:us-east-1:123456789012:{name}"
    assert got["metadata"]["created"] == got["metadata"]["updated"]
    assert abs((got["metadata"]["created"] - before).total_seconds()) < 30
    assert client.list_tags_for_resource(resourceArn=arn)["tags"] == tags
    assert "planted-secret" not in str(find_deployment(name))
    (first,) = executions(name)
    labels = first.run["labels"]
    assert labels["codepipeline.trigger-type"] == "CreatePipeline"
    assert labels["codepipeline.started-by"] == ANYBODY


@pytest.mark.long
def test_an_update_is_refused_once_its_work_pool_is_not_allowed(name: str, client: Any) -> None:
    client.create_pipeline(pipeline=declare(name))
    save_settings(name, PipelineSettings(work_pool=IDLE, allowed_pools=["codepipeline"]))

    code, message = refused(client.update_pipeline, pipeline=declare(name))

    assert (code, "is not allowed" in message) == ("ValidationException", True)
    assert client.get_pipeline(name=name)["pipeline"]["version"] == 1


def test_what_was_read_may_be_sent_back_and_changes_nothing_but_the_version(name: str, client: Any) -> None:
    client.create_pipeline(pipeline=declare(name))
    first = client.get_pipeline(name=name)
    updated = client.update_pipeline(pipeline=first["pipeline"])["pipeline"]
    second = client.get_pipeline(name=name)

    assert updated == {**first["pipeline"], "version": 2}
    assert second["pipeline"] == updated
    assert second["metadata"]["created"] == first["metadata"]["created"] < second["metadata"]["updated"]
    assert token_of(name) == "planted-secret"
    assert client.get_pipeline(name=name, version=1)["pipeline"] == first["pipeline"]
    code, message = refused(client.get_pipeline, name=name, version=3)
    assert (code, "version 3" in message) == ("PipelineVersionNotFoundException", True)
    # The first execution had not begun when it was updated.
    assert cancelled_by(executions(name)[0]) == [ANYBODY]

    changed = copy.deepcopy(updated)
    changed["stages"][0]["actions"][0]["configuration"]["Repo"] = "theirs"
    assert refused(client.update_pipeline, pipeline=changed)[0] == "InvalidActionDeclarationException"
    changed["stages"][0]["actions"][0]["configuration"]["OAuthToken"] = "new"
    assert client.update_pipeline(pipeline=changed)["pipeline"]["version"] == 3
    assert token_of(name) == "new"


def test_the_example_of_the_page_creates_and_updates_a_pipeline(
    name: str, client: Any, gateway: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = PAGE.read_text().split("\n## Pipelines\n")[1].split("\n## ")[0]
    monkeypatch.setenv("AWS_ENDPOINT_URL", gateway)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    told: dict[str, Any] = {"definition": declare(name)}
    exec(section.split("```python\n")[1].split("```")[0], told)
    assert told["read"] == told["created"]
    assert client.get_pipeline(name=name)["pipeline"] == {**told["read"], "version": 2}


def test_what_aws_refuses_is_refused_in_its_words_and_changes_nothing(
    name: str, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = "123456789012"
    one_stage = declare(name, stages=declare(name)["stages"][:1])
    fifty_one = [{"key": f"k{number}", "value": ""} for number in range(51)]
    reserved = [{"key": "aws:team", "value": ""}]
    none, many = {"name": name}, declare(name)

    assert refused(client.create_pipeline, pipeline=one_stage) == (
        "InvalidStructureException",
        "Pipeline has only 1 stage(s). There should be a minimum of 2 stages in a pipeline",
    )
    assert refused(client.create_pipeline, pipeline=many, tags=fifty_one)[0] == "TooManyTagsException"
    assert refused(client.create_pipeline, pipeline=many, tags=reserved)[0] == "InvalidTagsException"
    empty = declare(name, stages=[{"name": "A", "actions": []}, declare(name)["stages"][1]])
    assert refused(client.create_pipeline, pipeline=empty) == (
        "ValidationException",
        "1 validation error detected: Value at 'pipeline.stages.1.member.actions' failed to satisfy constraint: Member "
        "must have length greater than or equal to 1",
    )
    assert refused(client.get_pipeline, **none) == (
        "PipelineNotFoundException",
        f"Account '{account}' does not have a pipeline with name '{name}'",
    )
    assert refused(client.update_pipeline, pipeline=declare(name)) == (
        "PipelineNotFoundException",
        f"The account with id '{account}' does not include a pipeline with the name '{name}'",
    )
    with monkeypatch.context() as full:
        full.setattr(create, "MOST_PIPELINES", 0)
        assert refused(client.create_pipeline, pipeline=declare(name)) == (
            "LimitExceededException",
            f"The account '{account}' has 1000 pipelines, which is the limit",
        )
    save_settings(name, PipelineSettings(work_pool="no-such-pool"))
    assert refused(client.create_pipeline, pipeline=declare(name))[0] == "ValidationException"
    save_settings(name, PipelineSettings(work_pool=IDLE))
    assert definition_documents(name) == []
    client.create_pipeline(pipeline=declare(name))
    assert refused(client.create_pipeline, pipeline=declare(name)) == (
        "PipelineNameInUseException",
        f"A pipeline with the name '{name}' already exists in account '{account}'",
    )
    assert refused(client.update_pipeline, pipeline=one_stage)[0] == "InvalidStructureException"
    assert client.get_pipeline(name=name)["pipeline"]["version"] == 1


@pytest.mark.long
def test_of_twenty_creations_at_once_one_wins(name: str, client: Any) -> None:
    def creation(number: int) -> str:
        try:
            return str(client.create_pipeline(pipeline=declare(name))["pipeline"]["version"])
        except ClientError as error:
            return str(error.response["Error"]["Code"])

    with ThreadPoolExecutor(20) as pool:
        answers = sorted(pool.map(creation, range(20)))

    assert answers == ["1", *["PipelineNameInUseException"] * 19]
    assert len(executions(name)) == 1


@pytest.mark.long
def test_pipelines_are_listed_page_by_page(name: str, client: Any) -> None:
    names = [f"{name}-{letter}" for letter in "cab"]
    for each in names:
        save_settings(each, PipelineSettings(work_pool=IDLE))
        client.create_pipeline(pipeline=declare(each, pipelineType="V2", executionMode="QUEUED"))
    try:
        pages = list(client.get_paginator("list_pipelines").paginate(PaginationConfig={"PageSize": 2}))
        listed = [each for page in pages for each in page["pipelines"]]
        ours = [each for each in listed if each["name"] in names]

        assert [each["name"] for each in ours] == sorted(names)
        assert all(len(page["pipelines"]) <= 2 for page in pages)
        assert ours[0] == {
            **{key: ours[0][key] for key in ("created", "updated")},
            "name": sorted(names)[0], "version": 1, "pipelineType": "V2", "executionMode": "QUEUED",
        }  # fmt: skip
        assert refused(client.list_pipelines, nextToken="mine")[0] == "InvalidNextTokenException"
    finally:
        for each in names:
            client.delete_pipeline(name=each)


def test_a_deleted_pipeline_leaves_nothing_to_the_next_of_its_name(name: str, client: Any) -> None:
    client.create_pipeline(pipeline=declare(name), tags=[{"key": "team", "value": "shop"}])
    client.update_pipeline(pipeline=declare(name))
    old = start_pipeline_execution(name, {}, {}, "ana", "token")
    client.delete_pipeline(name=name)
    client.delete_pipeline(name=name)

    assert refused(client.get_pipeline, name=name)[0] == "PipelineNotFoundException"
    assert name not in [each["name"] for each in client.list_pipelines()["pipelines"]]
    assert call("GET", f"/deployments/name/pipeline/{name}", expected=(404,))[0] == 404
    made = client.create_pipeline(pipeline=declare(name))
    assert (made["pipeline"]["version"], "tags" in made) == (1, False)
    assert tags_of(client.get_pipeline(name=name)["metadata"]["pipelineArn"]) == {}
    new = start_pipeline_execution(name, {}, {}, "ana", "token")
    assert start_pipeline_execution(name, {}, {}, "ana", "token") == new
    assert old not in {each.id for each in executions(name)} > {new}


@pytest.mark.long
def test_executions_in_flight_are_abandoned_when_their_pipeline_is_deleted(world: Any, client: Any) -> None:
    stays, waits = world.action("Stays", Until=world.folder / "never"), world.action("Ok", 1, "Approval")
    wire = world.declare([waits], [stays]).to_wire()
    client.create_pipeline(pipeline=wire)
    first = latest_execution(world.name).id
    wire["executionMode"] = "PARALLEL"
    client.update_pipeline(pipeline=wire)
    asked = world.suspended(start_pipeline_execution(world.name, {}, {}, "ana"))
    assert world.ended(first).status == "Cancelled"
    wire["stages"][1:2] = []
    client.update_pipeline(pipeline=wire)
    working = start_pipeline_execution(world.name, {}, {}, "ana")
    until(lambda: "S2/Stays" in world.ran(working))

    client.delete_pipeline(name=world.name)

    assert world.is_named(asked.id, "Stopped")
    until(lambda: world.is_named(working, "Stopped"))
    assert definition_documents(world.name) == []
    assert [each for each in reconcile_once() if asked.id in each or working in each] == []
    client.create_pipeline(pipeline=wire)
    new = latest_execution(world.name).id
    assert [each.id for each in executions(world.name)] == [new]
    for old in (asked.id, working):
        with pytest.raises(PipelineServiceError):
            retry_stage_execution(world.name, "S2", old, "FAILED_ACTIONS", "ana")
        with pytest.raises(PipelineServiceError):
            rollback_stage(world.name, "S2", old, "ana")
    client.delete_pipeline(name=world.name)


def test_an_action_that_nothing_can_run_fails_and_says_so(world: Any, client: Any) -> None:
    wire = world.declare([world.action("Nothing")]).to_wire()
    wire["stages"][1]["actions"] = [
        act("Call", "Invoke/AWS/Lambda", configuration={"FunctionName": "f"}),
        act("Own", "Test/Custom/Unheard", configuration={"Key": "value"}),
    ]
    kind = {"category": "Rule", "owner": "AWS", "provider": "LambdaInvoke", "version": "1"}
    rule = {"name": "Ask", "ruleTypeId": kind, "configuration": {"FunctionName": "f"}}
    wire["stages"][1]["onFailure"] = {"conditions": [{"result": "ROLLBACK", "rules": [rule]}]}
    client.create_pipeline(pipeline=wire)

    ended = world.ended(latest_execution(world.name).id)

    assert (ended.state.pinned.trigger_type, ended.state.pinned.trigger_detail) == ("CreatePipeline", ANYBODY)
    assert ended.status == "Failed"
    details = {action.name: action.finished.error_details for _, action in list(ended.state.actions)[1:]}
    assert {each.code for each in details.values()} == {"ConfigurationError"}
    assert "Invoke/AWS/Lambda/1" in details["Call"].message
    assert "Test/Custom/Unheard/1" in details["Own"].message
    (asked,) = [fact.outcome for fact in ended.facts if isinstance(fact, RuleAnswered)]
    assert asked.error_details.code == "ConfigurationError"
    assert "Rule/AWS/LambdaInvoke/1" in asked.error_details.message
    client.delete_pipeline(name=world.name)


@pytest.mark.long
def test_a_creation_or_an_update_that_is_cut_off_is_finished_once(name: str) -> None:
    """After the definition is stored, or after the deployment is made, its process is killed."""
    declaration = PipelineDeclaration.model_validate(declare(name))
    claim_version(declaration, ANYBODY)
    reconcile_once(memory=Memory())
    (first,) = executions(name)
    assert UNSTARTED not in find_deployment(name)["tags"]

    project(declaration, is_unstarted=True)
    reconcile_once(memory=Memory())
    assert [each.id for each in executions(name)] == [first.id]
    assert first.run["labels"]["codepipeline.started-by"] == ANYBODY
    assert UNSTARTED not in find_deployment(name)["tags"]

    claim_version(declaration.model_copy(update={"version": 2}), ANYBODY)
    reconcile_once(memory=Memory())
    assert find_deployment(name)["version"] == "2"
    assert cancelled_by(executions(name)[0]) == [ANYBODY]


@pytest.mark.long
def test_a_deletion_that_is_cut_off_is_finished(name: str, client: Any) -> None:
    """Before anything is deleted, or after the first of two versions is."""

    def cut_off(*, before_the_versions: bool) -> None:
        client.create_pipeline(pipeline=declare(name))
        if before_the_versions:
            begin_deletion(name)
            return
        client.update_pipeline(pipeline=declare(name))
        begin_deletion(name)
        first = find_version(name, 1)
        assert first
        delete_document(str(first[0]))

    for before_the_versions in (True, False):
        cut_off(before_the_versions=before_the_versions)
        said = reconcile_once(memory=Memory())
        assert f"pipeline {name!r}: its deletion was interrupted, and is finished" in said
        assert definition_documents(name) == []
        assert call("GET", f"/deployments/name/pipeline/{name}", expected=(404,))[0] == 404
    cut_off(before_the_versions=False)
    assert client.create_pipeline(pipeline=declare(name))["pipeline"]["version"] == 1
    assert find_version(name, 2) is None
    assert [each for each in reconcile_once(memory=Memory()) if name in each] == []
    assert client.get_pipeline(name=name)["pipeline"]["version"] == 1


def test_an_execution_whose_pipeline_is_gone_does_not_keep_reconcile_from_the_others(world: Any) -> None:
    asked = world.suspended(world.start(world.declare([world.action("Ok", 1, "Approval")])))
    for document in definition_documents(world.name):
        delete_document(document["id"])

    reconcile_once()  # finds that definitions were deleted
    said = reconcile_once()

    assert f"execution {asked.id}: its pipeline was deleted, and it is Stopped now" in said
    assert world.is_named(asked.id, "Stopped")
    finish_deletion(world.name)
