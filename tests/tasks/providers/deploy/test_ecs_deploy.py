"""Deploy/AWS/ECS/1 against written answers of ECS over HTTP; its start also against moto's ECS."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from aws_environment import use_endpoint
from aws_server import AwsServer, DroppedError, RefusalError, in_turn
from provider_calls import call_to_its_end
from pydantic import ValidationError

from prefect_codepipeline.actions.aws import client, remote_work
from prefect_codepipeline.actions.ecs.task_definitions import arguments_of, describe, registered
from prefect_codepipeline.actions.registry import (
    ActionContext,
    ActionResult,
    Earlier,
    WorkGoesOn,
    get_provider,
)
from prefect_codepipeline.actions.work import InputTree
from prefect_codepipeline.errors import ActionAbandoned, ActionFailed, ActionInterrupted
from prefect_codepipeline.tasks.providers.deploy.ecs_deploy import EcsDeployConfiguration, deploy_to_ecs

ARN = "arn:aws:ecs:eu-west-1:123456789012"
OLD, NEW = f"{ARN}:task-definition/web:7", f"{ARN}:task-definition/web:8"
PAGE = (
    "https://eu-west-1.console.aws.amazon.com/ecs/v2/clusters/shop/services/web/deployments?region=eu-west-1"
)
IMAGES = [{"name": "app", "imageUri": "registry/web@sha256:1"}]
TAG = "codepipeline:action-execution-id"


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_work, "SHORTEST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(remote_work, "LONGEST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(client, "ATTEMPTS", 0)


def now(seconds: float = 0) -> datetime:
    return datetime.now(timezone.utc) + timedelta(seconds=seconds)


class Ecs(AwsServer):
    """ECS with service `web`: an update starts a deployment, whose looks a test gives in order."""

    def __init__(self) -> None:
        super().__init__()
        self.revisions: dict[str, dict[str, Any]] = {OLD: {"tags": [{"key": "team", "value": "shop"}]}}
        self.updated: list[str] = []
        self.looks: list[list[dict[str, Any]]] = [[deployment()]]
        self.controller = "ECS"
        self.records: list[dict[str, Any]] = []
        self.stopped: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.answers |= {
            "DescribeServices": lambda _: {"services": [self.service()]},
            "DescribeTaskDefinition": self.task_definition,
            "ListTaskDefinitions": lambda _: {"taskDefinitionArns": list(reversed(self.revisions))},
            "RegisterTaskDefinition": self.register,
            "UpdateService": self.update,
            "ListServiceDeployments": self.list_records,
            "DescribeServiceRevisions": lambda _: {
                "serviceRevisions": [{"serviceRevisionArn": "revision/8", "taskDefinition": NEW}]
            },
            "ListTasks": lambda _: {"taskArns": [task["taskArn"] for task in self.stopped]},
            "DescribeTasks": lambda _: {"tasks": self.stopped},
            "StopServiceDeployment": lambda _: {},
        }

    def service(self, looks: list[Any] | None = None) -> dict[str, Any]:
        looks = looks or (self.looks if self.updated else [[old(status="PRIMARY")]])
        return {
            "serviceName": "web",
            "serviceArn": f"{ARN}:service/shop/web",
            "clusterArn": f"{ARN}:cluster/shop",
            "status": "ACTIVE",
            "taskDefinition": self.updated[-1] if self.updated else OLD,
            "deploymentController": {"type": self.controller},
            "deployments": looks.pop(0) if len(looks) > 1 else looks[0],
            "events": self.events,
        }

    def task_definition(self, request: dict[str, Any]) -> dict[str, Any]:
        arn = request["taskDefinition"]
        containers = [
            {"name": "app", "image": "registry/web:1", "environment": [{"name": "A", "value": "b"}]},
            {"name": "log", "image": "registry/log:1"},
        ]
        definition = {
            "taskDefinitionArn": arn,
            "family": "web",
            "revision": int(arn.rpartition(":")[2]),
            "status": "ACTIVE",
            "cpu": "256",
            "containerDefinitions": containers,
            "compatibilities": ["EC2"],
            "registeredAt": now(-9000 if arn == OLD else 0),
        }
        return {"taskDefinition": definition, "tags": self.revisions[arn]["tags"]}

    def register(self, request: dict[str, Any]) -> dict[str, Any]:
        arn = f"{ARN}:task-definition/web:{7 + len(self.revisions)}"
        self.revisions[arn] = request
        return {"taskDefinition": {"taskDefinitionArn": arn}}

    def update(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["taskDefinition"] not in self.updated:
            self.updated.append(request["taskDefinition"])
        return {"service": {**self.service(looks=[[running(0)]])}}

    def list_records(self, request: dict[str, Any]) -> dict[str, Any]:
        wanted = request.get("status")
        return {"serviceDeployments": [r for r in self.records if not wanted or r["status"] in wanted]}


def deployment(**more: Any) -> dict[str, Any]:
    return {
        "id": "ecs-svc/8",
        "status": "PRIMARY",
        "taskDefinition": NEW,
        "desiredCount": 2,
        "runningCount": 2,
        "pendingCount": 0,
        "failedTasks": 0,
        "createdAt": now(1),
        "rolloutState": "COMPLETED",
        **more,
    }


def running(count: int, **more: Any) -> dict[str, Any]:
    return deployment(runningCount=count, rolloutState="IN_PROGRESS", **more)


def old(count: int = 2, **more: Any) -> dict[str, Any]:
    given = {"id": "ecs-svc/7", "status": "ACTIVE", "taskDefinition": OLD, "createdAt": now(-3600)}
    return deployment(**{**given, "runningCount": count, **more})


def record(status: str, **more: Any) -> dict[str, Any]:
    given = {"serviceDeploymentArn": "sd/8", "targetServiceRevisionArn": "revision/8", "createdAt": now()}
    return {**given, "status": status, **more}


def task(name: str, reason: str, at: float, **more: Any) -> dict[str, Any]:
    given = {"taskArn": f"{ARN}:task/shop/{name}", "taskDefinitionArn": NEW, "stoppedAt": now(at)}
    return {**given, "stoppedReason": reason, **more}


@pytest.fixture
def ecs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ecs]:
    server = Ecs()
    use_endpoint(monkeypatch, server.url, "eu-west-1")
    yield server
    server.stop()


@pytest.fixture
def make_context(make_aws_context: Any, tmp_path: Path) -> Callable[..., ActionContext]:
    (tmp_path / "Images").mkdir()
    (tmp_path / "Images" / "imagedefinitions.json").write_text(json.dumps(IMAGES))
    trees = (InputTree("Images", tmp_path / "Images"),)
    return lambda **fields: make_aws_context("Deploy/ECS", **{"input_artifacts": trees, **fields})


def configured(**more: str) -> EcsDeployConfiguration:
    return EcsDeployConfiguration.model_validate({"ClusterName": "shop", "ServiceName": "web", **more})


def run(context: ActionContext, **more: str) -> ActionResult:
    return call_to_its_end(deploy_to_ecs, configured(**more), context)


def test_a_revision_with_the_new_images_is_deployed_until_it_is_the_only_one_and_steady(ecs, make_context):
    ecs.looks = [
        [running(0), old()],
        [running(1, failedTasks=1), old(1)],
        [running(2), old(1)],
        [deployment(), old(1)],
        [running(2)],  # its health checks are not done
        [deployment(runningCount=1)],  # a task has ended
        [deployment()],
    ]
    told: list[tuple[str, int | None]] = []
    kept: list[Any] = []
    context = make_context(
        report_progress=lambda **given: told.append((given["summary"], given["percent"])),
        keep=lambda *given, **state: kept.append((given, state)),
    )

    result = run(context)

    (asked,) = ecs.asked("RegisterTaskDefinition")
    assert asked == {
        "family": "web",
        "cpu": "256",
        "containerDefinitions": [
            {
                "name": "app",
                "image": "registry/web@sha256:1",
                "environment": [{"name": "A", "value": "b"}],
            },
            {"name": "log", "image": "registry/log:1"},
        ],
        "tags": [{"key": "team", "value": "shop"}, {"key": TAG, "value": context.action_execution_id}],
    }
    assert ecs.asked("UpdateService") == [{"cluster": "shop", "service": "web", "taskDefinition": NEW}]
    assert result.summary == "service 'web' of cluster 'shop' in eu-west-1 runs 'web:8'"
    assert (result.external_execution_id, result.external_execution_url) == ("ecs-svc/8", PAGE)
    assert told == [
        ("0 of 2 tasks run, 2 of the earlier revision", 0),
        ("1 of 2 tasks run, 1 failed, 1 of the earlier revision", 50),
        ("2 of 2 tasks run, 1 of the earlier revision", 100),
        ("2 of 2 tasks run, 1 of the earlier revision", 100),
        ("2 of 2 tasks run", 100),
        ("1 of 2 tasks run", 50),
        ("2 of 2 tasks run", 100),
    ]
    assert [state for _, state in kept] == [{"task-definition": NEW}, {"deployment": "ecs-svc/8"}]
    assert len(ecs.requests) == 2 + 2 + len(told)  # what a start needs, the start, one request a look


def test_tags_of_aws_and_facts_of_the_old_revision_are_left_out(ecs, make_context):
    ecs.revisions[OLD]["tags"] = [{"key": "aws:cloudformation:stack-name", "value": "shop"}]
    context = make_context()

    run(context)

    (asked,) = ecs.asked("RegisterTaskDefinition")
    assert asked["tags"] == [{"key": TAG, "value": context.action_execution_id}]
    assert "compatibilities" not in asked


def test_a_deployment_that_the_circuit_breaker_rolls_back_has_its_reason_and_the_first_task_that_stopped(
    ecs, make_context
):
    reason = "ECS deployment circuit breaker: tasks failed to start."
    ecs.looks = [
        [running(0), old()],
        [
            deployment(status="ACTIVE", runningCount=0, rolloutState="FAILED", rolloutStateReason=reason),
            old(id="ecs-svc/9", status="PRIMARY", createdAt=now(60)),
        ],
    ]
    exits = [{"name": "log"}, {"name": "app", "exitCode": 1, "reason": "OutOfMemoryError"}]
    ecs.stopped = [
        task("t0", "Scaling activity initiated by (deployment ecs-svc/7)", -30),
        task("t2", "later", 20),
        task("t1", "Essential container in task exited", 10, containers=exits),
        task("t3", "of the earlier revision", 0, taskDefinitionArn=OLD),
    ]

    with pytest.raises(ActionFailed) as failed:
        run(make_context())

    assert str(failed.value) == (
        "deployment of 'web:8' to service 'web' of cluster 'shop' in eu-west-1 failed: ECS deployment circuit breaker: "
        "tasks failed to start.; the service goes back to 'web:7'; task t1 stopped: Essential container in task exited; "
        "container 'app': exit code 1, OutOfMemoryError"
    )
    assert failed.value.code == "JobFailed"
    assert (failed.value.external_execution_id, failed.value.external_execution_url) == ("ecs-svc/8", PAGE)
    assert not ecs.asked("StopServiceDeployment")


def test_a_deployment_that_fails_and_stays_has_no_other_reason_than_that_of_ecs(ecs, make_context):
    ecs.looks = [
        [deployment(runningCount=0, rolloutState="FAILED", rolloutStateReason="tasks failed to start")]
    ]
    ecs.events = [{"id": "0", "createdAt": now(-90), "message": "(service web) failed long ago."}]

    with pytest.raises(ActionFailed, match=r"in eu-west-1 failed: tasks failed to start$"):
        run(make_context())


def test_a_rolled_back_deployment_that_ecs_shows_no_more_is_found_in_its_records(ecs, make_context):
    ecs.looks = [[old(id="ecs-svc/9", status="PRIMARY", createdAt=now(60))]]
    ecs.records = [record("ROLLBACK_SUCCESSFUL", statusReason="Service alarm 'errors' was triggered")]
    ecs.events = [
        {"id": "2", "createdAt": now(30), "message": "(service web) has reached a steady state."},
        {"id": "1", "createdAt": now(20), "message": "(service web) was unable to place a task."},
        {"id": "0", "createdAt": now(-90), "message": "(service web) failed long ago."},
    ]

    with pytest.raises(ActionFailed) as failed:
        run(make_context())

    assert str(failed.value).endswith(
        "failed: ROLLBACK_SUCCESSFUL: Service alarm 'errors' was triggered; the service goes back to 'web:7'; "
        "(service web) was unable to place a task."
    )


@pytest.mark.parametrize("may_read", [True, False])
def test_another_deployment_replaces_this_one(ecs, make_context, may_read):
    other = old(
        id="ecs-svc/9", status="PRIMARY", taskDefinition=f"{ARN}:task-definition/web:9", createdAt=now(9)
    )
    ecs.looks = [[running(1), old()], [running(1, status="ACTIVE"), other]]
    if not may_read:
        for name in ("ListServiceDeployments", "ListTasks"):
            del ecs.answers[name]

    with pytest.raises(ActionFailed, match=r"failed: 'web:9' replaced it$") as failed:
        run(make_context())
    assert failed.value.code == "JobFailed"


@pytest.mark.parametrize("status", [None, "IN_PROGRESS"])
def test_an_answer_that_is_older_than_the_update_is_no_end(ecs, make_context, status):
    ecs.looks = [[old(status="PRIMARY")], [deployment()]]
    ecs.records = [record(status)] if status else []

    assert run(make_context()).external_execution_id == "ecs-svc/8"


@pytest.mark.parametrize("status", [None, "ROLLBACK_SUCCESSFUL"])
def test_a_deployment_may_end_in_the_one_before_as_it_was(ecs, make_context, status):
    ecs.updated = [NEW]
    ecs.looks = [[old(status="PRIMARY")]]
    ecs.records = [record(status, statusReason="alarm")] if status else []
    state = {"task-definition": NEW, "deployment": "ecs-svc/8"}

    with pytest.raises(ActionFailed, match="goes back to 'web:7'" if status else "'web:7' replaced it"):
        run(make_context(earlier=Earlier(now(-61), "ecs-svc/8", state=state)))


def test_silence_while_the_cause_is_looked_for_is_borne(ecs, make_context):
    ecs.looks = [
        [deployment(runningCount=0, rolloutState="FAILED", rolloutStateReason="tasks failed to start")]
    ]
    ecs.stopped = [task("t1", "CannotPullContainerError", 1)]
    answer, faults = ecs.answers["ListTasks"], [DroppedError()]
    ecs.answers["ListTasks"] = lambda request: _raise(faults.pop()) if faults else answer(request)

    with pytest.raises(ActionFailed, match="task t1 stopped: CannotPullContainerError"):
        run(make_context())


def test_a_service_that_is_deleted_meanwhile(ecs, make_context):
    service = ecs.answers["DescribeServices"]
    gone = {"failures": [{"arn": "web", "reason": "MISSING"}]}
    ecs.answers["DescribeServices"] = lambda request: gone if ecs.updated else service(request)

    with pytest.raises(
        ActionFailed, match="failed: the service was deleted in the meantime, not by this action"
    ):
        run(make_context())


def test_throttling_and_a_service_that_is_away_are_borne(ecs, make_context, caplog):
    throttled = RefusalError("ThrottlingException", "slow down")
    away = RefusalError("ServerException", "away", 500)
    for name in ("DescribeServices", "RegisterTaskDefinition", "UpdateService"):
        answer = ecs.answers[name]
        faults: list[Any] = [throttled, away, DroppedError()]

        def sometimes(request: dict[str, Any], answer: Any = answer, faults: Any = faults) -> Any:
            if faults:
                raise faults.pop()
            return answer(request)

        ecs.answers[name] = sometimes
    ecs.looks = [[running(1), old()], [deployment()]]

    assert run(make_context()).external_execution_id == "ecs-svc/8"
    assert len(ecs.revisions) == 2
    assert "will retry" in caplog.text


@pytest.mark.parametrize("operation", ["RegisterTaskDefinition", "UpdateService"])
def test_a_start_whose_answer_is_lost_starts_once(ecs, make_context, monkeypatch, operation):
    monkeypatch.setattr(client, "ATTEMPTS", 3)  # boto3 would repeat it by itself
    answer, lost = ecs.answers[operation], []

    def lose(request: dict[str, Any]) -> dict[str, Any]:
        given = answer(request)
        if not lost:
            lost.append(given)
            raise DroppedError
        return dict(given)

    ecs.answers[operation] = lose

    assert run(make_context()).external_execution_id == "ecs-svc/8"
    assert lost
    assert (len(ecs.asked("RegisterTaskDefinition")), ecs.updated) == (1, [NEW])


@pytest.mark.parametrize(
    "died", ["before the revision is kept", "before keep", "after keep", "after the end"]
)
def test_another_process_follows_the_same_deployment(ecs, make_context, died):
    ecs.looks = [[running(1), old()], [deployment()]]
    kept: dict[str, str] = {}
    first = make_context(input_artifacts=make_context().input_artifacts)

    def keep(_: str, __: str | None = None, **state: str) -> None:
        if died in ("after keep", "after the end") or (died == "before keep" and "deployment" not in state):
            kept.update(state)
        if (died == "before the revision is kept") or ("deployment" in state and died != "after the end"):
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
    assert not ecs.asked("StopServiceDeployment")

    earlier = Earlier(now(), kept.get("deployment"), state=kept)
    second = make_context(
        earlier=earlier, action_execution_id=first.action_execution_id, input_artifacts=()
    )  # which are gone
    assert get_provider(second.action.action_type_id).may_restart(None, second)
    result = run(second)

    assert result.external_execution_id == "ecs-svc/8"
    assert len(ecs.asked("RegisterTaskDefinition")) == 1
    assert ecs.asked("UpdateService") == [{"cluster": "shop", "service": "web", "taskDefinition": NEW}]


def test_a_deployment_that_was_rolled_back_before_its_id_was_kept_is_not_started_again(ecs, make_context):
    ecs.updated = [NEW]
    ecs.looks = [[old(id="ecs-svc/9", status="PRIMARY", createdAt=now(60))]]
    ecs.records = [record("ROLLBACK_SUCCESSFUL", statusReason="tasks failed to start")]
    earlier = Earlier(now(), NEW, state={"task-definition": NEW})

    with pytest.raises(ActionFailed, match="ROLLBACK_SUCCESSFUL: tasks failed to start"):
        run(make_context(earlier=earlier))
    assert not ecs.asked("UpdateService")


@pytest.mark.parametrize(("status", "is_stopped"), [("IN_PROGRESS", True), ("ROLLBACK_IN_PROGRESS", False)])
def test_an_abandoned_deployment_is_put_back(ecs, make_context, status, is_stopped):
    ecs.looks = [[running(1), old()]]
    ecs.records = [record("IN_PROGRESS", targetServiceRevisionArn="revision/5"), record(status)]
    context = make_context(
        keep=lambda *_, **state: context.cancellation.cancel() if "deployment" in state else None
    )

    with pytest.raises(ActionAbandoned) as ended:
        run(context)

    said = "is stopped, and ECS puts the service back" if is_stopped else "is not under way any more"
    assert said in str(ended.value)
    stops = [{"serviceDeploymentArn": "sd/8", "stopType": "ROLLBACK"}] if is_stopped else []
    assert ecs.asked("StopServiceDeployment") == stops


def test_its_timeout_counts_from_its_first_start_and_says_what_held_it_up(ecs, make_context):
    ecs.looks = [[running(0), old()]]
    ecs.records = [record("IN_PROGRESS")]
    ecs.stopped = [task("t1", "CannotPullContainerError", 1)]
    state = {"task-definition": NEW, "deployment": "ecs-svc/8"}
    ecs.updated = [NEW]

    with pytest.raises(WorkGoesOn) as going:
        deploy_to_ecs(
            configured(DeploymentTimeout="15"),
            make_context(seconds=9999, earlier=Earlier(now(-890), state=state)),
        )
    assert going.value.waiting.until < now(11)
    with pytest.raises(ActionFailed) as failed:
        run(make_context(seconds=9999, earlier=Earlier(now(-901), state=state)), DeploymentTimeout="15")

    assert failed.value.code == "Timeout"
    assert "ran out of time" in str(failed.value)
    assert str(failed.value).endswith("puts the service back; task t1 stopped: CannotPullContainerError")
    assert len(ecs.asked("StopServiceDeployment")) == 1


def test_a_deployment_that_cannot_be_stopped_is_named_with_its_page(ecs, make_context):
    ecs.looks = [[running(0), old()]]
    ecs.records = [record("IN_PROGRESS")]
    del ecs.answers["StopServiceDeployment"]

    context = make_context(
        keep=lambda *_, **state: context.cancellation.cancel() if "deployment" in state else None
    )

    with pytest.raises(
        ActionAbandoned, match=r"may still run: stopping the deployment .*not authorized"
    ) as ended:
        run(context)
    assert PAGE in str(ended.value)


def test_credentials_that_expire_in_mid_wait_end_the_action(ecs, make_context):
    ecs.looks = [[running(0), old()]]
    service = ecs.answers["DescribeServices"]
    expired = RefusalError("ExpiredTokenException", "The security token included in the request is expired")
    ecs.answers["DescribeServices"] = lambda request: service(request) if not ecs.updated else _raise(expired)

    with pytest.raises(ActionFailed, match="renew the credentials") as failed:
        run(make_context())
    assert failed.value.code == "PermissionError"


def _raise(error: Exception) -> dict[str, Any]:
    raise error


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"name": "web", "imageUri": "i"}]', "has no container 'web'; its containers: app, log"),
        (json.dumps(IMAGES * 2), "imagedefinitions.json of 'Images' names container 'app' twice"),
        ("[]", "is not a list of the form"),
        ('{"ImageURI": "x"}', "is not a list of the form"),
        ('[{"name": "app"}]', '{"name": "app"} is not an entry of the form'),
        ('["app"]', '"app" is not an entry of the form'),
        ("{", "is not JSON"),
        ("[" * 99_000, "is not JSON"),
        (" " * (101 * 1024), "has 103,424 bytes; the limit is 102,400"),
        (None, "FileName: input artifact 'Images' has no file 'imagedefinitions.json'"),
    ],
)  # fmt: skip
def test_an_image_definitions_file_that_cannot_be_used_is_named(ecs, make_context, tmp_path, text, message):
    context = make_context()
    file = tmp_path / "Images" / "imagedefinitions.json"
    file.unlink() if text is None else file.write_text(text)

    with pytest.raises(ActionFailed) as failed:
        run(context)

    assert message in str(failed.value)
    assert failed.value.code == "ConfigurationError"
    assert not ecs.asked("RegisterTaskDefinition")


def test_another_file_may_be_named(ecs, make_context, tmp_path):
    (tmp_path / "Images" / "out").mkdir()
    (tmp_path / "Images" / "out" / "prod.json").write_text('[{"name": "log", "imageUri": "registry/log:2"}]')

    run(make_context(), FileName="out/prod.json")

    (asked,) = ecs.asked("RegisterTaskDefinition")
    assert [each["image"] for each in asked["containerDefinitions"]] == ["registry/web:1", "registry/log:2"]


@pytest.mark.parametrize(
    ("operation", "answer", "code", "message"),
    [
        ("DescribeServices", {"failures": []}, "ConfigurationError", "there is no active service 'web' of cluster 'shop' in"),
        ("DescribeServices", {"services": [{"serviceName": "web", "status": "INACTIVE"}]}, "ConfigurationError", "no active"),
        ("DescribeServices", RefusalError("ClusterNotFoundException", "x"), "ConfigurationError", "correct ClusterName, Serv"),
        ("RegisterTaskDefinition", None, "PermissionError", "registering a revision of task definition 'web' in region eu"),
        ("UpdateService", None, "PermissionError", "updating service 'web' of cluster 'shop' in eu-west-1: AWS refused"),
    ],
)  # fmt: skip
def test_what_aws_refuses_is_named(ecs, make_context, operation, answer, code, message):
    if answer is None:
        del ecs.answers[operation]
    else:
        ecs.answers[operation] = in_turn([answer])

    with pytest.raises(ActionFailed) as failed:
        run(make_context())

    assert message in str(failed.value)
    assert failed.value.code == code
    assert "testing-secret" not in str(failed.value)


def test_a_service_of_codedeploy_is_refused_with_what_to_use(ecs, make_context):
    ecs.controller = "CODE_DEPLOY"

    with pytest.raises(ActionFailed, match=r"controller CODE_DEPLOY; .*Deploy/AWS/CodeDeployToECS/1"):
        run(make_context())


def test_an_endpoint_that_answers_html(ecs, make_context):
    ecs.page = (200, b"<html><body>Welcome</body></html>")

    with pytest.raises(ActionFailed, match="what answered is not AWS; correct the endpoint"):
        run(make_context())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"DeploymentTimeout": "61"}, "less than or equal to 60"),
        ({"DeploymentTimeout": "0"}, "greater than or equal to 1"),
        ({"ClusterName": ""}, "at least 1 character"),
        ({"X": "1"}, "Extra inputs"),
    ],
)
def test_rejects_configuration(change, message):
    with pytest.raises(ValidationError, match=message):
        configured(**change)


def test_a_revision_is_registered_once_in_motos_ecs(aws, make_context):
    ecs = aws("ecs")
    containers = [{"name": "app", "image": "registry/web:1", "memory": 64}]
    ecs.register_task_definition(
        family="web", containerDefinitions=containers, tags=[{"key": "team", "value": "shop"}]
    )
    first = make_context()
    again = make_context(action_execution_id=first.action_execution_id, earlier=Earlier(now()))

    for context in (first, again):
        registered(context, ecs, lambda: arguments_of(ecs, *describe(ecs, "web")), lambda: "web")

    (_, arn) = ecs.list_task_definitions(familyPrefix="web")["taskDefinitionArns"]
    definition, tags = describe(ecs, arn)
    assert definition["containerDefinitions"][0]["image"] == "registry/web:1"
    assert {tag["key"]: tag["value"] for tag in tags} == {"team": "shop", TAG: first.action_execution_id}
