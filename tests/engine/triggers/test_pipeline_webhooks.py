"""V1 webhooks over HTTP, on a real Prefect server: filters, three authentications, and an address nobody guesses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prefect.client.schemas.actions import WorkPoolCreate
from pydantic import SecretStr
from serving import serving
from waiting import until

from prefect_codepipeline.deployments.create import deploy_pipeline
from prefect_codepipeline.deployments.delete import delete_pipeline
from prefect_codepipeline.deployments.resource_webhooks import make_webhooks
from prefect_codepipeline.engine.executions.lookup import find_runs
from prefect_codepipeline.engine.triggers.pipeline_webhooks import (
    delete_webhook,
    find_webhook,
    list_webhooks,
    put_webhook,
)
from prefect_codepipeline.engine.triggers.webhook_inbox import waiting
from prefect_codepipeline.engine.triggers.webhook_signatures import sign
from prefect_codepipeline.errors import (
    InvalidWebhookAuthenticationParametersException,
    InvalidWebhookFilterPatternException,
    MissingBlock,
    PipelineNotFoundException,
    ValidationException,
)
from prefect_codepipeline.gateway.app import create_app
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.triggers.webhooks import WebhookDefinition
from prefect_codepipeline.prefect_api.client import call, client

pytestmark = pytest.mark.live
SECRET = "planted-secret-of-v1"
COMMIT = "4f2a9c1d0b8e7f6a5c4d3e2f1a0b9c8d7e6f5a4b"
MAIN = {"jsonPath": "$.ref", "matchEquals": "refs/heads/{Branch}"}


@pytest.fixture(scope="module")
def gateway(prefect_server: str) -> Iterator[str]:
    with serving(create_app()) as url:
        yield url


@pytest.fixture
def pipeline(prefect_server: str) -> Iterator[str]:
    """A V1 pipeline with GitHub's first kind of source, which nobody runs."""
    name, pool = f"Old.{uuid4().hex[:8]}", f"nobody-{uuid4().hex[:8]}"
    client().create_work_pool(WorkPoolCreate(name=pool, type="process"))
    github = {"category": "Source", "owner": "ThirdParty", "provider": "GitHub", "version": "1"}
    test = {"category": "Test", "owner": "Custom", "provider": "Scripted", "version": "1"}
    configuration = {"Owner": "acme", "Repo": "app", "Branch": "main", "OAuthToken": "token", "PollForSourceChanges": "false"}  # fmt: skip
    source = {
        "name": "Src",
        "actionTypeId": github,
        "configuration": configuration,
        "outputArtifacts": [{"name": "S"}],
    }
    wire = {
        "name": name,
        "roleArn": "arn:aws:iam::111122223333:role/pipeline",
        "artifactStore": {"type": "S3", "location": "bucket"},
        "pipelineType": "V1",
        "stages": [
            {"name": "Source", "actions": [source]},
            {"name": "Test", "actions": [{"name": "Test", "actionTypeId": test}]},
        ],
    }
    deploy_pipeline(PipelineDeclaration.model_validate(wire), pool)
    yield name
    for run in find_runs(name):
        call("DELETE", f"/flow_runs/{run['id']}", expected=(404,))
    delete_pipeline(name)
    for each in list_webhooks():
        delete_webhook(each.definition["name"])


def definition(pipeline: str, authentication: str = "GITHUB_HMAC", **more: Any) -> WebhookDefinition:
    settings = {"GITHUB_HMAC": {"SecretToken": SECRET}, "IP": {"AllowedIPRange": "127.0.0.0/8"}}
    wire = {
        "name": f"hook-of-{pipeline}",
        "targetPipeline": pipeline,
        "targetAction": "Src",
        "filters": [MAIN],
        "authentication": authentication,
        "authenticationConfiguration": settings.get(authentication, {}),
        **more,
    }
    return WebhookDefinition.model_validate(wire)


def path_of(wanted: WebhookDefinition) -> str:
    return f"/webhooks/{wanted.name}/{put_webhook(wanted).url_token.get_secret_value()}"


def push(ref: str = "refs/heads/main", repository: str = "acme/app") -> bytes:
    told = {"ref": ref, "before": "0" * 40, "after": COMMIT, "repository": {"full_name": repository}}
    return json.dumps(told).encode()


def send(url: str, body: bytes, **headers: str) -> httpx.Response:
    signed = {"X-GitHub-Event": "push", "X-Hub-Signature-256": sign(SecretStr(SECRET), body), **headers}
    return httpx.post(url, content=body, headers=signed, timeout=30)


def started(pipeline: str) -> list[tuple[str, str, dict[str, str]]]:
    until(lambda: not waiting(), 30)
    return [
        (
            run["labels"]["codepipeline.trigger-type"],
            run["labels"]["codepipeline.started-by"],
            run["parameters"]["source_revisions"],
        )
        for run in find_runs(pipeline)
    ]


def test_a_signed_push_that_passes_the_filters_starts_the_pushed_commit_once(
    gateway: str, pipeline: str
) -> None:
    wanted = definition(pipeline)
    url = gateway + path_of(wanted)

    answers = [send(url, push()), send(url, push())]

    assert [answer.status_code for answer in answers] == [202, 202]
    assert started(pipeline) == [("Webhook", wanted.name, {"Src": COMMIT})]


def test_the_filters_decide(gateway: str, pipeline: str) -> None:
    url = gateway + path_of(definition(pipeline))

    answer = send(url, push("refs/heads/dev"))

    assert answer.json() == {"ignored": "$.ref does not have the value 'refs/heads/main'"}
    assert started(pipeline) == []


def test_a_push_of_another_repository_starts_the_branchs_head_as_in_aws(gateway: str, pipeline: str) -> None:
    wanted = definition(pipeline)

    send(gateway + path_of(wanted), push(repository="acme/other"))

    assert started(pipeline) == [("Webhook", wanted.name, {})]


@pytest.mark.parametrize(
    ("authentication", "settings", "headers", "status"),
    [
        ("GITHUB_HMAC", {}, {"X-Hub-Signature-256": "sha256=" + "0" * 64}, 401),
        ("GITHUB_HMAC", {}, {"X-Hub-Signature-256": ""}, 401),
        ("IP", {}, {}, 202),
        ("IP", {"AllowedIPRange": "192.0.2.0/24"}, {}, 401),
        (
            "IP",
            {"AllowedIPRange": "192.0.2.0/24"},
            {"X-Forwarded-For": "192.0.2.1"},
            202,
        ),  # of a trusted proxy
        ("UNAUTHENTICATED", {}, {}, 202),
    ],
)
def test_each_authentication_lets_in_whom_it_should(
    gateway: str,
    pipeline: str,
    authentication: str,
    settings: dict[str, str],
    headers: dict[str, str],
    status: int,
) -> None:
    more = {"authenticationConfiguration": settings} if settings else {}

    answer = send(gateway + path_of(definition(pipeline, authentication, **more)), push(), **headers)

    assert answer.status_code == status
    assert len(started(pipeline)) == (status == 202)


def test_without_its_secret_part_the_address_is_none(gateway: str, pipeline: str) -> None:
    wanted = definition(pipeline, "UNAUTHENTICATED")
    path = path_of(wanted)

    wrong = [
        send(f"{gateway}/webhooks/{wanted.name}{end}", push()) for end in ("", "/", "/x", "/" + "x" * 32)
    ]

    assert [answer.status_code for answer in wrong] == [404, 404, 404, 404]
    assert path_of(wanted) == path, "changing it keeps the address"
    delete_webhook(wanted.name)
    assert send(gateway + path, push()).status_code == 404
    assert path_of(wanted) != path, "one that is made anew has another"
    assert started(pipeline) == []


@pytest.mark.parametrize(
    ("more", "error", "text"),
    [
        ({"targetPipeline": "Nobody-s"}, PipelineNotFoundException, "Nobody-s"),
        ({"targetAction": "Test"}, ValidationException, "has no source action 'Test' (it has: Src)"),
        (
            {"authentication": "IP", "authenticationConfiguration": {"SecretToken": SECRET}},
            InvalidWebhookAuthenticationParametersException,
            "IP needs AllowedIPRange",
        ),
        ({"filters": [{"jsonPath": "ref"}]}, InvalidWebhookFilterPatternException, "must start with $"),
        (
            {"filters": [{"jsonPath": "$.ref", "matchEquals": "{No}"}]},
            InvalidWebhookFilterPatternException,
            "{No}",
        ),
    ],
)
def test_what_aws_refuses_is_refused(
    pipeline: str, more: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error) as refused:
        put_webhook(definition(pipeline, **more))
    assert text in str(refused.value)
    assert SECRET not in str(refused.value)
    assert find_webhook(f"hook-of-{pipeline}") is None


def test_a_webhook_of_a_template_is_made_once(pipeline: str) -> None:
    properties = {
        "Name": "from-template",
        "TargetPipeline": pipeline,
        "TargetAction": "Src",
        "TargetPipelineVersion": 1,
        "RegisterWithThirdParty": True,
        "Filters": [{"JsonPath": "$.ref", "MatchEquals": "refs/heads/{Branch}"}],
        "Authentication": "GITHUB_HMAC",
        "AuthenticationConfiguration": {"SecretToken": SECRET},
    }
    resources = {"Hook": {"Type": "AWS::CodePipeline::Webhook", "Properties": properties}}
    hidden = {**properties, "Name": "hidden", "AuthenticationConfiguration": {"SecretToken": "${Token}"}}

    (made,) = make_webhooks(resources)
    (there,) = make_webhooks(resources)
    (kept,) = make_webhooks({"Hidden": {"Type": "AWS::CodePipeline::Webhook", "Properties": hidden}})
    dots = {"Type": "AWS::CodePipeline::Webhook", "Properties": {**properties, "Name": ".."}}
    (refused,) = make_webhooks({"Dots": dots})

    assert "created webhook 'from-template'" in made
    assert "webhook 'from-template' exists" in there
    assert "a webhook cannot have the name '..': its name is part of its URL" in refused
    assert "kept as data: some of its values are not known" in kept
    assert [each.definition["name"] for each in list_webhooks()] == ["from-template"]


def test_the_commands_show_no_secret(
    pipeline: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from prefect_codepipeline.cli.triggers.webhook import (
        add_webhook,
        list_webhooks,
        remove_webhook,
        show_webhook,
    )

    file = tmp_path / "webhook.json"
    file.write_text(json.dumps({"webhook": definition(pipeline).model_dump(mode="json", by_alias=True, exclude_none=True)}))  # fmt: skip

    name = f"hook-of-{pipeline}"
    add_webhook(file)
    list_webhooks()
    list_webhooks(json=True)
    show_webhook(name)
    show_webhook(name, json=True)
    with pytest.raises(MissingBlock, match=f"webhook '{name}x' does not exist; did you mean '{name}'"):
        remove_webhook(f"{name}x")
    remove_webhook(name)
    with pytest.raises(MissingBlock, match="does not exist; see: codepipeline webhook list"):
        show_webhook(name)

    told = capsys.readouterr().out
    assert told.count(f"/webhooks/{name}/") == 5
    assert told.count('"SecretToken": "****"') == 2
    assert SECRET not in told
    assert told.endswith(f"webhook '{name}' removed\n")
