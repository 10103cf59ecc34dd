"""Deploy/AWS/CodeDeployToECS/1 against written answers of ECS and CodeDeploy over HTTP."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import timezone
from pathlib import Path
from typing import Any

import pytest
from aws_environment import use_endpoint
from aws_server import DroppedError, RefusalError, in_turn
from codedeploy_answers import CodeDeploy, event, now, state
from provider_calls import call_to_its_end
from pydantic import ValidationError

from prefect_codepipeline.actions.aws import client, remote_work
from prefect_codepipeline.actions.registry import ActionContext, ActionResult, Earlier, get_provider
from prefect_codepipeline.actions.work import InputTree
from prefect_codepipeline.errors import ActionAbandoned, ActionFailed, ActionInterrupted
from prefect_codepipeline.tasks.providers.deploy.codedeploy_to_ecs import (
    CodeDeployToEcsConfiguration,
    deploy_to_ecs_with_codedeploy,
)

ARN = "arn:aws:ecs:eu-west-1:123456789012:task-definition/web:1"
PAGE = "https://eu-west-1.console.aws.amazon.com/codesuite/codedeploy/deployments/d-1?region=eu-west-1"
TAG = "codepipeline:action-execution-id"
TASK_DEFINITION = {
    "family": "web",
    "containerDefinitions": [
        {"name": "app", "image": "<APP>", "environment": [{"name": "IMAGE", "value": "<APP>"}]},
        {"name": "log", "image": "<LOG>"},
    ],
    "tags": [{"key": "team", "value": "shop"}],
}
APP_SPEC = """version: 0.0
Resources:
  - TargetService:
      Type: AWS::ECS::Service
      Properties: {TaskDefinition: <TASK_DEFINITION>, LoadBalancerInfo: {ContainerName: app, ContainerPort: 80}}
"""
IMAGES = {"AppImage": "registry/web@sha256:1", "LogImage": "registry/log@sha256:2"}
GIVEN = {
    "ApplicationName": "shop",
    "DeploymentGroupName": "blue-green",
    "TaskDefinitionTemplateArtifact": "Source",
    "AppSpecTemplateArtifact": "Source",
    "Image1ArtifactName": "AppImage",
    "Image1ContainerName": "APP",
    "Image2ArtifactName": "LogImage",
    "Image2ContainerName": "LOG",
}


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_work, "SHORTEST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(remote_work, "LONGEST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(client, "ATTEMPTS", 0)


class CodeDeployAndEcs(CodeDeploy):
    """Task definitions that are registered, beside the deployments."""

    def __init__(self) -> None:
        super().__init__()
        self.registered: list[dict[str, Any]] = []
        self.answers |= {
            "RegisterTaskDefinition": self.register,
            "ListTaskDefinitions": lambda _: {"taskDefinitionArns": [ARN] if self.registered else []},
            "DescribeTaskDefinition": lambda _: {"taskDefinition": {}, "tags": self.registered[0]["tags"]},
        }

    def register(self, request: dict[str, Any]) -> dict[str, Any]:
        self.registered.append(request)
        return {"taskDefinition": {"taskDefinitionArn": ARN}}


def target(*events: dict[str, Any]) -> dict[str, Any]:
    found = {"targetId": "shop:web", "status": "Unknown", "lifecycleEvents": list(events)}
    return {"deploymentTargetType": "ECSTarget", "ecsTarget": found}


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[CodeDeployAndEcs]:
    server = CodeDeployAndEcs()
    use_endpoint(monkeypatch, server.url, "eu-west-1")
    yield server
    server.stop()


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], None]:
    def write(name: str, content: str | bytes) -> None:
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)

    write("Source/taskdef.json", json.dumps(TASK_DEFINITION))
    write("Source/appspec.yaml", APP_SPEC)
    for artifact, image in IMAGES.items():
        write(f"{artifact}/imageDetail.json", json.dumps({"ImageURI": image, "ImageTags": ["1"]}))
    return write


@pytest.fixture
def make_context(make_aws_context: Any, tmp_path: Path, write: Any) -> Callable[..., ActionContext]:
    trees = tuple(InputTree(name, tmp_path / name) for name in ("Source", *IMAGES))
    return lambda **fields: make_aws_context("Deploy/CodeDeployToECS", **{"input_artifacts": trees, **fields})


def run(context: ActionContext, **more: str) -> ActionResult:
    configuration = CodeDeployToEcsConfiguration.model_validate({**GIVEN, **more})
    return call_to_its_end(deploy_to_ecs_with_codedeploy, configuration, context)


def test_images_and_task_definition_take_the_place_of_their_placeholders(aws, make_context):
    aws.looks = [
        state("Created"),
        state("InProgress", deploymentOverview={"Pending": 0, "InProgress": 1}),
        state("Ready"),
        state("InProgress", instanceTerminationWaitTimeStarted=True),
        state("InProgress", deploymentOverview={"Succeeded": 1, "Failed": 1, "Pending": 2}),
        state("Succeeded"),
    ]
    told: list[Any] = []
    kept: list[Any] = []
    context = make_context(
        report_progress=lambda **given: told.append((given["summary"], given["percent"])),
        keep=lambda *given, **found: kept.append(found),
    )

    result = run(context)

    (asked,) = aws.asked("RegisterTaskDefinition")
    assert asked == {
        "family": "web",
        "containerDefinitions": [
            {
                "name": "app",
                "image": IMAGES["AppImage"],
                "environment": [{"name": "IMAGE", "value": IMAGES["AppImage"]}],
            },
            {"name": "log", "image": IMAGES["LogImage"]},
        ],
        "tags": [{"key": "team", "value": "shop"}, {"key": TAG, "value": context.action_execution_id}],
    }
    (asked,) = aws.asked("CreateDeployment")
    content = APP_SPEC.replace("<TASK_DEFINITION>", ARN)
    assert asked == {
        "applicationName": "shop",
        "deploymentGroupName": "blue-green",
        "description": f"Pipeline release, action execution {context.action_execution_id}",
        "revision": {
            "revisionType": "AppSpecContent",
            "appSpecContent": {"content": content, "sha256": hashlib.sha256(content.encode()).hexdigest()},
        },
    }
    assert result.summary == (
        "deployment 'd-1' to deployment group 'blue-green' of application 'shop' in eu-west-1 deployed 'web:1'"
    )
    assert (result.external_execution_id, result.external_execution_url) == ("d-1", PAGE)
    assert told == [
        ("deployment d-1: Created, waits until CodeDeploy takes it up", None),
        ("deployment d-1: InProgress", None),
        ("deployment d-1: Ready, waits until its traffic is shifted in CodeDeploy", None),
        (
            "deployment d-1: InProgress, the traffic has been shifted, and what ran before is kept for a while",
            None,
        ),
        ("deployment d-1: InProgress: Succeeded 1, Failed 1, Pending 2", 25),
        ("deployment d-1: Succeeded", None),
    ]
    assert kept == [{"task-definition": ARN}, {"deployment": "d-1"}]
    assert len(aws.requests) == 2 + len(told)  # one request a look


def test_files_by_other_names_and_what_only_ecs_sets(aws, make_context, write, caplog):
    write("LogImage/web.json", json.dumps({**TASK_DEFINITION, "revision": 7, "status": "ACTIVE"}))
    write("LogImage/spec.json", '{"version": 0.0, "TaskDefinition": "arn:fixed"}')

    run(
        make_context(),
        TaskDefinitionTemplateArtifact="LogImage",
        TaskDefinitionTemplatePath="web.json",
        AppSpecTemplateArtifact="LogImage",
        AppSpecTemplatePath="spec.json",
    )

    (asked,) = aws.asked("RegisterTaskDefinition")
    assert not {"revision", "status"} & asked.keys()
    assert "revision, status of the task definition are set by ECS, and left out" in caplog.text
    assert "spec.json has no <TASK_DEFINITION>" in caplog.text


def test_an_image_without_a_placeholder_is_reported(aws, make_context, caplog):
    run(
        make_context(),
        Image2ContainerName="<LOG>",
        Image3ArtifactName="AppImage",
        Image3ContainerName="THIRD",
    )

    assert "taskdef.json has no <THIRD>: image registry/web@sha256:1 is not used" in caplog.text
    assert "<LOG>" not in caplog.text


@pytest.mark.parametrize("status", ["Failed", "Stopped"])
def test_a_failure_has_codedeploys_error_the_first_event_that_failed_and_the_rollback(
    aws, make_context, status
):
    error = {"code": "HOOK_EXECUTION_FAILURE", "message": "A hook failed."}
    aws.looks = [
        state("InProgress"),
        state(status, errorInformation=error, rollbackInfo={"rollbackDeploymentId": "d-2"}),
    ]
    lines = {
        "errorCode": "ScriptFailed",
        "scriptName": "check",
        "message": "exit 1",
        "logTail": "x" * 999 + "boom\n",
    }
    aws.targets = [
        target(event("AllowTraffic", "Failed", 9), event("Install", "Succeeded", 0)),
        target(event("AfterAllowTestTraffic", "Failed", 5, **lines)),
    ]

    with pytest.raises(ActionFailed) as failed:
        run(make_context())

    assert str(failed.value) == (
        "deployment 'd-1' to deployment group 'blue-green' of application 'shop' in eu-west-1 ended as "
        f"{status}: HOOK_EXECUTION_FAILURE: A hook failed.; AfterAllowTestTraffic of target 'shop:web' failed: ScriptFailed: "
        f"check: exit 1: {'x' * 296}boom; deployment 'd-2' rolls it back"
    )
    assert failed.value.code == "JobFailed"
    assert (failed.value.external_execution_id, failed.value.external_execution_url) == ("d-1", PAGE)
    assert not aws.asked("StopDeployment")


def test_silence_while_the_cause_is_looked_for_is_borne(aws, make_context):
    aws.looks = [state("Failed")]
    aws.targets = [target(event("Install", "Failed"))]
    aws.answers["BatchGetDeploymentTargets"] = in_turn([DroppedError(), {"deploymentTargets": aws.targets}])

    with pytest.raises(ActionFailed, match="Install of target 'shop:web' failed"):
        run(make_context())


def test_a_failure_whose_targets_cannot_be_read(aws, make_context):
    aws.looks = [state("Failed")]
    del aws.answers["ListDeploymentTargets"]

    with pytest.raises(ActionFailed, match=r"ended as Failed: CodeDeploy gives no error$"):
        run(make_context())


def test_a_group_that_deploys_already_is_a_failed_job(aws, make_context):
    busy = "The Deployment Group 'blue-green' already has an active Deployment 'd-0'"
    aws.answers["CreateDeployment"] = in_turn([RefusalError("DeploymentLimitExceededException", busy)])

    with pytest.raises(
        ActionFailed, match="active Deployment 'd-0'; wait for that deployment, or stop it"
    ) as failed:
        run(make_context())
    assert failed.value.code == "JobFailed"


@pytest.mark.parametrize("kind", ["lost", "throttled", "away"])
@pytest.mark.parametrize("operation", ["RegisterTaskDefinition", "CreateDeployment", "GetDeployment"])
def test_a_lost_answer_throttling_and_silence_start_nothing_twice(
    aws, make_context, monkeypatch, operation, kind
):
    monkeypatch.setattr(client, "ATTEMPTS", 3)  # boto3 would repeat a lost request by itself
    monkeypatch.setattr("time.sleep", lambda _: None)  # its pauses
    faults = {
        "lost": DroppedError(),
        "throttled": RefusalError("ThrottlingException", "slow down"),
        "away": RefusalError("InternalFailure", "away", 500),
    }
    aws.fail_once(operation, faults[kind], is_done=kind == "lost")

    assert run(make_context()).external_execution_id == "d-1"
    assert (len(aws.registered), list(aws.deployments)) == (1, ["d-0", "d-1"])


@pytest.mark.parametrize(
    "died", ["before the revision is kept", "before keep", "after keep", "after the end"]
)
def test_another_process_follows_the_same_deployment(aws, make_context, died):
    aws.looks = [state("InProgress"), state("Succeeded")]
    kept: dict[str, str] = {}
    first = make_context()

    def keep(_: str, __: str | None = None, **found: str) -> None:
        if died in ("after keep", "after the end") or (died == "before keep" and "deployment" not in found):
            kept.update(found)
        if died == "before the revision is kept" or ("deployment" in found and died != "after the end"):
            first.cancellation.leave()

    first = make_context(
        action_execution_id=first.action_execution_id, keep=keep, cancellation=first.cancellation
    )
    if died == "after the end":
        run(first)
        kept.clear()  # and what it kept is lost, which is the harder case
    else:
        with pytest.raises(ActionInterrupted):
            run(first)
    assert not aws.asked("StopDeployment")

    inputs = {"input_artifacts": ()} if died == "after keep" else {}  # they are gone
    second = make_context(
        earlier=Earlier(now(), kept.get("deployment"), state=kept),
        action_execution_id=first.action_execution_id,
        **inputs,
    )
    assert get_provider(second.action.action_type_id).may_restart(None, second)
    result = run(second)

    assert result.external_execution_id == "d-1"
    assert (len(aws.registered), list(aws.deployments)) == (1, ["d-0", "d-1"])
    for asked in aws.asked("ListDeployments"):
        start = asked["createTimeRange"]["start"].replace(tzinfo=timezone.utc)
        assert now(-400) < start < now(-290)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"status": "Pending"}, "deployment 'd-1' is stopped, and CodeDeploy rolls it back"),
        (RefusalError("DeploymentAlreadyCompletedException", "done"), "deployment 'd-1' had ended already"),
        (RefusalError("AccessDeniedException", "no"), f"may still run: stopping deployment 'd-1': .*stop it at {PAGE}"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("why", ["abandoned", "timeout"])
def test_an_abandoned_deployment_and_one_whose_time_is_up_are_stopped(aws, make_context, why, answer, said):
    aws.looks = [state("InProgress")]
    aws.answers["StopDeployment"] = in_turn([answer])
    kept = {"task-definition": ARN, "deployment": "d-1"}
    context = make_context(
        seconds=60 if why == "abandoned" else 0, earlier=Earlier(now(), "d-1", PAGE, state=kept)
    )
    if why == "abandoned":
        context.cancellation.cancel()

    with pytest.raises((ActionAbandoned, ActionFailed), match=said.replace("?", r"\?")) as ended:
        run(context)

    assert isinstance(ended.value, ActionAbandoned) is (why == "abandoned")
    assert getattr(ended.value, "code", "Timeout") == "Timeout"
    assert aws.asked("StopDeployment") == [{"deploymentId": "d-1", "autoRollbackEnabled": True}]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("Source/taskdef.json", "{", "TaskDefinitionTemplatePath: 'taskdef.json' of 'Source' is not JSON"),
        ("Source/taskdef.json", "[]", "is not a JSON object"),
        ("Source/taskdef.json", '{"taskDefinition": {}}', "has no 'family'"),
        ("Source/taskdef.json", "[" * 99_999, "is not JSON"),
        ("Source/taskdef.json", b"\xff", "TaskDefinitionTemplatePath: 'taskdef.json' of 'Source' is not UTF-8"),
        ("Source/taskdef.json", " " * (3 * 1024 * 1024 + 1), "has 3,145,729 bytes; the limit is 3,145,728"),
        ("Source/taskdef.json", None, "input artifact 'Source' has no file 'taskdef.json'"),
        (
            "Source/taskdef.json", '{"family": "web", "containerDefinitions": [{"name": "a", "image": "<IMAGE1_NAME>"}]}',
            "container 'a' has the image <IMAGE1_NAME>; name this placeholder in Image1ContainerName as 'IMAGE1_NAME'",
        ),
        ("Source/taskdef.json", '{"family": "web", "cpus": "1"}', "Unknown parameter"),
        ("Source/appspec.yaml", None, "AppSpecTemplatePath: input artifact 'Source' has no file 'appspec.yaml'"),
        ("LogImage/imageDetail.json", None, "Image2ArtifactName: input artifact 'LogImage' has no file 'imageDetail.json'"),
        ("LogImage/imageDetail.json", '[{"imageUri": "x"}]', "imageDetail.json of 'LogImage' is not a JSON object"),
        ("LogImage/imageDetail.json", '{"ImageURI": ""}', "imageDetail.json of 'LogImage' has no text 'ImageURI'"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_named(aws, make_context, write, tmp_path, file, text, message):
    if text is None:
        (tmp_path / file).unlink()
    else:
        write(file, text)

    with pytest.raises(ActionFailed) as failed:
        run(make_context())

    assert message in str(failed.value)
    assert failed.value.code == "ConfigurationError"
    assert not aws.registered


@pytest.mark.parametrize(
    ("operation", "answer", "code", "message"),
    [
        ("CreateDeployment", RefusalError("ApplicationDoesNotExistException", "x"), "ConfigurationError", "correct Appl"),
        ("CreateDeployment", RefusalError("DeploymentGroupDoesNotExistException", "x"), "ConfigurationError",
         "there is no deployment group 'blue-green' of application 'shop' in eu-west-1; correct"),
        ("CreateDeployment", RefusalError("InvalidRevisionException", "no AppSpec"), "ConfigurationError", "no AppSpec"),
        ("CreateDeployment", None, "PermissionError", "starting a deployment to deployment group 'blue-green'"),
        ("CreateDeployment", {}, "ConfigurationError", "does not answer as CodeDeploy does"),
        ("GetDeployment", {}, "ConfigurationError", "does not answer as CodeDeploy does"),
        ("GetDeployment", RefusalError("ExpiredTokenException", "x"), "PermissionError", "renew the credentials"),
    ],
)  # fmt: skip
def test_what_aws_refuses_is_named(aws, make_context, operation, answer, code, message):
    aws.answers.pop(operation)
    if answer is not None:
        aws.answers[operation] = in_turn([answer])

    with pytest.raises(ActionFailed) as failed:
        run(make_context())

    assert message in str(failed.value)
    assert failed.value.code == code
    assert "testing-secret" not in str(failed.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Image3ArtifactName": "X"}, "Image3ArtifactName and Image3ContainerName are given only together"),
        ({"Image5ArtifactName": "X"}, "Extra inputs"),
    ],
)
def test_rejects_configuration(change, message):
    with pytest.raises(ValidationError, match=message):
        CodeDeployToEcsConfiguration.model_validate({**GIVEN, **change})
