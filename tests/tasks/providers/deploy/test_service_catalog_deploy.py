"""Deploy/AWS/ServiceCatalog/1, against written answers; the template goes through moto's S3."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from aws_server import AwsServer, DroppedError, RefusalError, in_turn
from provider_calls import call_to_its_end
from pydantic import ValidationError

from prefect_codepipeline.actions.aws import client, remote_work
from prefect_codepipeline.actions.registry import ActionContext, ActionResult, Earlier
from prefect_codepipeline.actions.work import InputTree
from prefect_codepipeline.errors import ActionAbandoned, ActionFailed, ActionInterrupted
from prefect_codepipeline.model.definition.action_settings import ActionSettings
from prefect_codepipeline.model.definition.aws_settings import AwsSettings
from prefect_codepipeline.tasks.providers.deploy.service_catalog_deploy import (
    ServiceCatalogConfiguration,
    deploy_version,
)

TOKEN = "a1"
TEMPLATE = '{"Resources": {}}'
KEYS = {
    "TemplateFilePath": "S3_template.json",
    "ProductVersionName": "devops S3 v2",
    "ProductType": "CLOUD_FORMATION_TEMPLATE",
}
URL = "https://eu-west-1.console.aws.amazon.com/servicecatalog/home?region=eu-west-1#admin-products/prod-1"
WHAT = "version 'pa-1' of product 'prod-1' in eu-west-1"
KEPT = Earlier(datetime.now(timezone.utc), "pa-1", URL, {"version": "pa-1"})
GONE = RefusalError("ResourceNotFoundException", "not found")


def version(status: str) -> dict[str, Any]:
    return {"ProvisioningArtifactDetail": {"Id": "pa-1", "Name": "devops S3 v2"}, "Status": status}


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_work, "SHORTEST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(remote_work, "LONGEST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(remote_work, "LATE_PAUSE_PER_SECOND", 0.0)  # some looks are at old work
    monkeypatch.setattr(client, "ATTEMPTS", 0)


@pytest.fixture
def catalog(aws_endpoint: Any) -> Iterator[AwsServer]:
    """Service Catalog, in which a version is available at the second look."""
    server = AwsServer()
    server.answers |= {
        "CreateProvisioningArtifact": lambda _: version("CREATING"),
        "DescribeProvisioningArtifact": in_turn([version("CREATING"), version("AVAILABLE")]),
    }
    yield server
    server.stop()


@pytest.fixture
def make_context(
    make_aws_context: Any, catalog: AwsServer, make_bucket: Any, tmp_path: Path
) -> Callable[..., ActionContext]:
    (tmp_path / "App").mkdir()
    (tmp_path / "App/S3_template.json").write_text(TEMPLATE)
    tree = InputTree("App", tmp_path / "App")
    aws = AwsSettings(
        region="eu-west-1",
        location=f"s3://{make_bucket()}/ci",
        endpoint_urls={"servicecatalog": catalog.url},
    )
    return lambda **fields: make_aws_context(
        "Deploy/ServiceCatalog",
        **{
            "input_artifacts": (tree,),
            "action_execution_id": TOKEN,
            "settings": ActionSettings(aws=aws),
            **fields,
        },
    )


def deploy(context: ActionContext, **given: str) -> ActionResult:
    configuration = ServiceCatalogConfiguration.model_validate({"ProductId": "prod-1", **(given or KEYS)})
    return call_to_its_end(deploy_version, configuration, context)


def test_a_template_becomes_a_version(aws, catalog, make_context):
    told: list[str] = []
    kept: list[Any] = []
    context = make_context(
        report_progress=lambda **given: told.append(given["summary"]),
        keep=lambda *given, **state: kept.append((given, state)),
    )

    result = deploy(context, **KEYS, ProductVersionDescription="with a bucket")

    (asked,) = catalog.asked("CreateProvisioningArtifact")
    url = asked["Parameters"].pop("Info")["LoadTemplateFromURL"]
    assert asked == {
        "ProductId": "prod-1",
        "Parameters": {
            "Name": "devops S3 v2",
            "Description": "with a bucket",
            "Type": "CLOUD_FORMATION_TEMPLATE",
        },
        "IdempotencyToken": TOKEN,
    }
    bucket, _, key = url.partition("//")[2].partition("/")[2].partition("/")
    assert aws("s3").get_object(Bucket=bucket, Key=key)["Body"].read().decode() == TEMPLATE
    assert key.startswith("ci/release/")
    assert key.endswith("/S3_template.json")
    assert told == [f"{WHAT}: CREATING", f"{WHAT}: AVAILABLE"]
    assert kept == [(("pa-1", URL), {"version": "pa-1"})]
    assert (result.external_execution_id, result.external_execution_url) == ("pa-1", URL)
    assert result.summary == "made version 'devops S3 v2' of product 'prod-1' in eu-west-1"
    assert result.output_variables == {}


def test_a_configuration_file_says_what_the_version_is(catalog, make_context, tmp_path):
    """AWS's example of such a file."""
    content = {
        "SchemaVersion": "1.0",
        "ProductVersionName": "devops S3 v2",
        "ProductVersionDescription": "MyProductVersionDescription",
        "ProductType": "CLOUD_FORMATION_TEMPLATE",
        "Properties": {"TemplateFilePath": "/S3_template.json"},
    }
    (tmp_path / "App/sample_config.json").write_text(json.dumps(content))

    deploy(make_context(), ConfigurationFilePath="sample_config.json")

    parameters = catalog.asked("CreateProvisioningArtifact")[0]["Parameters"]
    assert (parameters["Name"], parameters["Description"], parameters["Type"]) == (
        "devops S3 v2",
        "MyProductVersionDescription",
        "CLOUD_FORMATION_TEMPLATE",
    )


def test_a_version_that_cannot_be_made_is_a_failure(catalog, make_context):
    catalog.answers["DescribeProvisioningArtifact"] = in_turn([version("FAILED")])

    with pytest.raises(ActionFailed, match=f"^{WHAT} could not be made: .* check the template") as failed:
        deploy(make_context())
    assert (failed.value.code, failed.value.external_execution_id) == ("JobFailed", "pa-1")
    assert failed.value.external_execution_url == URL


def test_throttling_silence_and_dropped_connections_are_borne(catalog, make_context, caplog):
    slow = RefusalError("ThrottlingException", "Rate exceeded")
    away = RefusalError("InternalServerException", "try later", 503)
    catalog.answers["CreateProvisioningArtifact"] = in_turn([DroppedError(), slow, version("CREATING")])
    catalog.answers["DescribeProvisioningArtifact"] = in_turn(
        [slow, away, DroppedError(), version("AVAILABLE")]
    )

    deploy(make_context())

    assert caplog.text.count("will retry") == 5
    asked = catalog.asked("CreateProvisioningArtifact")
    assert asked == [asked[0]] * 3  # the same request: its token makes one version of them
    assert asked[0]["IdempotencyToken"] == TOKEN


@pytest.mark.parametrize("died", ["before keep", "after keep", "after the end"])
def test_another_process_follows_the_same_version(catalog, make_context, died):
    kept: dict[str, str] = {}
    first = make_context()

    def keep(*_: str, **state: str) -> None:
        if died != "after the end":
            first.cancellation.leave()
        if died == "after keep":
            kept.update(state)

    first = replace(first, keep=keep)
    if died == "after the end":
        deploy(first)
    else:
        with pytest.raises(ActionInterrupted):
            deploy(first)

    result = deploy(make_context(earlier=Earlier(datetime.now(timezone.utc), state=kept)))

    assert result.external_execution_id == "pa-1"
    asked = catalog.asked("CreateProvisioningArtifact")
    assert asked == [asked[0]] * (1 if died == "after keep" else 2)


def test_a_look_in_mid_wait_costs_one_request_and_no_input_artifact(catalog, make_context):
    deploy(make_context(earlier=KEPT, input_artifacts=()))

    assert [name for name, _ in catalog.requests] == ["DescribeProvisioningArtifact"] * 2


def test_an_action_that_must_end_says_that_the_version_is_made_nevertheless(catalog, make_context):
    with pytest.raises(ActionFailed, match=f"Service Catalog cannot stop making {WHAT}: delete") as failed:
        deploy(make_context(seconds=0, earlier=KEPT))
    assert failed.value.code == "Timeout"

    abandoned = make_context(earlier=KEPT, input_artifacts=())
    abandoned.cancellation.cancel()
    with pytest.raises(ActionAbandoned, match="cannot stop making"):
        deploy(abandoned)
    with pytest.raises(ActionAbandoned):
        deploy(replace(abandoned, earlier=None))
    assert not catalog.requests


@pytest.mark.parametrize(
    ("answers", "message", "code"),
    [
        ({"CreateProvisioningArtifact": GONE}, "there is no product 'prod-1' in eu-west-1; correct", "ConfigurationError"),
        ({"CreateProvisioningArtifact": RefusalError("InvalidParametersException", "Invalid templateBody")}, "making version 'devops S3 v2' of product 'prod-1' in eu-west-1: AWS refused: .*Invalid templateBody", "ConfigurationError"),
        ({"CreateProvisioningArtifact": RefusalError("AccessDeniedException", "no", 403)}, "AWS refused", "PermissionError"),
        ({"DescribeProvisioningArtifact": GONE}, f"{WHAT} was deleted in the meantime, not by this action", "JobFailed"),
        ({"DescribeProvisioningArtifact": RefusalError("ExpiredTokenException", "expired")}, "renew the credentials", "PermissionError"),
    ],
)  # fmt: skip
def test_what_aws_refuses_is_said(catalog, make_context, answers, message, code):
    catalog.answers |= {name: in_turn([answer]) for name, answer in answers.items()}

    with pytest.raises(ActionFailed, match=message) as failed:
        deploy(make_context())
    assert failed.value.code == code


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({**KEYS, "TemplateFilePath": "none.json"}, "TemplateFilePath: input artifact 'App' has no file 'none.json'"),
        ({**KEYS, "TemplateFilePath": "../t.json"}, "has no file '../t.json'"),
        ({**KEYS, "TemplateFilePath": "big.json"}, "has 1,048,577 bytes; the limit is 1,048,576"),
        ({"ConfigurationFilePath": "none.json"}, "ConfigurationFilePath: input artifact 'App' has no file"),
        ({"ConfigurationFilePath": "bad.json"}, "ConfigurationFilePath 'bad.json' is not JSON"),
        ({"ConfigurationFilePath": "few.json"}, "ConfigurationFilePath 'few.json': ProductVersionName: Field required"),
        ({"ConfigurationFilePath": "list.json"}, "ConfigurationFilePath 'list.json': the file: Input should be"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_anything_starts(catalog, make_context, tmp_path, given, message):
    for name, text in {
        "bad.json": "{",
        "few.json": "{}",
        "list.json": "[]",
        "big.json": "x" * 1_048_577,
    }.items():
        (tmp_path / "App" / name).write_text(text)

    with pytest.raises(ActionFailed) as failed:
        deploy(make_context(), **given)

    assert message in str(failed.value)
    assert failed.value.code == "ConfigurationError"
    assert not catalog.requests


def test_without_a_location_it_says_what_to_set(catalog, make_context):
    aws = AwsSettings(region="eu-west-1", endpoint_urls={"servicecatalog": catalog.url})

    with pytest.raises(ActionFailed, match="set 'location' of 'aws' in the pipeline's settings") as failed:
        deploy(make_context(settings=ActionSettings(aws=aws)))
    assert failed.value.code == "ConfigurationError"


def test_an_endpoint_that_answers_html(catalog, make_context):
    catalog.page = (200, b"<html><body>Welcome</body></html>")

    with pytest.raises(ActionFailed, match="what answered is not AWS") as failed:
        deploy(make_context())
    assert failed.value.code == "ConfigurationError"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "TemplateFilePath, ProductVersionName, ProductType: required without ConfigurationFilePath"),
        ({**KEYS, "X": "1"}, "Extra inputs"),
    ],
)
def test_rejects_configuration(given, message):
    with pytest.raises(ValidationError, match=message):
        ServiceCatalogConfiguration.model_validate({"ProductId": "prod-1", **given})
