"""CloudFormation actions against moto's server over HTTP: all modes, and what goes into a stack."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aws_environment import use_endpoint
from provider_calls import call_to_its_end
from pydantic import ValidationError

from prefect_codepipeline.actions.registry import ActionContext, ActionResult, get_provider
from prefect_codepipeline.actions.work import InputTree
from prefect_codepipeline.deployments.cloudformation.pipelines import import_document
from prefect_codepipeline.deployments.files.definition import read_file
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.definition.action_settings import ActionSettings
from prefect_codepipeline.model.definition.aws_settings import AwsSettings
from prefect_codepipeline.model.definition.declaration import ActionDeclaration, ActionTypeId
from prefect_codepipeline.model.validation.lenient import declare_anyway

DATA = Path(__file__).parents[3] / "data"
KIND = ActionTypeId(category="Deploy", owner="AWS", provider="CloudFormation", version="1")
PROVIDER = get_provider(KIND)
ROLE = "arn:aws:iam::123456789012:role/cloudformation"
TEMPLATE = """
Parameters:
  Name: {Type: String, Default: queue}
  Code: {Type: String, Default: ""}
Resources:
  Queue:
    Type: AWS::SQS::Queue
    Properties: {QueueName: !Ref Name}
Outputs:
  QueueName: {Value: !GetAtt Queue.QueueName}
"""
CREATE = {"ActionMode": "CREATE_UPDATE", "TemplatePath": "App::template.yml", "RoleArn": ROLE}


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    yield f"http://localhost:{port}"  # the only other host whose URLs moto takes for those of S3
    server.stop()


@pytest.fixture
def aws(moto: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    import boto3
    import httpx

    assert httpx.post(f"{moto}/moto-api/reset", trust_env=False).status_code == 200
    use_endpoint(monkeypatch, moto, "eu-west-1")
    boto3.client("s3").create_bucket(
        Bucket="through", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    return boto3.client


class Deployer:
    """Runs CloudFormation actions of stack `shop` with the input artifacts `App` and `Extra`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs = 0
        for name in ("App", "Extra"):
            (folder / name).mkdir()
        self.write("App", "template.yml", TEMPLATE)
        self.artifacts = ["App", "Extra"]

    def write(self, artifact: str, name: str, content: str) -> None:
        file = self.folder / artifact / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)

    def give(self, configuration: dict[str, str], artifacts: list[str]) -> None:
        """Fill these artifacts with what a configuration names: a template with its parameters, and JSON files."""
        self.artifacts = artifacts
        for name in artifacts:
            (self.folder / name).mkdir(exist_ok=True)
        overrides = json.loads(configuration.get("ParameterOverrides", "{}"))
        template = {
            "Parameters": {name: {"Type": "String"} for name in overrides},
            "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
        }
        files = {"TemplatePath": template, "TemplateConfiguration": {"Parameters": {}}}
        for key, content in files.items():
            if key in configuration:
                artifact, _, file = configuration[key].partition("::")
                self.write(artifact, file, json.dumps(content))
        for value in overrides.values():
            if isinstance(value, dict) and "Fn::GetParam" in value:
                artifact, file, key = value["Fn::GetParam"]
                self.write(artifact, file, json.dumps({key: "value"}))

    def __call__(
        self, location: str | None = "s3://through/ci", region: str | None = None, **given: str
    ) -> ActionResult:
        self.runs += 1
        scratch = self.folder / f"scratch{self.runs}"
        scratch.mkdir()
        configuration = {"StackName": "shop", **given}
        action = ActionDeclaration.model_validate(
            {
                "name": "Deploy",
                "actionTypeId": KIND.model_dump(),
                "configuration": configuration,
                "region": region,
                "outputArtifacts": [{"name": "Out"}],
            }
        )
        context = ActionContext(
            pipeline_name="release",
            pipeline_execution_id="e1",
            stage_name="Prod",
            action=action,
            action_execution_id=f"a{self.runs}",
            scratch=scratch,
            deadline=time.monotonic() + 30,
            input_artifacts=tuple(InputTree(name, self.folder / name) for name in self.artifacts),
            settings=ActionSettings(
                aws=AwsSettings(location=location, locations={"us-east-1": "s3://virginia"})
            ),
            logger=logging.getLogger("cloudformation"),
        )
        return call_to_its_end(PROVIDER.run, PROVIDER.configuration.model_validate(configuration), context)


@pytest.fixture
def deploy(aws: Any, tmp_path: Path) -> Deployer:
    return Deployer(tmp_path)


def stack(aws: Any) -> dict[str, Any]:
    return dict(aws("cloudformation").describe_stacks(StackName="shop")["Stacks"][0])


def parameters(aws: Any) -> dict[str, str]:
    return {each["ParameterKey"]: each["ParameterValue"] for each in stack(aws)["Parameters"]}


def test_a_stack_is_created_updated_and_left_alone_and_its_outputs_are_variables(aws, deploy):
    created = deploy(**CREATE, OutputFileName="made/outputs.json")

    assert created.summary == "deployed stack 'shop' in eu-west-1"
    assert created.output_variables == {"QueueName": "queue"}
    file = created.output_artifacts["Out"].directory / "made/outputs.json"
    assert json.loads(file.read_text()) == {"QueueName": "queue"}
    assert created.external_execution_id == stack(aws)["StackId"]
    assert created.external_execution_url.startswith(
        "https://eu-west-1.console.aws.amazon.com/cloudformation/home?region=eu-west-1#/stacks/stackinfo?stackId=arn%3A"
    )
    assert stack(aws)["RoleARN"] == ROLE

    updated = deploy(**CREATE, ParameterOverrides='{"Name": "other"}')
    assert parameters(aws)["Name"] == "other"  # moto's outputs stay those of the creation
    assert list(updated.output_artifacts["Out"].directory.iterdir()) == []
    assert stack(aws)["StackStatus"] == "UPDATE_COMPLETE"


def test_a_stack_is_deleted_and_a_missing_one_needs_no_deletion(aws, deploy):
    deploy(**CREATE)

    deleted = deploy(ActionMode="DELETE_ONLY", RoleArn=ROLE)
    again = deploy(ActionMode="DELETE_ONLY", RoleArn=ROLE)

    assert deleted.summary == "deleted stack 'shop' in eu-west-1"
    assert deleted.external_execution_id.startswith(
        "arn:aws:cloudformation:eu-west-1:123456789012:stack/shop/"
    )
    assert again.summary == "there is no stack 'shop' in eu-west-1: nothing to delete"


def test_a_change_set_is_made_replaced_and_executed(aws, deploy, caplog):
    caplog.set_level(logging.INFO)
    names = {"ChangeSetName": "next"}
    make = {**CREATE, **names, "ActionMode": "CHANGE_SET_REPLACE"}

    first = deploy(**make)
    assert stack(aws)["StackStatus"] == "REVIEW_IN_PROGRESS"
    second = deploy(**make, ParameterOverrides='{"Name": "reviewed"}')
    assert first.external_execution_id != second.external_execution_id
    assert second.summary == "change set 'next' of stack 'shop' in eu-west-1: 1 Add"
    assert "Add Queue AWS::SQS::Queue" in caplog.text
    assert "#/stacks/changesets/changes?stackId=arn%3A" in second.external_execution_url

    executed = deploy(ActionMode="CHANGE_SET_EXECUTE", **names)
    assert executed.summary == "executed change set 'next' of stack 'shop' in eu-west-1"
    assert aws("sqs").list_queues()["QueueUrls"][0].endswith("/reviewed")


def test_executing_a_change_set_that_somebody_deleted_says_what_to_do(aws, deploy):
    deploy(**CREATE)

    with pytest.raises(
        ActionFailed, match="there is no change set 'next' of stack 'shop' in eu-west-1"
    ) as failed:
        deploy(ActionMode="CHANGE_SET_EXECUTE", ChangeSetName="next")
    assert failed.value.code == "ConfigurationError"


def test_overrides_precede_the_parameters_of_the_file_and_functions_read_artifacts(aws, deploy):
    deploy.write(
        "App",
        "template.yml",
        TEMPLATE.replace("Resources:", "  Bucket: {Type: String}\n  Key: {Type: String}\n  Url: {Type: String}\n"
        "  Number: {Type: Number}\n  Image: {Type: String}\nResources:"),
    )  # fmt: skip
    deploy.write(
        "Extra",
        "prod.json",
        json.dumps({"Parameters": {"Name": "file", "Number": 7, "Key": "file"}, "Tags": {"Team": "shop"}}),
    )
    deploy.write("Extra", "image.json", '{"ImageURI": "registry/shop:1"}')
    overrides = {
        "Name": "override",
        "Image": {"Fn::GetParam": ["Extra", "image.json", "ImageURI"]},
        "Bucket": {"Fn::GetArtifactAtt": ["Extra", "BucketName"]},
        "Key": {"Fn::GetArtifactAtt": ["Extra", "ObjectKey"]},
        "Url": {"Fn::GetArtifactAtt": ["Extra", "URL"]},
    }

    deploy(**CREATE, TemplateConfiguration="Extra::prod.json", ParameterOverrides=json.dumps(overrides))

    found = parameters(aws)
    key = found["Key"]
    assert key.startswith("ci/release/Extra/")
    assert found == {
        "Name": "override",
        "Code": "",
        "Number": "7",
        "Image": "registry/shop:1",
        "Bucket": "through",
        "Key": key,
        "Url": f"{aws('s3').meta.endpoint_url}/through/{key}",
    }
    assert aws("s3").head_object(Bucket="through", Key=key)["ContentLength"] > 0
    assert stack(aws)["Tags"] == [{"Key": "Team", "Value": "shop"}]


def test_an_artifact_of_the_same_content_has_the_same_key(aws, deploy):
    overrides = '{"Code": {"Fn::GetArtifactAtt": ["Extra", "ObjectKey"]}}'
    seen = []
    for content in ("one", "one", "two"):
        deploy.write("Extra", "code.py", content)
        deploy(**CREATE, ParameterOverrides=overrides)
        seen.append(parameters(aws)["Code"])

    assert seen[0] == seen[1] != seen[2]


def test_a_large_template_goes_through_the_location(aws, deploy):
    deploy.write("App", "template.yml", TEMPLATE + "#" * 51_200)

    deploy(**CREATE)
    keys = [each["Key"] for each in aws("s3").list_objects_v2(Bucket="through")["Contents"]]
    assert len(keys) == 1
    assert keys[0].endswith("/template.yml")
    with pytest.raises(ActionFailed, match="set 'location' of 'aws' in the pipeline's settings") as failed:
        deploy(location=None, **CREATE)
    assert failed.value.code == "ConfigurationError"


def test_an_action_of_another_region_goes_there_with_the_location_of_that_region(aws, deploy):
    import boto3

    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="virginia")

    deploy(
        region="us-east-1",
        **CREATE,
        ParameterOverrides='{"Code": {"Fn::GetArtifactAtt": ["Extra", "BucketName"]}}',
    )

    there = boto3.client("cloudformation", region_name="us-east-1").describe_stacks(StackName="shop")[
        "Stacks"
    ][0]
    assert {each["ParameterKey"]: each["ParameterValue"] for each in there["Parameters"]}[
        "Code"
    ] == "virginia"
    assert aws("cloudformation").describe_stacks()["Stacks"] == []
    keys = [each["Key"] for each in aws("s3").list_objects_v2(Bucket="virginia")["Contents"]]
    assert [key.rpartition("/")[0] for key in keys] == ["release/Extra"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"TemplatePath": "template.yml"}, "TemplatePath 'template.yml' is not of the form 'ArtifactName::path"),
        ({"TemplatePath": "Ap::template.yml"}, "'Ap' is not an input artifact of the action; its inputs: App, Extra"),
        ({"TemplatePath": "App::none.yml"}, "TemplatePath: input artifact 'App' has no file 'none.yml'"),
        ({"TemplatePath": "App::../secret"}, "has no file '../secret'"),
        ({"TemplatePath": "App::link"}, "has no file 'link'"),
        ({"TemplatePath": "App::empty"}, "the file is empty"),
        ({"TemplatePath": "App::binary"}, "the file is not UTF-8"),
        ({"TemplatePath": "App::huge"}, "has 1,048,577 bytes; the limit is 1,048,576"),
        ({"ParameterOverrides": "Name=x"}, "ParameterOverrides is not JSON"),
        ({"ParameterOverrides": json.dumps({"Name": "ü" * 980}, ensure_ascii=False)}, "has 1,972 bytes; the limit is 1,024: move"),
        ({"ParameterOverrides": '["Name"]'}, "ParameterOverrides is not a JSON object"),
        ({"ParameterOverrides": '{"Name": null}'}, "the value of 'Name' is not a text: null"),
        ({"ParameterOverrides": '{"Name": {"Ref": "x"}}'}, 'ParameterOverrides: {"Ref": "x"} is neither a text nor'),
        (
            {"ParameterOverrides": '{"Name": {"Fn::GetArtifactAtt": ["Extra", "Size"]}}'},
            "takes an input artifact and BucketName, ObjectKey or URL",
        ),
        (
            {"ParameterOverrides": '{"Name": {"Fn::GetArtifactAtt": ["Nope", "URL"]}}'},
            "'Nope' is not an input artifact",
        ),
        (
            {"ParameterOverrides": '{"Name": {"Fn::GetParam": ["Extra", "values.json", "b"]}}'},
            "Extra::values.json: the file has no key 'b'; it has a",
        ),
        ({"ParameterOverrides": '{"Name": {"Fn::GetParam": ["Extra"]}}'}, "takes an input artifact, a JSON file"),
        ({"TemplateConfiguration": "Extra::values.json"}, "unknown keys 'a'; known: Parameters, StackPolicy, Tags"),
        ({"TemplateConfiguration": "App::template.yml"}, "TemplateConfiguration 'App::template.yml' is not JSON"),
        ({"OutputFileName": "../out.json"}, "OutputFileName '../out.json' leads out of the artifact"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named(deploy, given, message):
    (deploy.folder / "secret").write_text(TEMPLATE)
    (deploy.folder / "App/link").symlink_to(deploy.folder / "secret")
    (deploy.folder / "App/binary").write_bytes(b"\xff\xfe\xfa")
    deploy.write("App", "empty", "\n")
    deploy.write("App", "huge", "#" * 1_048_577)
    deploy.write("Extra", "values.json", '{"a": 1}')

    with pytest.raises(ActionFailed) as failed:
        deploy(**CREATE | given)

    assert message in str(failed.value)
    assert failed.value.code == "ConfigurationError"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ActionMode": "CREATE_UPDATE"}, "TemplatePath is required with ActionMode CREATE_UPDATE"),
        ({"ActionMode": "CHANGE_SET_EXECUTE"}, "ChangeSetName is required"),
        ({"ActionMode": "UPSERT"}, "Input should be"),
        ({"ActionMode": "DELETE_ONLY", "Template": "x"}, "Extra inputs"),
    ],
)
def test_a_configuration_that_cannot_be_meant_is_refused(given, message):
    with pytest.raises(ValidationError, match=message):
        PROVIDER.configuration.model_validate({"StackName": "shop", **given})


def test_capabilities_are_a_list_in_a_text():
    given = {"StackName": "s", **CREATE, "Capabilities": "CAPABILITY_IAM, CAPABILITY_AUTO_EXPAND"}

    configuration = PROVIDER.configuration.model_validate(given)

    assert configuration.capabilities == ("CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND")


FILES = [
    path
    for path in (DATA / "templates").iterdir()
    if b"CHANGE_SET" in path.read_bytes() or b"CREATE_UPDATE" in path.read_bytes()
]
if CORPUS := os.environ.get("CODEPIPELINE_CORPUS"):
    FILES = [path for kind in ("cfn", "json") for path in (Path(CORPUS) / kind).iterdir()]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name[:60])
def test_the_actions_of_real_pipelines_run_one_after_the_other(aws, deploy, path):
    """Unchanged, but for values that the import leaves open; their artifacts have a small template at each path."""
    for pipeline in import_document(read_file(path)).pipelines:
        declaration = declare_anyway(pipeline.wire)
        actions = [action for stage in declaration.stages for action in stage.actions]
        for action in actions:
            if action.action_type_id == KIND:
                configuration = {key: _filled(key, value) for key, value in action.configuration.items()}
                deploy.give(
                    configuration, [_filled("", artifact.name) for artifact in action.input_artifacts]
                )
                assert "stack" in deploy(**configuration).summary


def _filled(key: str, value: str) -> str:
    """A value in which each open place is filled."""
    if key == "RoleArn":
        return ROLE
    text = re.sub(r"[$#]\{[^}]*\}", "filled", value)
    if key == "TemplateConfiguration" and text != value:
        text += "-configuration"  # not the file of TemplatePath
    return re.sub(r"[^A-Za-z0-9-]", "-", text) if key in ("StackName", "ChangeSetName") else text
