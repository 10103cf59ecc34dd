"""Tags, action types and webhooks by boto3, the services that tools ask first, and every exception of theirs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from api_checks import refused
from prefect.client.schemas.actions import WorkPoolCreate
from waiting import until

from prefect_codepipeline.deployments.create import deploy_pipeline
from prefect_codepipeline.deployments.delete import delete_pipeline
from prefect_codepipeline.deployments.resource_types import make_types
from prefect_codepipeline.engine.executions.definitions import newest_version
from prefect_codepipeline.engine.executions.lookup import find_runs
from prefect_codepipeline.engine.operations import action_types as own_types
from prefect_codepipeline.engine.operations.tagging import drop_tags
from prefect_codepipeline.engine.triggers import pipeline_webhooks
from prefect_codepipeline.gateway.aws.operations.webhooks import OPERATIONS as WEBHOOKS
from prefect_codepipeline.gateway.aws.protocol.call import Call, Caller
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.definition.own_types import CustomActionType
from prefect_codepipeline.model.definition.published_types import declaration_of
from prefect_codepipeline.model.stored.action_type import StoredActionType
from prefect_codepipeline.prefect_api.client import call, client

pytestmark = pytest.mark.live
ARN = "arn:aws:codepipeline:us-east-1:123456789012:"
ROOT = Path(__file__).parent.parent.parent.parent
SECRET = "planted-secret-of-hook"
COUNTS = {"minimumCount": 0, "maximumCount": 1}
TYPE = {"category": "Build", "version": "1", "inputArtifactDetails": COUNTS, "outputArtifactDetails": COUNTS}


@pytest.fixture(scope="module")
def pipeline(prefect_server: str) -> Iterator[str]:
    """A pipeline whose work pool has no worker."""
    name, pool = f"tagged.{uuid4().hex[:8]}", f"nobody-{uuid4().hex[:8]}"
    client().create_work_pool(WorkPoolCreate(name=pool, type="process"))
    github = {"category": "Source", "owner": "ThirdParty", "provider": "GitHub", "version": "1"}
    configuration = {"Owner": "acme", "Repo": "app", "Branch": "main", "OAuthToken": "t", "PollForSourceChanges": "false"}  # fmt: skip
    source = {
        "name": "Src",
        "actionTypeId": github,
        "configuration": configuration,
        "outputArtifacts": [{"name": "S"}],
    }
    test = {
        "name": "Test",
        "actionTypeId": {"category": "Test", "owner": "Custom", "provider": "Scripted", "version": "1"},
    }
    wire = {
        "name": name,
        "roleArn": "arn:aws:iam::123456789012:role/pipeline",
        "artifactStore": {"type": "S3", "location": "bucket"},
        "pipelineType": "V1",
        "stages": [{"name": "Source", "actions": [source]}, {"name": "Test", "actions": [test]}],
    }
    deploy_pipeline(PipelineDeclaration.model_validate(wire), pool)
    yield name
    for run in find_runs(name):
        call("DELETE", f"/flow_runs/{run['id']}", expected=(404,))
    delete_pipeline(name)


def tag(key: str, value: str = "") -> dict[str, str]:
    return {"key": key, "value": value}


def test_tags_of_a_pipeline(aws: Callable[..., Any], pipeline: str) -> None:
    asked, arn = aws(), ARN + pipeline
    asked.tag_resource(resourceArn=arn, tags=[tag("b", "1"), tag("a", "ü")])
    asked.tag_resource(resourceArn=arn, tags=[tag("b", "2")])
    assert asked.list_tags_for_resource(resourceArn=arn)["tags"] == [tag("a", "ü"), tag("b", "2")]
    page = asked.list_tags_for_resource(resourceArn=arn, maxResults=1)
    assert page["tags"] == [tag("a", "ü")]
    rest = asked.list_tags_for_resource(resourceArn=arn, nextToken=page["nextToken"])
    assert (rest["tags"], "nextToken" in rest) == ([tag("b", "2")], False)

    assert refused(asked.tag_resource, resourceArn=arn, tags=[tag("c"), tag("aws:x")]) == (
        "InvalidTagsException",
        "Not allowed to modify system tags. System tags start with 'aws:'. "
        "msg=[Caller is an end user and not allowed to mutate system tags]",
    )
    assert refused(asked.tag_resource, resourceArn=arn, tags=[tag("c\nd")])[0] == "InvalidTagsException"
    many = [tag(f"k{n}") for n in range(49)]
    assert refused(asked.tag_resource, resourceArn=arn, tags=many) == (
        "TooManyTagsException",
        f"Tag limit exceeded for resource [{arn}].",
    )
    assert (
        refused(asked.tag_resource, resourceArn=arn, tags=[tag("c"), tag("c")])[0] == "InvalidTagsException"
    )
    assert refused(asked.untag_resource, resourceArn=arn, tagKeys=["a", "aws:x"])[0] == "InvalidTagsException"
    assert len(asked.list_tags_for_resource(resourceArn=arn)["tags"]) == 2, "a refused call changes nothing"

    asked.untag_resource(resourceArn=arn, tagKeys=["a", "b", "never"])
    assert asked.list_tags_for_resource(resourceArn=arn)["tags"] == []
    assert (
        refused(asked.list_tags_for_resource, resourceArn=arn, nextToken="x")[0]
        == "InvalidNextTokenException"
    )


def test_the_example_of_the_page_tags_a_pipeline(
    gateway: str, pipeline: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    section = (ROOT / "docs" / "aws-api.md").read_text().split("\n## Tags\n")[1].split("\n## ")[0]
    code = section.split("```python\n")[1].split("```")[0]
    monkeypatch.setenv("AWS_ENDPOINT_URL", gateway)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    exec(code.replace(":shop", f":{pipeline}"), {})
    assert f"{ARN}{pipeline} [{{'Key': 'team', 'Value': 'web'}}]" in capsys.readouterr().out
    drop_tags(ARN + pipeline)


@pytest.mark.parametrize(
    ("resource", "code"),
    [
        (f"{ARN}no-such", "ResourceNotFoundException"),
        (f"{ARN}webhook:no-such", "ResourceNotFoundException"),
        (f"{ARN}actiontype:Custom/Build/NoSuch/1", "ResourceNotFoundException"),
        ("arn:aws:codepipeline:us-east-1:999999999999:{pipeline}", "ResourceNotFoundException"),
        ("arn:aws:codepipeline:eu-west-1:123456789012:{pipeline}", "ResourceNotFoundException"),
        ("arn:aws-cn:codepipeline:us-east-1:123456789012:{pipeline}", "ResourceNotFoundException"),
        (f"{ARN}{{pipeline}}/Source", "InvalidArnException"),
        (f"{ARN}actiontype:Custom/Nothing/Acme/1", "InvalidArnException"),
        ("shop", "ValidationException"),
    ],
)
def test_what_has_no_tags(aws: Callable[..., Any], pipeline: str, resource: str, code: str) -> None:
    asked, arn = aws(), resource.format(pipeline=pipeline)
    assert refused(asked.list_tags_for_resource, resourceArn=arn)[0] == code
    assert refused(asked.tag_resource, resourceArn=arn, tags=[tag("a")])[0] == code
    found, message = refused(asked.untag_resource, resourceArn=arn, tagKeys=["a"])
    assert found == code
    if arn == f"{ARN}no-such":
        assert (
            message
            == "The account with id '123456789012' does not include a pipeline with the name 'no-such'"
        )


def test_a_custom_action_type_from_its_creation_to_its_end(aws: Callable[..., Any]) -> None:
    asked, provider = aws(), f"Acme-{uuid4().hex[:8]}"
    wanted = {
        **TYPE,
        "provider": provider,
        "settings": {"entityUrlTemplate": "https://ci.test/{Config:Project}"},
        "configurationProperties": [
            {
                "name": "Project",
                "required": True,
                "key": True,
                "secret": False,
                "queryable": True,
                "type": "String",
            }
        ],
    }
    kind = {"category": "Build", "owner": "Custom", "provider": provider, "version": "1"}
    made = asked.create_custom_action_type(**wanted, tags=[tag("team", "a")])
    assert made["actionType"]["id"] == kind
    assert made["actionType"]["settings"] == wanted["settings"]
    assert made["actionType"]["actionConfigurationProperties"] == wanted["configurationProperties"]
    assert made["tags"] == [tag("team", "a")]
    arn = f"{ARN}actiontype:Custom/Build/{provider}/1"
    asked.tag_resource(resourceArn=arn, tags=[tag("more")])
    listed = [each for page in asked.get_paginator("list_action_types").paginate(actionOwnerFilter="Custom") for each in page["actionTypes"]]  # fmt: skip
    assert made["actionType"] in listed
    assert asked.create_custom_action_type(**wanted)["tags"] == [tag("more"), tag("team", "a")]

    code, message = refused(asked.create_custom_action_type, **{**wanted, "settings": {}})
    assert code == "ActionTypeAlreadyExistsException"
    assert "already exists with another definition" in message
    asked.delete_custom_action_type(category="Build", provider=provider, version="1")
    asked.delete_custom_action_type(category="Build", provider=provider, version="1")
    assert refused(asked.list_tags_for_resource, resourceArn=arn)[0] == "ResourceNotFoundException"
    assert asked.create_custom_action_type(**wanted)["tags"] == [], "the tags went with the type"
    asked.delete_custom_action_type(category="Build", provider=provider, version="1")


def test_action_types_that_aws_refuses(aws: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    asked, wanted = aws(), {**TYPE, "provider": f"Acme-{uuid4().hex[:8]}"}
    create = asked.create_custom_action_type
    prop = {"name": "P", "required": False, "key": False, "secret": False, "queryable": True}
    assert refused(create, **wanted, configurationProperties=[prop])[0] == "ValidationException"
    assert refused(create, **wanted, tags=[tag("aws:x")])[0] == "InvalidTagsException"
    assert refused(create, **wanted, tags=[tag(f"k{n}") for n in range(51)])[0] == "TooManyTagsException"
    monkeypatch.setattr(own_types, "MOST_CUSTOM_TYPES", 0)
    assert refused(create, **wanted)[0] == "LimitExceededException"
    arn = f"{ARN}actiontype:Custom/Build/{wanted['provider']}/1"
    assert refused(asked.list_tags_for_resource, resourceArn=arn)[0] == "ResourceNotFoundException"


def test_aws_s_own_types_are_listed_in_pages_and_so_are_rule_types(aws: Callable[..., Any]) -> None:
    asked = aws()
    pages = list(asked.get_paginator("list_action_types").paginate(actionOwnerFilter="AWS"))
    names = [
        (each["id"]["category"], each["id"]["provider"]) for page in pages for each in page["actionTypes"]
    ]
    assert ("Build", "CodeBuild") in names
    assert names == sorted(set(names))
    everything = list(asked.get_paginator("list_action_types").paginate())
    assert len(everything) > 1
    elsewhere = asked.list_action_types(actionOwnerFilter="Custom", regionFilter="eu-west-1")
    assert elsewhere["actionTypes"] == []
    assert refused(asked.list_action_types, nextToken="x")[0] == "InvalidNextTokenException"
    rules = [each["id"]["provider"] for each in asked.list_rule_types()["ruleTypes"]]
    assert {"CloudWatchAlarm", "DeploymentWindow", "LambdaInvoke"} <= set(rules)
    assert len(rules) == 6


def test_a_published_action_type_is_read_and_changed(aws: Callable[..., Any]) -> None:
    asked = aws()
    given = CustomActionType.model_validate({**TYPE, "provider": f"Snyk-{uuid4().hex[:8]}"})
    kind = StoredActionType.of(given, "ThirdParty").id
    own_types.create_type(StoredActionType.of(given, "ThirdParty", declaration=declaration_of(kind, given)))
    declared = asked.get_action_type(**kind.to_wire())["actionType"]
    assert declared["executor"]["type"] == "JobWorker"

    changed = {
        **declared,
        "description": "Looks for holes.",
        "inputArtifactDetails": {"minimumCount": 1, "maximumCount": 2},
    }
    asked.update_action_type(actionType=changed)
    assert asked.get_action_type(**kind.to_wire())["actionType"] == changed
    listed = [
        each["id"]
        for page in asked.get_paginator("list_action_types").paginate()
        for each in page["actionTypes"]
    ]
    assert kind.to_wire() in listed

    function = {
        "lambdaExecutorConfiguration": {
            "lambdaFunctionArn": "arn:aws:lambda:us-east-1:123456789012:function:f"
        }
    }
    by_lambda = {**changed, "executor": {"type": "Lambda", "configuration": function}}
    assert refused(asked.update_action_type, actionType=by_lambda)[0] == "RequestFailedException"
    unknown = {**kind.to_wire(), "version": "2"}
    assert refused(asked.get_action_type, **unknown) == (
        "ActionTypeNotFoundException",
        f"ActionType (Category: 'Build', Owner: 'ThirdParty', Provider: '{kind.provider}', Version: '2') is not available",
    )
    assert (
        refused(asked.update_action_type, actionType={**changed, "id": unknown})[0]
        == "ActionTypeNotFoundException"
    )
    own_types.delete_type(kind)


def hook(pipeline: str, name: str, **other: Any) -> dict[str, Any]:
    return {
        "name": name,
        "targetPipeline": pipeline,
        "targetAction": "Src",
        "filters": [{"jsonPath": "$.ref", "matchEquals": "refs/heads/{Branch}"}],
        "authentication": "GITHUB_HMAC",
        "authenticationConfiguration": {"SecretToken": SECRET},
        **other,
    }


def test_a_webhook_from_its_creation_to_its_end(
    aws: Callable[..., Any], gateway: str, pipeline: str, caplog: pytest.LogCaptureFixture
) -> None:
    asked, name = aws(), f"hook-{uuid4().hex[:8]}"
    made = asked.put_webhook(webhook=hook(pipeline, name), tags=[tag("team", "a")])["webhook"]
    assert made["arn"] == f"{ARN}webhook:{name}"
    assert made["definition"] == hook(pipeline, name, authenticationConfiguration={"SecretToken": "****"})
    assert made["tags"] == [tag("team", "a")]
    assert made["url"].startswith(gateway)
    again = asked.put_webhook(webhook=made["definition"])["webhook"]
    assert (again["url"], again["tags"]) == (made["url"], made["tags"]), "a change keeps both"
    known = pipeline_webhooks.find_webhook(name)
    assert known
    assert known.secret_token
    assert known.secret_token.get_secret_value() == SECRET, "and the secret that is sent as ****"

    body = json.dumps({"ref": "refs/heads/main"}).encode()
    assert (
        httpx.post(made["url"], content=body, headers={"X-Hub-Signature-256": "sha256=00"}).status_code == 401
    )
    wrong = listed(asked, name)
    assert (wrong["errorCode"], "lastTriggered" in wrong) == ("401", False)
    open_hook = hook(pipeline, name, authentication="UNAUTHENTICATED", authenticationConfiguration={})
    asked.put_webhook(webhook=open_hook)
    before = datetime.now(timezone.utc)
    assert httpx.post(made["url"], content=body).status_code == 202
    right = until(lambda: (row := listed(asked, name)) and "lastTriggered" in row and row, 30)
    assert abs((right["lastTriggered"] - before).total_seconds()) < 30
    assert "errorCode" not in right

    others = Call("ListWebhooks", {}, Caller("ci", pipelines=("none-*",)), "1")
    assert WEBHOOKS["ListWebhooks"](others) == {"webhooks": [], "NextToken": None}

    asked.register_webhook_with_third_party(webhookName=name)
    asked.deregister_webhook_with_third_party(webhookName=name)
    asked.delete_webhook(name=name)
    asked.delete_webhook(name=name)
    assert refused(asked.register_webhook_with_third_party, webhookName=name)[0] == "WebhookNotFoundException"
    assert (
        refused(asked.deregister_webhook_with_third_party, webhookName=name)[0] == "WebhookNotFoundException"
    )
    assert refused(asked.list_tags_for_resource, resourceArn=made["arn"])[0] == "ResourceNotFoundException"
    assert asked.put_webhook(webhook=open_hook)["webhook"]["tags"] == []
    asked.delete_webhook(name=name)
    assert SECRET not in caplog.text


def listed(asked: Any, name: str) -> dict[str, Any]:
    rows = [each for page in asked.get_paginator("list_webhooks").paginate() for each in page["webhooks"]]
    return next(each for each in rows if each["definition"]["name"] == name)


def test_webhooks_that_aws_refuses(
    aws: Callable[..., Any], pipeline: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, name = aws(), f"hook-{uuid4().hex[:8]}"
    put = asked.put_webhook
    right = hook(pipeline, name)
    for wrong, code in [
        ({"targetPipeline": "no-such"}, "PipelineNotFoundException"),
        ({"targetAction": "Test"}, "ValidationException"),
        ({"name": ".."}, "ValidationException"),
        ({"authentication": "IP"}, "InvalidWebhookAuthenticationParametersException"),
        (
            {"authenticationConfiguration": {"SecretToken": "****"}},
            "InvalidWebhookAuthenticationParametersException",
        ),
        ({"filters": [{"jsonPath": "ref"}]}, "InvalidWebhookFilterPatternException"),
    ]:
        assert refused(put, webhook={**right, **wrong})[0] == code
    assert refused(put, webhook=right, tags=[tag("aws:x")])[0] == "InvalidTagsException"
    assert refused(put, webhook=right, tags=[tag(f"k{n}") for n in range(51)])[0] == "TooManyTagsException"
    monkeypatch.setattr(pipeline_webhooks, "MOST_WEBHOOKS", 0)
    assert refused(put, webhook=right)[0] == "LimitExceededException"
    assert pipeline_webhooks.find_webhook(name) is None
    assert refused(asked.list_webhooks, NextToken="x")[0] == "InvalidNextTokenException"


def test_the_tagging_api_finds_and_tags_what_is_here(aws: Callable[..., Any], pipeline: str) -> None:
    asked, arn = aws("resourcegroupstaggingapi"), ARN + pipeline
    missing = f"{ARN}no-such"
    answer = asked.tag_resources(
        ResourceARNList=[arn, missing], Tags={"owner": "me", "maid_status": "delete@2026/11/30"}
    )
    assert answer["FailedResourcesMap"][missing]["ErrorCode"] == "InvalidParameterException"
    assert list(answer["FailedResourcesMap"]) == [missing]
    mine = {"Key": "owner", "Values": ["me"]}

    def found(**filters: Any) -> list[str]:
        pages = asked.get_paginator("get_resources").paginate(PaginationConfig={"PageSize": 1}, **filters)
        return [each["ResourceARN"] for page in pages for each in page["ResourceTagMappingList"]]

    assert arn in found(ResourceTypeFilters=["codepipeline"], TagFilters=[mine])
    assert arn in found(ResourceTypeFilters=["codepipeline:pipeline", "s3"], TagFilters=[{"Key": "owner"}])
    assert arn in found(ResourceARNList=[arn])
    assert arn not in found(ResourceTypeFilters=["codepipeline:webhook"])
    assert arn not in found(TagFilters=[mine, {"Key": "owner", "Values": ["you"]}])
    (row,) = asked.get_resources(ResourceARNList=[arn])["ResourceTagMappingList"]
    assert row["Tags"] == [
        {"Key": "maid_status", "Value": "delete@2026/11/30"},
        {"Key": "owner", "Value": "me"},
    ]
    assert aws().list_tags_for_resource(resourceArn=arn)["tags"][1] == tag("owner", "me")

    assert (
        asked.untag_resources(ResourceARNList=[arn], TagKeys=["owner", "maid_status"])["FailedResourcesMap"]
        == {}
    )
    assert arn not in found()
    for wrong in (
        {"PaginationToken": "x"},
        {"ResourcesPerPage": 101},
        {"ResourceARNList": [arn], "TagFilters": [mine]},
    ):
        assert refused(asked.get_resources, **wrong)[0] == "InvalidParameterException"
    assert (
        refused(asked.tag_resources, ResourceARNList=[arn], Tags={"aws:x": ""})[0]
        == "InvalidParameterException"
    )


def test_sts_says_who_asks(aws: Callable[..., Any]) -> None:
    asked = aws("sts")
    found = asked.get_caller_identity()
    assert (found["Account"], found["Arn"]) == ("123456789012", "arn:aws:iam::123456789012:user/anonymous")
    assert found["UserId"].startswith("AIDA")
    assert refused(asked.get_session_token)[0] == "InvalidAction"


@pytest.mark.long
def test_a_pipeline_is_checked_by_a_custom_type_and_its_secrets_are_stored_apart(
    aws: Callable[..., Any],
) -> None:
    asked, provider = aws(), f"Acme-{uuid4().hex[:8]}"
    token = {"name": "Token", "required": True, "key": False, "secret": True}
    site = {"name": "Site", "required": True, "key": True, "secret": False}
    kind = {"category": "Source", "provider": provider, "configurationProperties": [token, site]}
    settings = {"entityUrlTemplate": "https://acme.test/{Config:Site}"}
    asked.create_custom_action_type(**{**TYPE, **kind, "settings": settings})

    def pipeline_with(configuration: dict[str, str]) -> dict[str, Any]:
        own = {"category": "Source", "owner": "Custom", "provider": provider, "version": "1"}
        source = {
            "name": "Src",
            "actionTypeId": own,
            "configuration": {"Site": "eu", **configuration},
            "outputArtifacts": [{"name": "S"}],
        }
        test = {"category": "Test", "owner": "Custom", "provider": "Scripted", "version": "1"}
        return {
            "name": f"own-{provider}",
            "roleArn": "arn:aws:iam::123456789012:role/pipeline",
            "artifactStore": {"type": "S3", "location": "bucket"},
            "stages": [
                {"name": "Source", "actions": [source]},
                {"name": "Test", "actions": [{"name": "Test", "actionTypeId": test}]},
            ],
        }

    missing = "Action configuration for action 'Src' is missing required configuration 'Token'"
    assert refused(asked.create_pipeline, pipeline=pipeline_with({})) == (
        "InvalidActionDeclarationException",
        missing,
    )
    unknown = pipeline_with({"Token": SECRET, "Tokn": "x"})
    assert "contains unknown configuration 'Tokn'" in refused(asked.create_pipeline, pipeline=unknown)[1]

    made = asked.create_pipeline(pipeline=pipeline_with({"Token": SECRET}))["pipeline"]
    assert made["stages"][0]["actions"][0]["configuration"] == {"Site": "eu", "Token": "****"}
    asked.update_pipeline(pipeline=made)
    _, stored = newest_version(made["name"])
    assert stored.version == 2
    assert stored.whole().stages[0].actions[0].configuration == {"Site": "eu", "Token": SECRET}
    state = asked.get_pipeline_state(name=made["name"])["stageStates"][0]["actionStates"][0]
    assert state["entityUrl"] == "https://acme.test/eu"
    asked.delete_pipeline(name=made["name"])
    asked.delete_custom_action_type(category="Source", provider=provider, version="1")


def test_an_action_type_of_a_template_is_created_once_with_its_tags(aws: Callable[..., Any]) -> None:
    provider = f"Acme-{uuid4().hex[:8]}"
    properties = {
        "Category": "Build",
        "Provider": provider,
        "Version": "1",
        "InputArtifactDetails": {"MinimumCount": "0", "MaximumCount": 1},
        "OutputArtifactDetails": {"MinimumCount": 0, "MaximumCount": 1},
        "Tags": [{"Key": "team", "Value": "a"}, {"Key": "stage", "Value": "${Stage}"}],
    }
    resources = {
        "Acme": {"Type": "AWS::CodePipeline::CustomActionType", "Properties": properties},
        "Wrong": {
            "Type": "AWS::CodePipeline::CustomActionType",
            "Properties": {**properties, "Version": "${V}"},
        },
    }
    made, wrong = make_types(resources)
    there, _ = make_types(resources)
    other = {**properties, "OutputArtifactDetails": {"MinimumCount": 1, "MaximumCount": 1}}
    (kept,) = make_types({"Acme": {**resources["Acme"], "Properties": other}})

    assert made.endswith(
        f"created action type Build/Custom/{provider}/1; it has no tag stage, whose value is not known"
    )
    assert "kept as data: version: String should match" in wrong
    assert there.endswith(f"action type Build/Custom/{provider}/1 exists")
    assert "kept as data: ActionType" in kept
    arn = f"{ARN}actiontype:Custom/Build/{provider}/1"
    assert aws().list_tags_for_resource(resourceArn=arn)["tags"] == [tag("team", "a")]
    aws().delete_custom_action_type(category="Build", provider=provider, version="1")
