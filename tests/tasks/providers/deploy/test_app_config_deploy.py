"""Deploy/AWS/AppConfig/1, against written answers: moto has no deployments of AppConfig."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from aws_environment import use_endpoint
from aws_server import AwsServer, DroppedError, RefusalError, in_turn
from provider_calls import call_to_its_end
from pydantic import ValidationError

from prefect_codepipeline.actions.aws import client, remote_work
from prefect_codepipeline.actions.registry import ActionContext, ActionResult, Earlier
from prefect_codepipeline.actions.work import InputTree
from prefect_codepipeline.errors import ActionAbandoned, ActionFailed, ActionInterrupted
from prefect_codepipeline.tasks.providers.deploy.app_config_deploy import (
    AppConfigConfiguration,
    deploy_configuration,
)

TOKEN = "a1"
CONTENT = b'{"feature": "secret-value"}'
URL = (
    "https://eu-west-1.console.aws.amazon.com/systems-manager/appconfig/applications/app1234/environments/env1234/"
    "deployments/7?region=eu-west-1"
)
WHAT = "deployment 7 to environment 'env1234' of application 'app1234' in eu-west-1"
KEPT = Earlier(datetime.now(timezone.utc), "7", URL, {"deployment": "7"})
CONFLICT = RefusalError("ConflictException", "Environment is deploying deployment 6", 409)
AWAY = RefusalError("InternalServerException", "try later", 500)
GONE = RefusalError("ResourceNotFoundException", "not found", 404)


def deployment(status: str, percent: float = 0, *events: tuple[str, str, str]) -> dict[str, Any]:
    names = ("EventType", "TriggeredBy", "Description")
    log = [dict(zip(names, each, strict=True)) for each in events]
    return {
        "DeploymentNumber": 7,
        "ConfigurationVersion": "3",
        "Description": "<html> in an answer makes no page of it",
        "State": status,
        "PercentageComplete": percent,
        "EventLog": log,
    }


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_work, "SHORTEST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(remote_work, "LONGEST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(remote_work, "LATE_PAUSE_PER_SECOND", 0.0)  # some looks are at old work
    monkeypatch.setattr(client, "ATTEMPTS", 0)


@pytest.fixture
def app_config(monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsServer]:
    """AppConfig, which shows what was made and started, and in which a deployment is complete at the second look."""
    server = AwsServer()
    use_endpoint(monkeypatch, server.url, "eu-west-1")

    def versions(request: dict[str, Any]) -> dict[str, Any]:
        made = [each["VersionLabel"] for each in server.asked("CreateHostedConfigurationVersion")]
        found = {"VersionNumber": 3, "VersionLabel": request["VersionLabel"]}
        return {"Items": [found] if request["VersionLabel"] in made else []}

    def deployments(_: dict[str, Any]) -> dict[str, Any]:
        older = {"DeploymentNumber": 6, "VersionLabel": "other"}
        mine = {"DeploymentNumber": 7, "VersionLabel": TOKEN}
        return {"Items": [mine, older] if server.asked("StartDeployment") else [older]}

    server.answers |= {
        "GetConfigurationProfile": lambda _: {"Id": "prof123", "LocationUri": "hosted"},
        "ListHostedConfigurationVersions": versions,
        "CreateHostedConfigurationVersion": lambda request: {
            "VersionNumber": 3,
            "Content": request["Content"],
            "ContentType": request["ContentType"],
        },
        "ListDeployments": deployments,
        "StartDeployment": lambda _: deployment("DEPLOYING"),
        "GetDeployment": in_turn([deployment("DEPLOYING", 20), deployment("COMPLETE", 100)]),
        "StopDeployment": lambda _: {},
    }
    yield server
    server.stop()


@pytest.fixture
def make_context(make_aws_context: Any, tmp_path: Path) -> Callable[..., ActionContext]:
    (tmp_path / "App" / "config").mkdir(parents=True)
    (tmp_path / "App/config/prod.json").write_bytes(CONTENT)
    tree = InputTree("App", tmp_path / "App")
    return lambda **fields: make_aws_context(
        "Deploy/AppConfig", **{"input_artifacts": (tree,), "action_execution_id": TOKEN, **fields}
    )


def deploy(context: ActionContext, **more: str) -> ActionResult:
    given = {
        "Application": "app1234",
        "Environment": "env1234",
        "ConfigurationProfile": "prof123",
        "InputArtifactConfigurationPath": "config/prod.json",
        **more,
    }
    return call_to_its_end(deploy_configuration, AppConfigConfiguration.model_validate(given), context)


def starts(server: AwsServer) -> tuple[int, int]:
    """How many versions were made, and how many deployments were started."""
    return len(server.asked("CreateHostedConfigurationVersion")), len(server.asked("StartDeployment"))


def test_a_file_becomes_a_version_and_is_deployed(app_config, make_context, caplog):
    caplog.set_level("DEBUG", "aws-action")
    told: list[tuple[str, int | None]] = []
    kept: list[Any] = []
    context = make_context(
        report_progress=lambda **given: told.append((given["summary"], given["percent"])),
        keep=lambda *given, **state: kept.append((given, state)),
    )

    result = deploy(context, DeploymentStrategy="AppConfig.Linear50PercentEvery30Seconds")

    (made,), (begun,) = (
        app_config.asked(each) for each in ("CreateHostedConfigurationVersion", "StartDeployment")
    )
    assert made == {
        "ApplicationId": "app1234",
        "ConfigurationProfileId": "prof123",
        "Content": CONTENT,
        "ContentType": "application/json",
        "Description": "Pipeline release, action execution a1",
        "VersionLabel": TOKEN,
    }
    assert begun == {
        "ApplicationId": "app1234",
        "EnvironmentId": "env1234",
        "ConfigurationProfileId": "prof123",
        "ConfigurationVersion": "3",
        "DeploymentStrategyId": "AppConfig.Linear50PercentEvery30Seconds",
        "Description": "Pipeline release, action execution a1",
    }
    assert told == [(f"{WHAT}: DEPLOYING, 20 %", 20), (f"{WHAT}: COMPLETE, 100 %", 100)]
    assert kept == [(("7", URL), {"deployment": "7"})]
    assert (result.external_execution_id, result.external_execution_url) == ("7", URL)
    assert result.output_variables == {}
    assert "deployed version 3 of configuration profile 'prof123'" in result.summary
    assert "secret-value" not in caplog.text


@pytest.mark.parametrize(
    ("path", "content", "kind"),
    [
        ("a.yml", b"a: 1", "application/x-yaml"),
        ("notes.cfg", b"a", "text/plain"),
        ("flags", b"\xff\xfe", "application/octet-stream"),
    ],
)
def test_the_only_file_of_an_artifact_its_kind_and_the_usual_strategy(
    app_config, make_context, tmp_path, path, content, kind
):
    (tmp_path / "App/config/prod.json").unlink()
    (tmp_path / "App" / path).write_bytes(content)

    deploy(make_context(), InputArtifactConfigurationPath="/")

    (made,) = app_config.asked("CreateHostedConfigurationVersion")
    assert (made["Content"], made["ContentType"]) == (content, kind)
    assert app_config.asked("StartDeployment")[0]["DeploymentStrategyId"] == "AppConfig.AllAtOnce"


def test_a_look_in_mid_wait_costs_one_request_and_no_input_artifact(app_config, make_context):
    states = ("VALIDATING", "DEPLOYING", "BAKING", "COMPLETE")
    app_config.answers["GetDeployment"] = in_turn([deployment(each) for each in states])
    deploy(make_context(earlier=KEPT, input_artifacts=()))

    assert [name for name, _ in app_config.requests] == ["GetDeployment"] * 4


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (
            deployment(
                "ROLLED_BACK", 0,
                ("ROLLBACK_COMPLETED", "APPCONFIG", "done"),
                ("ROLLBACK_STARTED", "CLOUDWATCH_ALARM", "arn:aws:cloudwatch:eu-west-1:111122223333:alarm:Errors"),
                ("DEPLOYMENT_STARTED", "USER", "begun"),
            ),
            "ended as ROLLED_BACK: CLOUDWATCH_ALARM: arn:aws:cloudwatch:eu-west-1:111122223333:alarm:Errors",
        ),
        (
            deployment("REVERTED", 0, ("REVERT_COMPLETED", "USER", "by 111122223333")),
            "ended as REVERTED: USER: by 111122223333",
        ),
        (deployment("ROLLED_BACK"), "ended as ROLLED_BACK: AppConfig gives no reason"),
    ],
)  # fmt: skip
def test_a_deployment_that_is_rolled_back_fails_with_the_event_that_did_it(
    app_config, make_context, state, why
):
    app_config.answers["GetDeployment"] = in_turn([deployment("ROLLING_BACK"), state])

    with pytest.raises(ActionFailed) as failed:
        deploy(make_context())

    assert str(failed.value) == f"{WHAT} {why}"
    assert (failed.value.code, failed.value.external_execution_id) == ("JobFailed", "7")
    assert failed.value.external_execution_url == URL


def test_throttling_silence_and_dropped_connections_are_borne(app_config, make_context, caplog):
    slow = RefusalError("ThrottlingException", "Rate exceeded", 429)
    app_config.answers["GetConfigurationProfile"] = in_turn([slow, {"LocationUri": "hosted"}])
    app_config.answers["GetDeployment"] = in_turn([slow, AWAY, DroppedError(), deployment("COMPLETE")])

    deploy(make_context())

    assert caplog.text.count("will retry") == 4
    assert starts(app_config) == (1, 1)


@pytest.mark.parametrize("lost", [DroppedError(), AWAY, CONFLICT])
def test_a_start_whose_answer_is_lost_starts_once(app_config, make_context, monkeypatch, lost):
    monkeypatch.setattr(client, "ATTEMPTS", 2)  # of all other requests
    app_config.answers["StartDeployment"] = in_turn([lost])

    assert deploy(make_context()).external_execution_id == "7"
    assert starts(app_config) == (1, 1)


def test_a_version_whose_answer_is_lost_is_found_by_its_label(app_config, make_context, monkeypatch):
    monkeypatch.setattr(client, "ATTEMPTS", 2)  # of all other requests
    app_config.answers["CreateHostedConfigurationVersion"] = in_turn([DroppedError()])

    deploy(make_context())

    assert starts(app_config) == (1, 1)
    assert app_config.asked("StartDeployment")[0]["ConfigurationVersion"] == "3"


@pytest.mark.parametrize("died", ["before keep", "after keep", "after the end"])
def test_another_process_follows_the_same_deployment(app_config, make_context, died):
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
    assert not app_config.asked("StopDeployment")

    result = deploy(make_context(earlier=Earlier(datetime.now(timezone.utc), state=kept), input_artifacts=()))

    assert result.external_execution_id == "7"
    assert starts(app_config) == (1, 1)


def test_a_deployment_is_stopped_when_its_action_is_abandoned_or_out_of_time(app_config, make_context):
    app_config.answers["GetDeployment"] = in_turn([deployment("DEPLOYING")])

    with pytest.raises(ActionFailed, match=f"{WHAT} is stopped, and AppConfig puts the former") as failed:
        deploy(make_context(seconds=0, earlier=KEPT))
    assert failed.value.code == "Timeout"

    earlier = Earlier(datetime.now(timezone.utc))  # its id was not kept
    mine = {"DeploymentNumber": 7, "VersionLabel": TOKEN}
    app_config.answers["ListDeployments"] = in_turn([{"Items": [mine]}])
    abandoned = make_context(earlier=earlier, input_artifacts=())
    abandoned.cancellation.cancel()
    with pytest.raises(ActionAbandoned, match="is stopped"):
        deploy(abandoned)
    assert [each["DeploymentNumber"] for each in app_config.asked("StopDeployment")] == [7, 7]


def test_a_deployment_that_cannot_be_stopped_may_still_run(app_config, make_context):
    app_config.answers["GetDeployment"] = in_turn([deployment("BAKING")])
    app_config.answers["StopDeployment"] = in_turn([RefusalError("BadRequestException", "it is BAKING")])

    with pytest.raises(ActionFailed) as failed:
        deploy(make_context(seconds=0, earlier=KEPT))
    assert "D" + WHAT[1:] + " may still run: stopping" in str(failed.value)
    assert "it is BAKING" in str(failed.value)
    assert str(failed.value).endswith(f"stop it at {URL}")


def invalid(value: str) -> RefusalError:
    found = {
        "Constraint": "maximum",
        "Location": "$.rate",
        "Reason": "must be at most 5",
        "Type": "JSON",
        "Value": value,
    }
    details = {"InvalidConfiguration": [found]}
    return RefusalError(
        "BadRequestException", "validation failed", Reason="InvalidConfiguration", Details=details
    )


@pytest.mark.parametrize(
    ("answers", "message", "code"),
    [
        ({"GetConfigurationProfile": GONE}, "there is no configuration profile 'prof123' of application 'app1234' in eu-west-1; correct", "ConfigurationError"),
        ({"GetConfigurationProfile": {"LocationUri": "codepipeline://release"}}, "reads its configuration from a pipeline in AWS, .* create a profile whose location is 'hosted'", "ConfigurationError"),
        ({"GetConfigurationProfile": {"LocationUri": "s3://bucket/key"}}, "from 's3://bucket/key', .* location is 'hosted'", "ConfigurationError"),
        ({"StartDeployment": CONFLICT}, "another deployment is in progress there; retry the action .*deployment 6", "ConfigurationError"),
        ({"StartDeployment": invalid("secret-value")}, r"'config/prod.json' is no valid configuration: \$.rate maximum must be at most 5$", "ConfigurationError"),
        ({"StartDeployment": RefusalError("BadRequestException", "strategy is wrong")}, "starting a deployment to .*: AWS refused: .*strategy is wrong", "ConfigurationError"),
        ({"StartDeployment": RefusalError("AccessDeniedException", "no", 403)}, "starting a deployment to .*: AWS refused", "PermissionError"),
        ({"CreateHostedConfigurationVersion": RefusalError("PayloadTooLargeException", "too large", 413)}, "making a version of .*too large", "ConfigurationError"),
        ({"GetDeployment": GONE}, f"{WHAT} was deleted in the meantime, not by this action", "JobFailed"),
        ({"GetDeployment": RefusalError("ExpiredTokenException", "expired", 403)}, "renew the credentials", "PermissionError"),
    ],
)  # fmt: skip
def test_what_aws_refuses_is_said(app_config, make_context, answers, message, code):
    app_config.answers |= {name: in_turn([answer]) for name, answer in answers.items()}
    if "StartDeployment" in answers:
        app_config.answers["ListDeployments"] = in_turn([{"Items": []}])
    app_config.answers["StopDeployment"] = in_turn([GONE])

    with pytest.raises(ActionFailed, match=message) as failed:
        deploy(make_context())
    assert failed.value.code == code
    assert "secret-value" not in str(failed.value)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("none.json", "InputArtifactConfigurationPath: input artifact 'App' has no file 'none.json'"),
        ("config/../../x", "has no file 'config/../../x'"),
        ("/", "InputArtifactConfigurationPath '/': input artifact 'App' has 2 files; set"),
        ("big", "has 4,194,305 bytes; the limit is 4,194,304"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(app_config, make_context, tmp_path, path, message):
    (tmp_path / "App/big").write_bytes(b"x" * 4_194_305)

    with pytest.raises(ActionFailed) as failed:
        deploy(make_context(), InputArtifactConfigurationPath=path)

    assert message in str(failed.value)
    assert failed.value.code == "ConfigurationError"
    assert starts(app_config) == (0, 0)


def test_an_endpoint_that_answers_html(app_config, make_context):
    app_config.page = (200, b"<html><body>Welcome</body></html>")

    with pytest.raises(ActionFailed, match="what answered is not AWS") as failed:
        deploy(make_context())
    assert failed.value.code == "ConfigurationError"


def test_rejects_configuration():
    with pytest.raises(ValidationError, match="Extra inputs"):
        AppConfigConfiguration.model_validate({"X": "1"})
