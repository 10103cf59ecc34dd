"""What other tools ask, in their order: moto's own tests, Terraform, the aws command's examples, Custodian, Prowler, the JS SDK.

No worker takes the executions: the tools only look after definitions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest
from api_checks import check_value, refused, with_defaults
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from prefect_codepipeline.blocks.pipeline_settings import PipelineSettings
from prefect_codepipeline.deployments.files.settings import save_settings
from prefect_codepipeline.gateway.aws.protocol.service_model import output_shape
from prefect_codepipeline.prefect_api.client import call

pytestmark = [pytest.mark.live, pytest.mark.long]
ACCOUNT = "123456789012"
ARN = f"arn:aws:codepipeline:us-east-1:{ACCOUNT}:"
IDLE = "pool-without-a-worker"
NO_EXECUTION = "00000000-0000-4000-8000-000000000000"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/test-role"


@pytest.fixture
def client(aws: Callable[..., Any]) -> Any:
    return aws()


@pytest.fixture
def idle(prefect_server: str, client: Any) -> Iterator[Callable[[str], str]]:
    """Give a pipeline of that name a work pool without a worker, before it is created; it is deleted in the end."""
    call("POST", "/work_pools/", {"name": IDLE, "type": "process"}, expected=(409,))
    names: list[str] = []

    def idle(name: str) -> str:
        save_settings(name, PipelineSettings(work_pool=IDLE))
        names.append(name)
        return name

    yield idle
    for name in names:
        client.delete_pipeline(name=name)


@pytest.fixture
def name(idle: Callable[[str], str]) -> str:
    return idle(f"tools-{uuid4().hex[:8]}")


def act(name: str, kind: str, **more: Any) -> dict[str, Any]:
    """An action; `kind` is `Category/Owner/Provider`."""
    category, owner, provider = kind.split("/")
    identity = {"category": category, "owner": owner, "provider": provider, "version": "1"}
    return {"name": name, "actionTypeId": identity, **more}


def tag(key: str, value: str) -> dict[str, str]:
    return {"key": key, "value": value}


def of_moto(name: str, bucket: str = "test-bucket") -> dict[str, Any]:
    """The pipeline of moto's tests."""
    source = {"S3Bucket": bucket, "S3ObjectKey": "test-object"}
    artifacts = [{"name": "artifact"}]
    return {
        "name": name,
        "roleArn": ROLE,
        "artifactStore": {"type": "S3", "location": f"codepipeline-us-east-1-{ACCOUNT}"},
        "stages": [
            {
                "name": "Stage-1",
                "actions": [act("Action-1", "Source/AWS/S3", configuration=source, outputArtifacts=artifacts)],
            },
            {"name": "Stage-2", "actions": [act("Action-1", "Approval/AWS/Manual")]},
        ],
    }  # fmt: skip


def test_pipelines_as_moto_s_tests_ask_for_them(client: Any, name: str) -> None:
    created = client.create_pipeline(pipeline=of_moto(name), tags=[tag("key", "value")])
    assert created["pipeline"] == with_defaults(of_moto(name), 1)
    assert created["tags"] == [tag("key", "value")]
    # moto: InvalidStructureException
    assert refused(client.create_pipeline, pipeline=of_moto(name)) == (
        "PipelineNameInUseException",
        f"A pipeline with the name '{name}' already exists in account '{ACCOUNT}'",
    )
    # moto looks the role up first, and refuses it
    single = {**of_moto(f"{name}-invalid"), "roleArn": f"arn:aws:iam::{ACCOUNT}:role/not-existing"}
    single["stages"] = [{"name": "Stage-1", "actions": [act("Action-1", "Source/AWS/S3")]}]
    assert refused(client.create_pipeline, pipeline=single) == (
        "InvalidStructureException",
        "Pipeline has only 1 stage(s). There should be a minimum of 2 stages in a pipeline",
    )

    got = client.get_pipeline(name=name)
    assert got["pipeline"] == created["pipeline"]
    assert got["metadata"]["pipelineArn"] == f"{ARN}{name}"
    assert isinstance(got["metadata"]["created"], datetime)
    missing = f"Account '{ACCOUNT}' does not have a pipeline with name 'not-existing'"
    assert refused(client.get_pipeline, name="not-existing") == ("PipelineNotFoundException", missing)

    updated = client.update_pipeline(pipeline=of_moto(name, "different-bucket"))
    assert updated["pipeline"] == with_defaults(of_moto(name, "different-bucket"), 2)
    after = client.get_pipeline(name=name)["metadata"]
    assert after["created"] == got["metadata"]["created"]
    assert after["updated"] > got["metadata"]["updated"]
    # moto: ResourceNotFoundException, which the operation does not have
    assert refused(client.update_pipeline, pipeline=of_moto("not-existing")) == (
        "PipelineNotFoundException",
        f"The account with id '{ACCOUNT}' does not include a pipeline with the name 'not-existing'",
    )


def test_lists_tags_and_deletion_as_moto_s_tests_ask_for_them(client: Any, name: str, idle: Any) -> None:
    client.create_pipeline(pipeline=of_moto(name), tags=[tag("key", "value")])
    client.create_pipeline(pipeline=of_moto(idle(f"{name}-2")))
    listed = [each for each in client.list_pipelines()["pipelines"] if each["name"].startswith(name)]
    assert [(each["name"], each["version"]) for each in listed] == [(name, 1), (f"{name}-2", 1)]
    assert all(isinstance(each["updated"], datetime) for each in listed)

    arn, unknown = f"{ARN}{name}", f"{ARN}not-existing"
    gone = (
        "ResourceNotFoundException",
        f"The account with id '{ACCOUNT}' does not include a pipeline with the name 'not-existing'",
    )
    new = [tag("key-2", "value-2")]
    client.tag_resource(resourceArn=arn, tags=new)
    assert client.list_tags_for_resource(resourceArn=arn)["tags"] == [tag("key", "value"), *new]
    assert refused(client.list_tags_for_resource, resourceArn=unknown) == gone
    assert refused(client.tag_resource, resourceArn=unknown, tags=new) == gone
    assert refused(client.untag_resource, resourceArn=unknown, tagKeys=["key"]) == gone
    assert refused(client.tag_resource, resourceArn=arn, tags=[tag("aws:key", "value")]) == (
        "InvalidTagsException",
        "Not allowed to modify system tags. System tags start with 'aws:'. "
        "msg=[Caller is an end user and not allowed to mutate system tags]",
    )
    many = [tag(f"key-{number}", "value") for number in range(50)]
    assert refused(client.tag_resource, resourceArn=arn, tags=many)[0] == "TooManyTagsException"
    client.untag_resource(resourceArn=arn, tagKeys=["key", "key-2"])
    client.untag_resource(resourceArn=arn, tagKeys=["key"])
    assert client.list_tags_for_resource(resourceArn=arn)["tags"] == []

    started = client.start_pipeline_execution(name=name)["pipelineExecutionId"]
    assert refused(client.start_pipeline_execution, name="not-existing")[0] == "PipelineNotFoundException"
    found = client.get_pipeline_execution(pipelineName=name, pipelineExecutionId=started)["pipelineExecution"]
    assert found["status"] == "InProgress", "moto: Succeeded at once"
    summaries = client.list_pipeline_executions(pipelineName=name, maxResults=1)["pipelineExecutionSummaries"]
    assert [each["pipelineExecutionId"] for each in summaries] == [started]

    client.delete_pipeline(name=name)
    client.delete_pipeline(name=name)
    assert name not in [each["name"] for each in client.list_pipelines()["pipelines"]]


def of_terraform(name: str) -> dict[str, Any]:
    """A pipeline as Terraform's provider sends it: nothing that has a default, the type and the mode given."""
    github = {"Owner": "o", "Repo": "r", "Branch": "main", "OAuthToken": "planted-secret"}
    code, built = [{"name": "code"}], [{"name": "built"}]
    source = act(
        "Source",
        "Source/ThirdParty/GitHub",
        configuration=github,
        outputArtifacts=code,
        namespace="SourceVariables",
    )
    build = act(
        "Build",
        "Build/AWS/CodeBuild",
        configuration={"ProjectName": "test"},
        inputArtifacts=code,
        outputArtifacts=built,
    )
    return {
        "name": name,
        "roleArn": ROLE,
        "pipelineType": "V2",
        "executionMode": "QUEUED",
        "artifactStore": {
            "type": "S3",
            "location": "tf-bucket",
            "encryptionKey": {"id": "1234", "type": "KMS"},
        },
        "stages": [{"name": "Source", "actions": [source]}, {"name": "Build", "actions": [build]}],
        "variables": [{"name": "place", "defaultValue": "here", "description": "where"}],
    }


def plan(state: Any, read: Any) -> list[str]:
    """What Terraform would change: where what it has sent is not what it reads, apart from defaults and secrets."""
    if isinstance(state, dict):
        return [
            f"{key}: {each}"
            for key, value in state.items()
            if key != "OAuthToken"
            for each in plan(value, read.get(key))
        ]
    if isinstance(state, list):
        changed = [each for one, other in zip(state, read, strict=True) for each in plan(one, other)]
        return changed
    return [] if state == read else [f"{read!r} is to be {state!r}"]


def test_a_pipeline_of_terraform(client: Any, name: str) -> None:
    wanted, arn = of_terraform(name), f"{ARN}{name}"

    def read() -> dict[str, Any]:
        answer: dict[str, Any] = client.get_pipeline(name=name)
        assert answer["metadata"]["pipelineArn"] == arn
        return {**answer["pipeline"], "tags": client.list_tags_for_resource(resourceArn=arn)["tags"]}

    client.create_pipeline(pipeline=wanted, tags=[tag("Name", "a")])
    assert plan({**wanted, "tags": [tag("Name", "a")]}, read()) == []
    wanted["stages"][1]["actions"][0]["configuration"]["EnvironmentVariables"] = "[]"
    wanted["variables"][0]["defaultValue"] = "there"
    assert plan(wanted, read()) != []
    client.update_pipeline(pipeline=wanted)
    assert plan({**wanted, "tags": [tag("Name", "a")], "version": 2}, read()) == []
    client.untag_resource(resourceArn=arn, tagKeys=["Name"])
    client.tag_resource(resourceArn=arn, tags=[tag("Other", "b")])
    assert plan({**wanted, "tags": [tag("Other", "b")], "version": 2}, read()) == []
    client.delete_pipeline(name=name)
    assert refused(client.get_pipeline, name=name)[0] == "PipelineNotFoundException"


def test_a_webhook_and_a_custom_type_of_terraform(client: Any, name: str) -> None:
    client.create_pipeline(pipeline=of_terraform(name))
    hook = {
        "name": f"{name}-hook", "targetPipeline": name, "targetAction": "Source", "authentication": "GITHUB_HMAC",
        "filters": [{"jsonPath": "$.ref", "matchEquals": "refs/heads/{Branch}"}],
        "authenticationConfiguration": {"SecretToken": "super-secret"},
    }  # fmt: skip
    arn = client.put_webhook(webhook=hook, tags=[tag("Name", "a")])["webhook"]["arn"]

    def read() -> list[dict[str, Any]]:
        pages = client.get_paginator("list_webhooks").paginate()
        return [each for page in pages for each in page["webhooks"] if each["arn"] == arn]

    (found,) = read()
    assert found["tags"] == [tag("Name", "a")]
    assert found["url"]
    # Terraform sees this as a change; docs/aws-api.md says what to do about it.
    assert found["definition"].pop("authenticationConfiguration") == {"SecretToken": "****"}
    assert plan(
        {key: value for key, value in hook.items() if key != "authenticationConfiguration"},
        found["definition"],
    ) == []  # fmt: skip
    hook["filters"] = [{"jsonPath": "$.ref", "matchEquals": "refs/tags/v1"}]
    client.put_webhook(webhook=hook)
    assert read()[0]["definition"]["filters"] == hook["filters"]
    client.delete_webhook(name=hook["name"])
    assert read() == []

    counts = {"minimumCount": 0, "maximumCount": 1}
    identity = {"category": "Test", "provider": name[:20], "version": "1"}
    wanted = {**identity, "inputArtifactDetails": counts, "outputArtifactDetails": counts}
    prop = {"name": "P", "required": True, "key": True, "secret": False, "type": "Number"}
    client.create_custom_action_type(**wanted, configurationProperties=[prop], tags=[tag("Name", "a")])

    def types() -> list[dict[str, Any]]:
        pages = client.get_paginator("list_action_types").paginate(actionOwnerFilter="Custom")
        return [each for page in pages for each in page["actionTypes"] if each["id"]["provider"] == name[:20]]

    (there,) = types()
    assert (there["id"], there["inputArtifactDetails"]) == ({**identity, "owner": "Custom"}, counts)
    assert plan([prop], there["actionConfigurationProperties"]) == []
    kind = f"{ARN}actiontype:Custom/Test/{name[:20]}/1"
    assert client.list_tags_for_resource(resourceArn=kind)["tags"] == [tag("Name", "a")]
    client.delete_custom_action_type(**identity)
    assert types() == []


def of_the_aws_command(name: str, bucket: str) -> dict[str, Any]:
    """MyFirstPipeline.json and MySecondPipeline.json of the examples."""
    app = [{"name": "MyApp"}]
    source = {"S3Bucket": bucket, "S3ObjectKey": "aws-codepipeline-s3-aws-codedeploy_linux.zip"}
    fleet = {
        "ApplicationName": "CodePipelineDemoApplication",
        "DeploymentGroupName": "CodePipelineDemoFleet",
    }
    return {
        "roleArn": "arn:aws:iam::111111111111:role/AWS-CodePipeline-Service",
        "stages": [
            {"name": "Source", "actions": [act("Source", "Source/AWS/S3", configuration=source, inputArtifacts=[], outputArtifacts=app, runOrder=1)]},
            {"name": "Beta", "actions": [act("CodePipelineDemoFleet", "Deploy/AWS/CodeDeploy", configuration=fleet, inputArtifacts=app, outputArtifacts=[], runOrder=1)]},
        ],
        "artifactStore": {"type": "S3", "location": "codepipeline-us-east-1-11EXAMPLE11"},
        "name": name,
        "version": 1,
    }  # fmt: skip


JENKINS = {"category": "Build", "provider": "MyJenkinsProviderName", "version": "1"}
CUSTOM_TYPE = {
    **JENKINS,
    "settings": {
        "entityUrlTemplate": "https://192.0.2.4/job/{Config:ProjectName}/",
        "executionUrlTemplate": "https://192.0.2.4/job/{Config:ProjectName}/lastSuccessfulBuild/{ExternalExecutionId}/",
    },
    "configurationProperties": [
        {"name": "ProjectName", "required": True, "key": True, "secret": False, "queryable": False, "type": "String"}
    ],
    "inputArtifactDetails": {"maximumCount": 1, "minimumCount": 0},
    "outputArtifactDetails": {"maximumCount": 1, "minimumCount": 0},
}  # fmt: skip
WEBHOOK = {
    "name": "my-webhook", "targetPipeline": "pipeline_name", "targetAction": "Source",
    "filters": [{"jsonPath": "$.ref", "matchEquals": "refs/heads/{Branch}"}],
    "authentication": "GITHUB_HMAC", "authenticationConfiguration": {"SecretToken": "secret"},
}  # fmt: skip
BETA = {"pipelineName": "MyFirstPipeline", "stageName": "Beta", "transitionType": "Inbound"}
FIRST = {"pipelineName": "MyFirstPipeline"}
FIRST_ARN = {"resourceArn": f"{ARN}MyFirstPipeline"}
# The examples in an order in which each finds what the ones before have made. Ids are of a form that AWS accepts.
EXAMPLES: list[tuple[str, dict[str, Any], str]] = [
    ("create_pipeline", {"pipeline": of_the_aws_command("MyFirstPipeline", "awscodepipeline-demo-bucket")}, "OK"),
    ("create_pipeline", {"pipeline": of_the_aws_command("MySecondPipeline", "awscodepipeline-demo-bucket")}, "OK"),
    ("list_pipelines", {}, "OK"),
    ("get_pipeline", {"name": "MyFirstPipeline"}, "OK"),
    ("update_pipeline", {"pipeline": of_the_aws_command("MyFirstPipeline", "awscodepipeline-demo-bucket2")}, "OK"),
    ("get_pipeline_state", {"name": "MyFirstPipeline"}, "OK"),
    ("start_pipeline_execution", {"name": "MyFirstPipeline"}, "OK"),
    ("list_pipeline_executions", FIRST, "OK"),
    ("list_action_executions", FIRST, "OK"),
    ("disable_stage_transition", {**BETA, "reason": "An example reason"}, "OK"),
    ("enable_stage_transition", BETA, "OK"),
    ("retry_stage_execution", {**FIRST, "stageName": "Beta", "pipelineExecutionId": NO_EXECUTION, "retryMode": "FAILED_ACTIONS"}, "NotLatestPipelineExecutionException"),
    ("tag_resource", {**FIRST_ARN, "tags": [tag("Project", "ProjectA"), tag("IscontainerBased", "true")]}, "OK"),
    ("list_tags_for_resource", FIRST_ARN, "OK"),
    ("untag_resource", {**FIRST_ARN, "tagKeys": ["Project", "IscontainerBased"]}, "OK"),
    ("create_pipeline", {"pipeline": of_terraform("pipeline_name")}, "OK"),
    ("put_webhook", {"webhook": WEBHOOK, "tags": [tag("Project", "ProjectA")]}, "OK"),
    ("list_webhooks", {}, "OK"),
    ("register_webhook_with_third_party", {"webhookName": "my-webhook"}, "OK"),
    ("deregister_webhook_with_third_party", {"webhookName": "my-webhook"}, "OK"),
    ("delete_webhook", {"name": "my-webhook"}, "OK"),
    # As it is printed, its URLs have a property that it does not declare.
    ("create_custom_action_type", {**CUSTOM_TYPE, "configurationProperties": []}, "ValidationException"),
    ("create_custom_action_type", CUSTOM_TYPE, "OK"),
    ("list_action_types", {"actionOwnerFilter": "Custom"}, "OK"),
    ("delete_custom_action_type", JENKINS, "OK"),
    ("delete_pipeline", {"name": "MySecondPipeline"}, "OK"),
    ("poll_for_jobs", {"actionTypeId": {**JENKINS, "category": "Test", "owner": "Custom"}, "maxBatchSize": 5, "queryParam": {"ProjectName": "MyJenkinsTestProject"}}, "ActionTypeNotFoundException"),
    ("get_job_details", {"jobId": NO_EXECUTION}, "JobNotFoundException"),
    ("acknowledge_job", {"jobId": NO_EXECUTION, "nonce": "3"}, "JobNotFoundException"),
]  # fmt: skip


def test_the_examples_of_the_aws_command(client: Any, idle: Callable[[str], str]) -> None:
    for name in ("MyFirstPipeline", "MySecondPipeline", "pipeline_name"):
        idle(name)
    answered = [(name, answer_of(getattr(client, name), members)) for name, members, _ in EXAMPLES]

    assert answered == [(name, answer) for name, _, answer in EXAMPLES]


def answer_of(operation: Callable[..., Any], members: dict[str, Any]) -> str:
    try:
        operation(**members)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "OK"


def test_a_policy_of_custodian_that_tags_and_one_that_deletes(
    aws: Callable[..., Any], client: Any, name: str
) -> None:
    """Custodian asks who it is, lists, reads each one and all tags at once; actions name the ARNs that it has made."""
    client.create_pipeline(pipeline=of_moto(name))
    tagging = aws("resourcegroupstaggingapi")
    assert aws("sts").get_caller_identity()["Account"] == ACCOUNT

    def resources() -> list[dict[str, Any]]:
        pages = client.get_paginator("list_pipelines").paginate()
        names = [each["name"] for page in pages for each in page["pipelines"] if each["name"] == name]
        found = tagging.get_paginator("get_resources").paginate(ResourceTypeFilters=["codepipeline"])
        tags = {
            each["ResourceARN"]: each["Tags"] for page in found for each in page["ResourceTagMappingList"]
        }
        return [
            {**client.get_pipeline(name=each)["pipeline"], "Tags": tags.get(f"{ARN}{each}", [])}
            for each in names
        ]

    assert [each["Tags"] for each in resources()] == [[]]
    done = tagging.tag_resources(ResourceARNList=[f"{ARN}{name}"], Tags={"owner": "unknown"})
    assert done.get("FailedResourcesMap", {}) == {}
    assert [each["Tags"] for each in resources()] == [[{"Key": "owner", "Value": "unknown"}]]
    client.delete_pipeline(name=name)
    assert resources() == []


def test_what_prowler_reads(aws: Callable[..., Any], client: Any, name: str) -> None:
    """It walks through all regions, and asks for the tags of ARNs that do not exist (`pipeline/` before the name)."""
    client.create_pipeline(pipeline=of_terraform(name))
    found = {
        region: [
            each["name"]
            for page in aws(region_name=region).get_paginator("list_pipelines").paginate()
            for each in page["pipelines"]
        ]
        for region in ("us-east-1", "eu-west-1")
    }
    assert name in found["us-east-1"]
    assert found["eu-west-1"] == []
    source = client.get_pipeline(name=name)["pipeline"]["stages"][0]["actions"][0]
    assert source["configuration"]["OAuthToken"] == "****"
    assert source["actionTypeId"]["provider"] == "GitHub"
    code, _ = refused(client.list_tags_for_resource, resourceArn=f"{ARN}pipeline/{name}")  # which it logs
    assert code in ("InvalidArnException", "ResourceNotFoundException")


def test_a_request_of_the_javascript_sdk(gateway: str, client: Any, name: str) -> None:
    """Its own headers are signed too; it sends JSON, and takes the answer's exception from `__type`."""
    client.create_pipeline(pipeline=of_moto(name))

    def ask(operation: str, body: str) -> httpx.Response:
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"CodePipeline_20150709.{operation}",
            "amz-sdk-invocation-id": str(uuid4()),
            "amz-sdk-request": "attempt=1; max=3",
            "x-amz-user-agent": "aws-sdk-js/3.1138.0",
        }
        request = AWSRequest("POST", f"{gateway}/", headers, body)
        SigV4Auth(Credentials("testing", "testing-secret"), "codepipeline", "us-east-1").add_auth(request)
        return httpx.post(f"{gateway}/", content=body, headers=dict(request.headers.items()))

    answer = ask("GetPipelineState", f'{{"name":"{name}"}}')
    assert answer.status_code == 200
    check_value(output_shape("GetPipelineState"), answer.json(), "GetPipelineState")
    assert answer.json()["pipelineName"] == name
    missing = ask("GetPipelineState", '{"name":"not-existing"}')
    assert (missing.status_code, missing.json()["__type"]) == (400, "PipelineNotFoundException")
