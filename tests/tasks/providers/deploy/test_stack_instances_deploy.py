"""Deploy/AWS/CloudFormationStackInstances/1: against moto's CloudFormation, and against written answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any
from uuid import uuid4

import pytest
from aws_server import AwsServer, DroppedError, RefusalError, in_turn
from provider_calls import call_to_its_end
from pydantic import ValidationError
from stack_set_answers import (
    BUSY,
    NO_OPERATION,
    NO_SET,
    SET_ID,
    STARTED_BEFORE,
    THERE,
    TOKEN,
    URL,
    looks,
    operation,
    operations_of,
    results,
    stack_set_server,
)

from prefect_codepipeline.actions.aws import client, remote_work
from prefect_codepipeline.actions.registry import ActionContext, ActionResult, Earlier
from prefect_codepipeline.actions.work import InputTree
from prefect_codepipeline.errors import ActionAbandoned, ActionFailed, ActionInterrupted
from prefect_codepipeline.tasks.providers.deploy.stack_instances_deploy import (
    StackInstancesConfiguration,
    deploy_stack_instances,
)

ONE, TWO = "111122223333", "444455556666"
# The operation was started, but its id was not kept.
EARLIER = Earlier(datetime.now(timezone.utc), state={"set": SET_ID})
MOTO = "123456789012"  # its account


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_work, "SHORTEST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(client, "ATTEMPTS", 0)


@pytest.fixture
def stack_sets(monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsServer]:
    yield from stack_set_server(monkeypatch)


@pytest.fixture
def make_context(make_aws_context: Any) -> Callable[..., ActionContext]:
    return lambda **fields: make_aws_context(
        "Deploy/CloudFormationStackInstances", **{"action_execution_id": TOKEN, **fields}
    )


def deploy(context: ActionContext, **more: str) -> ActionResult:
    given = {"StackSetName": "shop", "DeploymentTargets": ONE, "Regions": "eu-west-1", **more}
    configuration = StackInstancesConfiguration.model_validate(given)
    return call_to_its_end(deploy_stack_instances, configuration, context)


def test_instances_are_created_where_they_are_missing(aws, make_context):
    name = f"set-{uuid4().hex[:8]}"
    queue = {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": {"Ref": "Name"}}}
    template = {"Parameters": {"Name": {"Type": "String"}}, "Resources": {"Queue": queue}}
    set_id = aws("cloudformation").create_stack_set(
        StackSetName=name,
        TemplateBody=json.dumps(template),
        Parameters=[{"ParameterKey": "Name", "ParameterValue": "none"}],
    )["StackSetId"]

    result = deploy(
        make_context(),
        StackSetName=name,
        DeploymentTargets=MOTO,
        Regions="us-east-1",
        ParameterOverrides=f"ParameterKey=Name,ParameterValue={name}",
    )

    assert result.output_variables == {"StackSetId": set_id, "OperationId": result.external_execution_id}
    assert f"#/stacksets/{name}%3A" in result.external_execution_url
    assert result.summary == f"deployed stack set {name!r} in us-east-1 to {MOTO} in us-east-1"
    assert len(aws("sqs").list_queues(QueueNamePrefix=name)["QueueUrls"]) == 1


def test_what_is_asked_of_cloudformation(stack_sets, make_context, tmp_path):
    (tmp_path / "overrides.txt").write_text('[{"ParameterKey": "Name", "ParameterValue": "shop"}]')
    told: list[tuple[str, int | None]] = []
    context = make_context(
        input_artifacts=(InputTree("App", tmp_path),),
        report_progress=lambda **given: told.append((given["summary"], given["percent"])),
    )

    result = deploy(
        context,
        DeploymentTargets="ou-1111-1example",
        Regions="us-east-1,eu-west-1",
        ParameterOverrides="App::overrides.txt",
        MaxConcurrentPercentage="50",
        CallAs="DELEGATED_ADMIN",
    )

    assert stack_sets.asked("CreateStackInstances") == [
        {
            "StackSetName": "shop",
            "DeploymentTargets": {"OrganizationalUnitIds": ["ou-1111-1example"]},
            "Regions": ["us-east-1", "eu-west-1"],
            "ParameterOverrides": [{"ParameterKey": "Name", "ParameterValue": "shop"}],
            "OperationPreferences": {
                "RegionConcurrencyType": "SEQUENTIAL",
                "RegionOrder": ["us-east-1", "eu-west-1"],
                "MaxConcurrentPercentage": 50,
            },
            "OperationId": TOKEN,
            "CallAs": "DELEGATED_ADMIN",
        }
    ]
    assert all(request["CallAs"] == "DELEGATED_ADMIN" for _, request in stack_sets.requests)
    assert result.output_variables == {"StackSetId": SET_ID, "OperationId": TOKEN}
    assert (result.external_execution_id, result.external_execution_url) == (TOKEN, URL)
    assert told == [("0 of 1 instances: RUNNING", 0), ("1 of 1 instances: SUCCEEDED", 100)]


def test_a_failure_says_which_instances_failed_and_why(stack_sets, make_context):
    stack_sets.answers["DescribeStackSetOperation"] = in_turn([operation("FAILED")])
    stack_sets.answers["ListStackSetOperationResults"] = in_turn(
        [results((ONE, "eu-west-1", "FAILED", "the role is missing"), (TWO, "eu-west-1", "SUCCEEDED"))]
    )

    with pytest.raises(ActionFailed) as failed:
        deploy(make_context(), DeploymentTargets=f"{ONE},{TWO}")

    assert str(failed.value) == (
        "operation 'a1' of stack set 'shop' in eu-west-1 ended as FAILED: 1 of 2 instances failed: "
        f"{ONE} in eu-west-1: the role is missing"
    )
    assert (failed.value.code, failed.value.external_execution_url) == ("JobFailed", URL)


def test_throttling_silence_and_dropped_connections_are_borne(stack_sets, make_context, caplog):
    stack_sets.answers["DescribeStackSet"] = in_turn([DroppedError(), THERE])
    stack_sets.answers["CreateStackInstances"] = in_turn(
        [RefusalError("Throttling", "Rate exceeded"), {"OperationId": TOKEN}]
    )
    stack_sets.answers["DescribeStackSetOperation"] = looks(
        stack_sets,
        NO_OPERATION,
        NO_OPERATION,
        RefusalError("InternalFailure", "x", 503),
        operation("SUCCEEDED"),
    )

    deploy(make_context())

    assert caplog.text.count("will retry") == 3


@pytest.mark.parametrize("lost", [DroppedError(), STARTED_BEFORE])
def test_a_start_whose_answer_is_lost_starts_once(stack_sets, make_context, lost):
    stack_sets.answers["CreateStackInstances"] = in_turn([lost])

    assert deploy(make_context()).output_variables["OperationId"] == TOKEN
    assert operations_of(stack_sets) == ["CreateStackInstances"]


@pytest.mark.parametrize("died", ["before keep", "after keep", "after the end"])
def test_another_process_follows_the_same_operation(stack_sets, make_context, died):
    kept: dict[str, str] = {}
    first = make_context()

    def keep(*_: str, **state: str) -> None:
        if "operation" in state and died != "after the end":
            first.cancellation.leave()
        if "operation" not in state or died == "after keep":
            kept.update(state)

    first = replace(first, keep=keep)
    if died == "after the end":
        deploy(first)
    else:
        with pytest.raises(ActionInterrupted):
            deploy(first)
    second = make_context(earlier=Earlier(datetime.now(timezone.utc), state=kept))

    result = deploy(second)

    assert result.output_variables == {"StackSetId": SET_ID, "OperationId": TOKEN}
    assert operations_of(stack_sets) == ["CreateStackInstances"]
    assert len(stack_sets.asked("DescribeStackSet")) == 1


def test_an_operation_is_stopped_when_its_action_is_abandoned_or_out_of_time(stack_sets, make_context):
    stack_sets.answers["DescribeStackSetOperation"] = in_turn([operation("RUNNING")])

    with pytest.raises(ActionFailed, match="is stopped: CloudFormation begins with no further") as failed:
        deploy(make_context(seconds=0, earlier=EARLIER))
    assert failed.value.code == "Timeout"

    abandoned = make_context(earlier=EARLIER)
    abandoned.cancellation.cancel()
    with pytest.raises(ActionAbandoned, match="is stopped"):
        deploy(abandoned)
    with pytest.raises(ActionAbandoned):
        deploy(replace(abandoned, earlier=None))
    assert not stack_sets.asked("DescribeStackSet")
    assert stack_sets.asked("StopStackSetOperation") == [{"StackSetName": "shop", "OperationId": TOKEN}] * 2


@pytest.mark.parametrize(
    ("answers", "message", "code"),
    [
        ({"DescribeStackSet": NO_SET}, "there is no stack set 'shop' in eu-west-1; correct", "ConfigurationError"),
        ({"CreateStackInstances": BUSY}, "another operation on it is in progress; retry", "ConfigurationError"),
        ({"CreateStackInstances": RefusalError("ValidationError", "no OU")}, "AWS refused.*no OU", "ConfigurationError"),
        ({"CreateStackInstances": RefusalError("AccessDenied", "no", 403)}, "creating instances of stack set", "PermissionError"),
    ],
)  # fmt: skip
def test_what_aws_refuses_is_said(stack_sets, make_context, answers, message, code):
    stack_sets.answers |= {name: in_turn([refusal]) for name, refusal in answers.items()}
    stack_sets.answers["DescribeStackSetOperation"] = in_turn([NO_OPERATION])

    with pytest.raises(ActionFailed, match=message) as failed:
        deploy(make_context())
    assert failed.value.code == code


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"DeploymentTargets": "1234"}, "'1234' is not the id of an account"),
        ({"DeploymentTargets": "App::none.txt"}, "DeploymentTargets: 'App' is not an input artifact"),
        ({"ParameterOverrides": "Name=shop"}, "ParameterOverrides 'Name=shop' is not of the form"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(stack_sets, make_context, change, message):
    with pytest.raises(ActionFailed) as failed:
        deploy(make_context(), **change)

    assert message in str(failed.value)
    assert failed.value.code == "ConfigurationError"
    assert operations_of(stack_sets) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "DeploymentTargets is required"),
        ({"DeploymentTargets": ONE, "MaxConcurrentPercentage": "x"}, "valid integer"),
        ({"DeploymentTargets": ONE, "X": "1"}, "Extra inputs"),
    ],
)
def test_rejects_configuration(change, message):
    with pytest.raises(ValidationError, match=message):
        StackInstancesConfiguration.model_validate({"StackSetName": "shop", "Regions": "us-east-1", **change})
