"""Deploy/AWS/CodeDeploy/1 against written answers of CodeDeploy, moto's CodeDeploy where it answers, and moto's S3."""

from __future__ import annotations

import io
import logging
import os
import zipfile
from collections.abc import Callable, Iterator
from datetime import timezone
from pathlib import Path
from typing import Any

import pytest
from aws_server import DroppedError, RefusalError, in_turn
from codedeploy_answers import CodeDeploy, event, now, state
from faulty_endpoint import Fault, refusal
from provider_calls import call_to_its_end
from pydantic import ValidationError

from prefect_codepipeline.actions.aws import client, location, remote_work
from prefect_codepipeline.actions.registry import (
    ActionContext,
    ActionResult,
    Earlier,
    WorkGoesOn,
    get_provider,
)
from prefect_codepipeline.actions.work import InputTree
from prefect_codepipeline.blocks.codedeploy_application import CodeDeployApplication
from prefect_codepipeline.errors import ActionAbandoned, ActionFailed, ActionInterrupted
from prefect_codepipeline.model.codedeploy.group import DeploymentGroup as DeploymentGroupSettings
from prefect_codepipeline.model.definition.action_settings import ActionSettings
from prefect_codepipeline.model.definition.aws_settings import AwsSettings
from prefect_codepipeline.prefect_api.block_documents import delete_block
from prefect_codepipeline.tasks.providers.deploy.codedeploy_deploy import (
    CodeDeployConfiguration,
    deploy_with_codedeploy,
)

PAGE = "https://us-east-1.console.aws.amazon.com/codesuite/codedeploy/deployments/d-1?region=us-east-1"
WHAT = "deployment group 'web' of application 'shop' in us-east-1"
# Whether a group is on own hosts is in a block.
pytestmark = [pytest.mark.live, pytest.mark.usefixtures("prefect_server")]
APP_SPEC = "version: 0.0\nos: linux\nfiles: [{source: /, destination: /srv/shop}]\n"
GIVEN = {"ApplicationName": "shop", "DeploymentGroupName": "web"}


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_work, "SHORTEST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(remote_work, "LONGEST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(client, "ATTEMPTS", 0)


def target(name: str, *events: dict[str, Any]) -> dict[str, Any]:
    status = "Failed" if any(each["status"] == "Failed" for each in events) else "Succeeded"
    found = {"targetId": name, "status": status, "lifecycleEvents": list(events)}
    return {"deploymentTargetType": "InstanceTarget", "instanceTarget": found}


@pytest.fixture
def codedeploy() -> Iterator[CodeDeploy]:
    server = CodeDeploy()
    yield server
    server.stop()


@pytest.fixture
def bucket(make_bucket: Any) -> str:
    return str(make_bucket())


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "App" / "scripts").mkdir(parents=True)
    (tmp_path / "App" / "appspec.yml").write_text(APP_SPEC)
    (tmp_path / "App" / "scripts" / "start.sh").write_text("#!/bin/sh\n")
    (tmp_path / "App" / "scripts" / "start.sh").chmod(0o755)
    return tmp_path / "App"


@pytest.fixture
def make_context(
    make_aws_context: Any, codedeploy: CodeDeploy, bucket: str, bundle: Path
) -> Callable[..., ActionContext]:
    aws = AwsSettings(endpoint_urls={"codedeploy": codedeploy.url}, location=f"s3://{bucket}/exchange")
    given = {
        "input_artifacts": (InputTree("App", bundle),),
        "settings": ActionSettings(aws=aws),
    }
    return lambda **fields: make_aws_context("Deploy/CodeDeploy", **{**given, **fields})


def run(context: ActionContext) -> ActionResult:
    configuration = CodeDeployConfiguration.model_validate(GIVEN)
    return call_to_its_end(deploy_with_codedeploy, configuration, context)


def test_the_bundle_goes_to_the_location_and_is_deployed_to_its_end(
    aws, aws_endpoint, codedeploy, bucket, make_context
):
    codedeploy.looks = [
        state("Created"),
        state("Queued"),
        state("InProgress", deploymentOverview={"Succeeded": 0, "InProgress": 1, "Pending": 3}),
        state("InProgress", deploymentOverview={"Succeeded": 3, "InProgress": 1}),
        state("Ready", deploymentOverview={"Succeeded": 2, "Ready": 2}),
        state("Succeeded", deploymentOverview={"Succeeded": 3, "Failed": 1}),
    ]
    told: list[Any] = []
    kept: list[Any] = []
    context = make_context(
        report_progress=lambda summary, percent=None, **_: told.append((summary, percent)),
        keep=lambda *given, **found: kept.append((given, found)),
    )

    result = run(context)

    (asked,) = codedeploy.asked("CreateDeployment")
    place = asked.pop("revision").pop("s3Location")
    assert asked == {
        "applicationName": "shop",
        "deploymentGroupName": "web",
        "description": f"Pipeline release, action execution {context.action_execution_id}",
    }
    (stored,) = aws("s3").list_object_versions(Bucket=bucket)["Versions"]
    assert place == {
        "bucket": bucket,
        "key": stored["Key"],
        "bundleType": "zip",
        "version": stored["VersionId"],
        "eTag": stored["ETag"].strip('"'),
    }
    assert stored["Key"].startswith("exchange/release/App/")
    body = aws("s3").get_object(Bucket=bucket, Key=stored["Key"])["Body"].read()
    with zipfile.ZipFile(io.BytesIO(body)) as packed:
        assert sorted(packed.namelist()) == ["appspec.yml", "scripts/", "scripts/start.sh"]
        assert packed.getinfo("scripts/start.sh").external_attr >> 16 & 0o777 == 0o755
    assert result.summary == f"deployment 'd-1' to {WHAT} succeeded"
    assert (result.external_execution_id, result.external_execution_url) == ("d-1", PAGE)
    assert not result.output_variables
    assert told == [
        ("uploading the bundle to S3", None),
        ("deployment d-1: Created, waits until CodeDeploy takes it up", None),
        ("deployment d-1: Queued, waits for its turn in CodeDeploy", None),
        ("deployment d-1: InProgress: InProgress 1, Pending 3", 0),
        ("deployment d-1: InProgress: Succeeded 3, InProgress 1", 75),
        (
            "deployment d-1: Ready, waits until its traffic is shifted in CodeDeploy: Succeeded 2, Ready 2",
            50,
        ),
        ("deployment d-1: Succeeded: Succeeded 3, Failed 1", 75),
    ]
    assert kept == [(("d-1", PAGE), {"deployment": "d-1"})]
    assert len(codedeploy.requests) == 1 + len(codedeploy.asked("GetDeployment"))  # one request a look
    assert len(aws_endpoint.requests) == 1  # and nothing of S3 beside the upload


def test_a_bundle_that_is_there_keeps_its_etag_for_the_deployments_that_read_it(
    aws, codedeploy, make_bucket, bundle, make_context
):
    """The dates of the files differ with each action, and with them the archives."""
    plain = make_bucket(versions=False)
    settings = ActionSettings(
        aws=AwsSettings(endpoint_urls={"codedeploy": codedeploy.url}, location=f"s3://{plain}")
    )

    run(make_context(settings=settings))
    for path in bundle.rglob("*"):
        os.utime(path, (1e9, 1e9))
    run(make_context(settings=settings))

    one, two = (each["revision"]["s3Location"] for each in codedeploy.asked("CreateDeployment"))
    assert one == two
    assert "version" not in one
    (stored,) = aws("s3").list_objects_v2(Bucket=plain)["Contents"]
    assert one["eTag"] == stored["ETag"].strip('"')


def test_the_location_of_the_block_precedes_that_of_the_settings(aws, codedeploy, make_bucket, make_context):
    own = str(make_bucket())
    far = DeploymentGroupSettings(name="web", where="aws")
    CodeDeployApplication(deployment_groups=[far], aws_location=f"s3://{own}/bundles").save(
        "shop", overwrite=True
    )
    try:
        run(make_context())
    finally:
        delete_block(CodeDeployApplication, "shop")

    (asked,) = codedeploy.asked("CreateDeployment")
    assert asked["revision"]["s3Location"]["bucket"] == own
    assert asked["revision"]["s3Location"]["key"].startswith("bundles/")


@pytest.mark.parametrize("place", ["appspec.yaml", "shop-1.0/appspec.yml", "shop-1.0/appspec.yaml"])
def test_an_appspec_may_have_another_ending_and_lie_in_the_only_folder(
    codedeploy, make_context, bundle, place
):
    for name in ("appspec.yml", "scripts/start.sh"):
        (bundle / name).unlink()
    (bundle / "scripts").rmdir()
    (bundle / place).parent.mkdir(exist_ok=True)
    (bundle / place).write_text(APP_SPEC)

    assert run(make_context()).external_execution_id == "d-1"


@pytest.mark.parametrize(
    ("place", "found"),
    [
        (None, ""),
        ("AppSpec.yml", ""),
        ("appspec.yml/file", ""),
        ("deploy/appspec.yaml", "; it is in 'deploy/appspec.yaml', where CodeDeploy does not look"),
        ("a/b/appspec.yml", "; it is in 'a/b/appspec.yml', where CodeDeploy does not look"),
    ],
)
def test_a_bundle_without_an_appspec_is_refused_before_anything_starts(
    aws_endpoint, codedeploy, make_context, bundle, place, found
):
    (bundle / "appspec.yml").unlink()
    if place:
        (bundle / place).parent.mkdir(parents=True, exist_ok=True)
        (bundle / place).write_text(APP_SPEC)

    with pytest.raises(ActionFailed) as failed:
        run(make_context())

    assert str(failed.value) == (
        f"input artifact 'App' has no appspec.yml or appspec.yaml at its root{found}; put it there, or let the build "
        "give an output artifact that has it at its root"
    )
    assert failed.value.code == "ConfigurationError"
    assert not codedeploy.asked("CreateDeployment")
    assert not aws_endpoint.requests


def test_without_a_location_it_is_said_what_to_set(codedeploy, make_context):
    settings = ActionSettings(aws=AwsSettings(endpoint_urls={"codedeploy": codedeploy.url}))

    with pytest.raises(ActionFailed, match="set 'location' of 'aws' in the pipeline's settings") as failed:
        run(make_context(settings=settings))

    assert failed.value.code == "ConfigurationError"
    assert not codedeploy.asked("CreateDeployment")


def test_a_bundle_that_s3_does_not_take_at_once_is_refused(codedeploy, make_context, monkeypatch):
    monkeypatch.setattr(location, "MOST_BYTES_AT_ONCE", 10)

    with pytest.raises(
        ActionFailed, match=r"'App' has \d+ bytes as a ZIP archive; S3 takes at most 10 in"
    ) as failed:
        run(make_context())

    assert failed.value.code == "ConfigurationError"
    assert not codedeploy.asked("CreateDeployment")


@pytest.mark.parametrize("status", ["Failed", "Stopped"])
def test_a_failure_names_the_first_hosts_their_event_script_and_last_lines(
    codedeploy, make_context, caplog, status
):
    error = {"code": "HEALTH_CONSTRAINTS", "message": "Too many individual instances failed."}
    codedeploy.looks = [
        state(
            status,
            errorInformation=error,
            rollbackInfo={"rollbackDeploymentId": "d-2"},
            deploymentOverview={"Failed": 6, "Succeeded": 1},
        )
    ]
    script = {
        "errorCode": "ScriptFailed",
        "scriptName": "scripts/start.sh",
        "message": "Script at specified location: scripts/start.sh failed with exit code 1",
        "logTail": "LifecycleEvent - ApplicationStart\nScript - scripts/start.sh\n[stderr]no \x1b[31mport\u202e\n\n",
    }
    agent = {"errorCode": "UnknownError", "message": "The agent did not answer."}
    codedeploy.targets = [
        target("i-late", event("Install", "Failed", 30)),
        target("i-2", event("BeforeInstall", "Succeeded"), event("ApplicationStart", "Failed", 20, **script)),
        target("i-1", event("ApplicationStop", "Failed", 10, **agent), event("Install", "Failed", 90)),
        target("i-3", event("Install", "Failed", 25)),
        target("i-good", event("Install", "Succeeded")),
    ]

    with pytest.raises(ActionFailed) as failed:
        run(make_context())

    assert str(failed.value) == (
        f"deployment 'd-1' to {WHAT} ended as {status}: HEALTH_CONSTRAINTS: Too many individual instances failed.; "
        "ApplicationStop of target 'i-1' failed: UnknownError: The agent did not answer.; "
        "ApplicationStart of target 'i-2' failed: ScriptFailed: scripts/start.sh: Script at specified location: "
        "scripts/start.sh failed with exit code 1: LifecycleEvent - ApplicationStart | Script - scripts/start.sh | "
        "[stderr]no [31mport; Install of target 'i-3' failed; 3 more failed; deployment 'd-2' rolls it back"
    )
    assert failed.value.code == "JobFailed"
    assert (failed.value.external_execution_id, failed.value.external_execution_url) == ("d-1", PAGE)
    assert "its log ends with:\nLifecycleEvent - ApplicationStart\nScript - scripts/start.sh" in caplog.text
    assert not {"\x1b", "\u202e"} & {*caplog.text}
    (asked,) = codedeploy.asked("BatchGetDeploymentTargets")
    assert "i-good" not in asked["targetIds"]
    assert not codedeploy.asked("StopDeployment")


def test_a_group_that_deploys_already_is_a_failed_job(codedeploy, make_context):
    busy = "The Deployment Group 'web' already has an active Deployment 'd-0'"
    codedeploy.answers["CreateDeployment"] = in_turn([RefusalError("DeploymentLimitExceededException", busy)])

    with pytest.raises(ActionFailed) as failed:
        run(make_context())

    assert str(failed.value) == (
        f"starting a deployment to {WHAT}: {busy}; wait for that deployment, or stop it, and retry"
    )
    assert failed.value.code == "JobFailed"


FAULTS = {
    "lost": DroppedError(),
    "throttled": RefusalError("ThrottlingException", "slow down"),
    "away": RefusalError("InternalFailure", "away", 500),
}


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("operation", ["CreateDeployment", "GetDeployment"])
def test_a_lost_answer_throttling_and_silence_start_nothing_twice(
    codedeploy, make_context, monkeypatch, operation, kind
):
    monkeypatch.setattr(client, "ATTEMPTS", 3)  # boto3 would repeat a lost request by itself
    monkeypatch.setattr("time.sleep", lambda _: None)  # its pauses
    codedeploy.fail_once(operation, FAULTS[kind], is_done=kind == "lost")

    assert run(make_context()).external_execution_id == "d-1"
    assert list(codedeploy.deployments) == ["d-0", "d-1"]


@pytest.mark.parametrize(
    "what",
    ["drop", refusal(503, "SlowDown"), refusal(409, "ConditionalRequestConflict")],
    ids=["lost", "throttled", "another upload"],
)
def test_an_upload_that_s3_does_not_take_yet_is_tried_again(
    aws_endpoint, codedeploy, bucket, make_context, what
):
    aws_endpoint.faults = [Fault("PUT", bucket, what, times=2)]

    assert run(make_context()).external_execution_id == "d-1"
    assert [request.method for request in aws_endpoint.requests] == ["PUT", "PUT", "PUT"]
    assert len(codedeploy.asked("CreateDeployment")) == 1


@pytest.mark.parametrize("died", ["before keep", "after keep", "after the end"])
def test_another_process_follows_the_same_deployment(codedeploy, make_context, died):
    codedeploy.looks = [state("InProgress"), state("Succeeded")]
    kept: dict[str, str] = {}
    first = make_context()

    def keep(_: str, __: str | None = None, **found: str) -> None:
        if died != "before keep":
            kept.update(found)
        if died != "after the end":
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
    assert not codedeploy.asked("StopDeployment")

    second = make_context(
        earlier=Earlier(now(), kept.get("deployment"), state=kept),
        action_execution_id=first.action_execution_id,
        input_artifacts=(),  # they are gone
    )
    assert get_provider(second.action.action_type_id).may_restart(None, second)
    result = run(second)

    assert result.external_execution_id == "d-1"
    assert list(codedeploy.deployments) == ["d-0", "d-1"]
    for asked in codedeploy.asked("ListDeployments"):
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
def test_an_abandoned_deployment_and_one_whose_time_is_up_are_stopped(
    codedeploy, make_context, why, answer, said
):
    codedeploy.looks = [state("InProgress")]
    codedeploy.answers["StopDeployment"] = in_turn([answer])
    context = make_context(
        seconds=60 if why == "abandoned" else 0,
        earlier=Earlier(now(), "d-1", PAGE, state={"deployment": "d-1"}),
        input_artifacts=(),  # they are gone
    )
    if why == "abandoned":
        context.cancellation.cancel()

    with pytest.raises((ActionAbandoned, ActionFailed), match=said.replace("?", r"\?")) as ended:
        run(context)

    assert isinstance(ended.value, ActionAbandoned) is (why == "abandoned")
    assert getattr(ended.value, "code", "Timeout") == "Timeout"
    assert codedeploy.asked("StopDeployment") == [{"deploymentId": "d-1", "autoRollbackEnabled": True}]


@pytest.mark.parametrize(
    ("operation", "answer", "code", "message"),
    [
        ("CreateDeployment", RefusalError("ApplicationDoesNotExistException", "x"), "ConfigurationError", "correct Appl"),
        ("CreateDeployment", RefusalError("DeploymentGroupDoesNotExistException", "x"), "ConfigurationError",
         f"there is no {WHAT}; correct"),
        ("CreateDeployment", RefusalError("InvalidRevisionException", "not for Lambda"), "ConfigurationError", "not for"),
        ("CreateDeployment", None, "PermissionError", f"starting a deployment to {WHAT}"),
        ("CreateDeployment", {}, "ConfigurationError", "does not answer as CodeDeploy does"),
        ("GetDeployment", {}, "ConfigurationError", "does not answer as CodeDeploy does"),
        ("GetDeployment", RefusalError("ExpiredTokenException", "x"), "PermissionError", "renew the credentials"),
    ],
)  # fmt: skip
def test_what_codedeploy_refuses_is_named(codedeploy, make_context, operation, answer, code, message):
    codedeploy.answers.pop(operation)
    if answer is not None:
        codedeploy.answers[operation] = in_turn([answer])

    with pytest.raises(ActionFailed) as failed:
        run(make_context())

    assert message in str(failed.value)
    assert failed.value.code == code
    assert "testing-secret" not in str(failed.value)


@pytest.mark.parametrize(
    ("what", "code", "message"),
    [
        (refusal(403, "AccessDenied"), "PermissionError", "AWS refused"),
        (refusal(404, "NoSuchBucket"), "ConfigurationError", "NoSuchBucket"),
    ],
    ids=["denied", "no bucket"],
)  # fmt: skip
def test_an_upload_that_s3_refuses_is_named(
    aws_endpoint, codedeploy, bucket, make_context, what, code, message
):
    aws_endpoint.faults = [Fault("PUT", bucket, what)]

    with pytest.raises(
        ActionFailed, match=rf"uploading 'App/\w+/revision.zip' to s3://{bucket}/.*{message}"
    ) as failed:
        run(make_context())

    assert failed.value.code == code
    assert not codedeploy.asked("CreateDeployment")


def test_moto_knows_the_deployment_which_it_never_begins(aws, make_context, bucket, caplog):
    """What it does not do: to end a deployment, to stop it, and its targets."""
    caplog.set_level(logging.INFO)
    settings = ActionSettings(aws=AwsSettings(location=f"s3://{bucket}"))
    configuration = CodeDeployConfiguration.model_validate(GIVEN)
    codedeploy = aws("codedeploy")
    codedeploy.create_application(applicationName="shop", computePlatform="Server")
    with pytest.raises(ActionFailed, match=f"there is no {WHAT}; correct") as failed:
        deploy_with_codedeploy(configuration, make_context(settings=settings))
    assert failed.value.code == "ConfigurationError"
    role = "arn:aws:iam::123456789012:role/codedeploy"
    codedeploy.create_deployment_group(applicationName="shop", deploymentGroupName="web", serviceRoleArn=role)

    kept: list[str] = []
    first = make_context(settings=settings, keep=lambda *given, **_: kept.append(given[0]))
    with pytest.raises(WorkGoesOn) as work:
        deploy_with_codedeploy(configuration, first)
    second = make_context(
        settings=settings,
        action_execution_id=first.action_execution_id,
        earlier=Earlier(now()),
        keep=lambda *given, **_: kept.append(given[0]),
        input_artifacts=(),
    )
    with pytest.raises(WorkGoesOn):
        deploy_with_codedeploy(configuration, second)

    listed = codedeploy.list_deployments(applicationName="shop", deploymentGroupName="web")
    (deployment,) = listed["deployments"]
    assert kept == [deployment, deployment]
    said = f"deployment {deployment}: Created, waits until CodeDeploy takes it up"
    assert work.value.waiting.summary == said
    info = codedeploy.get_deployment(deploymentId=deployment)["deploymentInfo"]
    (stored,) = aws("s3").list_object_versions(Bucket=bucket)["Versions"]
    assert info["revision"]["s3Location"]["version"] == stored["VersionId"]
    assert info["description"].endswith(first.action_execution_id)


@pytest.mark.parametrize(
    "given",
    [
        {"ApplicationName": "shop"},
        {**GIVEN, "DeploymentGroupName": ""},
        {**GIVEN, "DeploymentConfigName": "All"},
    ],
)
def test_rejects_configuration(given):
    with pytest.raises(ValidationError):
        CodeDeployConfiguration.model_validate(given)
