"""Deploy/AWS/CloudFormationStackSet/1: against moto's CloudFormation, and against written answers for what moto lacks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aws_server import AwsServer, DroppedError, RefusalError, in_turn
from faulty_endpoint import Fault, html
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
    instances,
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
from prefect_codepipeline.model.definition.action_settings import ActionSettings
from prefect_codepipeline.model.definition.aws_settings import AwsSettings
from prefect_codepipeline.tasks.providers.deploy.stack_set_deploy import (
    StackSetConfiguration,
    deploy_stack_set,
)

TEMPLATE = json.dumps(
    {
        "Parameters": {"Name": {"Type": "String", "Default": "none"}},
        "Resources": {"Queue": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": {"Ref": "Name"}}}},
    }
)
ONE, TWO = "111122223333", "444455556666"
MOTO = "123456789012"  # its account
TARGETS = {"DeploymentTargets": f"{ONE},{TWO}", "Regions": "eu-west-1,us-east-1"}


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_work, "SHORTEST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(client, "ATTEMPTS", 0)


@pytest.fixture
def stack_sets(monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsServer]:
    yield from stack_set_server(monkeypatch)


@pytest.fixture
def make_context(make_aws_context: Any, tmp_path: Path) -> Callable[..., ActionContext]:
    (tmp_path / "App").mkdir()
    (tmp_path / "App/t.json").write_text(TEMPLATE)
    tree = InputTree("App", tmp_path / "App")
    return lambda **fields: make_aws_context(
        "Deploy/CloudFormationStackSet",
        **{"input_artifacts": (tree,), "action_execution_id": TOKEN, **fields},
    )


def deploy(context: ActionContext, **more: str) -> ActionResult:
    given = {"StackSetName": "shop", "TemplatePath": "App::t.json", **more}
    return call_to_its_end(deploy_stack_set, StackSetConfiguration.model_validate(given), context)


def earlier(external_id: str | None = None, **state: str) -> Earlier:
    return Earlier(datetime.now(timezone.utc), external_id, None, state)


def lose(answer: dict[str, Any], *, first: Exception | None = None) -> Callable[[dict[str, Any]], Any]:
    return in_turn([first or DroppedError(), answer])


def test_a_stack_set_is_created_updated_and_extended(aws, make_context):
    name = f"set-{uuid4().hex[:8]}"
    here = {"StackSetName": name, "DeploymentTargets": MOTO, "Regions": "us-east-1"}

    created = deploy(
        make_context(),
        **here,
        Description="queues",
        Parameters=f"ParameterKey=Name,ParameterValue={name}",
        Capabilities="CAPABILITY_IAM,CAPABILITY_NAMED_IAM",
        AdministrationRoleArn=f"arn:aws:iam::{MOTO}:role/admin",
        ExecutionRoleName="execute",
    )

    cloudformation = aws("cloudformation")
    found = cloudformation.describe_stack_set(StackSetName=name)["StackSet"]
    assert created.output_variables["StackSetId"] == found["StackSetId"]
    assert created.output_variables["OperationId"] == created.external_execution_id
    assert f"#/stacksets/{name}%3A" in created.external_execution_url
    assert (found["Description"], found["ExecutionRoleName"]) == ("queues", "execute")
    assert found["AdministrationRoleARN"].endswith("role/admin")
    queues = aws("sqs").list_queues(QueueNamePrefix=name)["QueueUrls"]
    assert len(queues) == 1

    update = make_context(action_execution_id="second")
    updated = deploy(
        update,
        **{**here, "Regions": "us-east-1,eu-west-1"},
        Parameters="ParameterKey=Name,UsePreviousValue=true",
    )
    assert updated.output_variables == {"StackSetId": found["StackSetId"], "OperationId": "second"}
    instances = cloudformation.list_stack_instances(StackSetName=name)["Summaries"]
    assert {each["Region"] for each in instances} == {"us-east-1", "eu-west-1"}

    everywhere = make_context(action_execution_id="third")
    assert deploy(everywhere, StackSetName=name).summary == f"updated stack set {name!r} in us-east-1"


def test_a_new_one_without_targets_has_no_instances_and_no_operation(stack_sets, make_context):
    stack_sets.answers["DescribeStackSet"] = in_turn([NO_SET])

    result = deploy(
        make_context(),
        PermissionModel="SERVICE_MANAGED",
        OrganizationsAutoDeployment="EnabledWithStackRetention",
        CallAs="DELEGATED_ADMIN",
    )

    assert result.output_variables == {"StackSetId": SET_ID}
    assert (result.external_execution_id, result.external_execution_url) == (SET_ID, URL)
    (asked,) = stack_sets.asked("CreateStackSet")
    assert asked == {
        "StackSetName": "shop",
        "TemplateBody": TEMPLATE,
        "PermissionModel": "SERVICE_MANAGED",
        "AutoDeployment": {"Enabled": True, "RetainStacksOnAccountRemoval": True},
        "CallAs": "DELEGATED_ADMIN",
        "ClientRequestToken": TOKEN,
    }
    assert operations_of(stack_sets) == ["CreateStackSet"]


def test_one_that_is_there_gets_the_missing_instances_first_and_then_the_update(stack_sets, make_context):
    stack_sets.answers["ListStackInstances"] = in_turn(
        [instances((ONE, "eu-west-1"), (ONE, "us-east-1"), (TWO, "eu-west-1"))]
    )
    stack_sets.answers["DescribeStackSetOperation"] = looks(
        stack_sets, *(operation(each) for each in ("RUNNING", "SUCCEEDED", "RUNNING", "SUCCEEDED"))
    )
    told: list[tuple[str, int | None]] = []
    context = make_context(report_progress=lambda **given: told.append((given["summary"], given["percent"])))

    result = deploy(context, **TARGETS, FailureTolerancePercentage="20", MaxConcurrentPercentage="25")

    (added,), (updated,) = (stack_sets.asked(each) for each in ("CreateStackInstances", "UpdateStackSet"))
    assert (added["Accounts"], added["Regions"], added["OperationId"]) == (
        [TWO],
        ["us-east-1"],
        f"{TOKEN}-instances",
    )
    assert added["OperationPreferences"]["RegionOrder"] == ["us-east-1"]
    assert (updated["Accounts"], updated["Regions"]) == ([ONE, TWO], ["eu-west-1", "us-east-1"])
    assert updated["OperationId"] == TOKEN
    assert updated["OperationPreferences"] == {
        "RegionConcurrencyType": "SEQUENTIAL",
        "FailureTolerancePercentage": 20,
        "MaxConcurrentPercentage": 25,
        "RegionOrder": ["eu-west-1", "us-east-1"],
    }
    assert result.output_variables == {"StackSetId": SET_ID, "OperationId": TOKEN}
    assert (result.external_execution_id, result.external_execution_url) == (TOKEN, URL)
    looked = [each["OperationId"] for each in stack_sets.asked("DescribeStackSetOperation")]
    assert (
        looked == [f"{TOKEN}-instances"] * 2 + [TOKEN] * 3
    )  # the first of these finds that it is not started
    assert told[:2] == [("0 of 1 instances: RUNNING", 0), ("1 of 1 instances: SUCCEEDED", 100)]


def test_a_look_in_mid_wait_costs_two_requests_and_no_input_artifact(stack_sets, make_context):
    stack_sets.answers["DescribeStackSetOperation"] = in_turn(
        [operation("QUEUED")] * 5 + [operation("SUCCEEDED")]
    )
    state = {"route": "update", "set": SET_ID, "operation": TOKEN}

    deploy(make_context(earlier=earlier(TOKEN, **state), input_artifacts=()), **TARGETS)

    names = [name for name, _ in stack_sets.requests]
    assert names == ["DescribeStackSetOperation", "ListStackSetOperationResults"] * 6


def test_units_parallel_regions_and_files_of_artifacts(stack_sets, make_context, tmp_path):
    (tmp_path / "App/ous.txt").write_text('["ou-1111-1example", "r-abcd"]')
    (tmp_path / "App/parameters.txt").write_text('[{"ParameterKey": "Name", "ParameterValue": 7}]')
    stack_sets.answers["ListStackInstances"] = in_turn([instances((ONE, "us-east-1"), unit="r-abcd")])

    deploy(
        make_context(),
        PermissionModel="SERVICE_MANAGED",
        DeploymentTargets="App::ous.txt",
        Regions="us-east-1",
        Parameters="App::parameters.txt",
        RegionConcurrencyType="Parallel",
        ConcurrencyMode="SOFT_FAILURE_TOLERANCE",
    )

    (added,), (asked,) = (stack_sets.asked(each) for each in ("CreateStackInstances", "UpdateStackSet"))
    assert added["DeploymentTargets"] == {"OrganizationalUnitIds": ["ou-1111-1example"]}
    assert asked["DeploymentTargets"] == {"OrganizationalUnitIds": ["ou-1111-1example", "r-abcd"]}
    assert asked["Parameters"] == [{"ParameterKey": "Name", "ParameterValue": "7"}]
    assert asked["AutoDeployment"] == {"Enabled": False}
    assert asked["OperationPreferences"] == {
        "RegionConcurrencyType": "PARALLEL",
        "ConcurrencyMode": "SOFT_FAILURE_TOLERANCE",
    }


@pytest.mark.parametrize("status", ["FAILED", "STOPPED"])
def test_a_failure_says_which_instances_failed_and_why(stack_sets, make_context, status):
    stack_sets.answers["DescribeStackSetOperation"] = in_turn([operation(status, StatusReason="tolerance")])
    first_page = {**results((ONE, "eu-west-1", "SUCCEEDED")), "NextToken": "n"}
    bad = results(
        (TWO, "eu-west-1", "FAILED", "ResourceLogicalId:Queue, ResourceStatusReason:shop already exists"),
        (TWO, "us-east-1", "CANCELLED", "Cancelled since failure tolerance has exceeded"),
    )
    stack_sets.answers["ListStackSetOperationResults"] = in_turn([first_page, bad])

    with pytest.raises(ActionFailed) as failed:
        deploy(make_context())

    assert str(failed.value) == (
        f"operation 'a1' of stack set 'shop' in eu-west-1 ended as {status}: 1 of 3 instances failed: {TWO} in eu-west-1: "
        "ResourceLogicalId:Queue, ResourceStatusReason:shop already exists"
    )
    assert (failed.value.code, failed.value.external_execution_id) == ("JobFailed", TOKEN)
    assert failed.value.external_execution_url == URL


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (results(), "ended as FAILED: the role cannot be assumed"),
        (
            results((ONE, "us-east-1", "CANCELLED", "by a user")),
            "1 of 1 instances were cancelled: .*by a user",
        ),
        (results(*[(ONE, f"r-{n}", "FAILED") for n in range(7)]), "7 of 7 .*no reason given; and 2 more$"),
    ],
)
def test_a_failure_without_failed_instances_and_one_with_many(stack_sets, make_context, found, why):
    stack_sets.answers["DescribeStackSetOperation"] = in_turn(
        [operation("FAILED", StatusReason="the role cannot be assumed")]
    )
    stack_sets.answers["ListStackSetOperationResults"] = in_turn([found])

    with pytest.raises(ActionFailed, match=why):
        deploy(make_context())


def test_failures_within_the_tolerance_are_logged(stack_sets, make_context, caplog):
    stack_sets.answers["ListStackSetOperationResults"] = in_turn(
        [results((ONE, "us-east-1", "FAILED", "full"))]
    )

    assert deploy(make_context()).output_variables["OperationId"] == TOKEN
    assert "Within the failure tolerance" in caplog.text
    assert f"1 of 1 instances failed: {ONE} in us-east-1: full" in caplog.text


def test_throttling_silence_and_dropped_connections_are_borne(stack_sets, make_context, caplog):
    away = [
        RefusalError("Throttling", "Rate exceeded"),
        RefusalError("InternalFailure", "x", 503),
        DroppedError(),
    ]
    stack_sets.answers["DescribeStackSet"] = in_turn([DroppedError(), THERE])
    stack_sets.answers["ListStackInstances"] = in_turn([away[0], instances()])
    stack_sets.answers["DescribeStackSetOperation"] = looks(stack_sets, *away, operation("SUCCEEDED"))

    deploy(make_context(), DeploymentTargets=ONE, Regions="us-east-1")

    assert caplog.text.count("will retry") == 5
    assert operations_of(stack_sets) == ["CreateStackInstances", "UpdateStackSet"]


@pytest.mark.parametrize(
    "lost", [DroppedError(), STARTED_BEFORE, RefusalError("Throttling", "Rate exceeded")]
)
def test_an_update_whose_answer_is_lost_is_found_by_its_id(stack_sets, make_context, lost):
    stack_sets.answers["UpdateStackSet"] = in_turn([lost])

    assert deploy(make_context()).output_variables["OperationId"] == TOKEN

    assert len(stack_sets.asked("UpdateStackSet")) == 1


def test_a_creation_whose_answer_is_lost_becomes_an_update(stack_sets, make_context):
    taken = RefusalError("NameAlreadyExistsException", "Stack set shop already exists", 409)
    stack_sets.answers["DescribeStackSet"] = in_turn([NO_SET, THERE])
    stack_sets.answers["CreateStackSet"] = in_turn([DroppedError(), taken])
    stack_sets.answers["ListStackInstances"] = in_turn([instances()])

    result = deploy(make_context(), DeploymentTargets=ONE, Regions="us-east-1")

    assert result.output_variables == {"StackSetId": SET_ID, "OperationId": TOKEN}
    assert operations_of(stack_sets) == ["CreateStackSet"] * 2 + ["CreateStackInstances", "UpdateStackSet"]
    assert {each["ClientRequestToken"] for each in stack_sets.asked("CreateStackSet")} == {TOKEN}


@pytest.mark.parametrize(
    ("route", "died"),
    [
        ("create", "before keep"),
        ("add", "before keep"),
        ("add", "after keep"),
        ("update", "after the end"),
    ],
)
def test_another_process_continues_with_the_same_operations(stack_sets, make_context, route, died):
    """It dies at the last operation; everything before has been kept."""
    stack_sets.answers["DescribeStackSet"] = in_turn([NO_SET if route == "create" else THERE])
    there = () if route != "update" else ((ONE, "us-east-1"),)
    stack_sets.answers["ListStackInstances"] = in_turn([instances(*there)])
    kept: dict[str, str] = {}
    first = make_context()

    def keep(*_: str, **state: str) -> None:
        if "operation" in state and died != "after the end":
            first.cancellation.leave()
        if "operation" not in state or died == "after keep":
            kept.update(state)

    first = replace(first, keep=keep)
    targets = {"DeploymentTargets": ONE, "Regions": "us-east-1"}
    if died == "after the end":
        deploy(first, **targets)
    else:
        with pytest.raises(ActionInterrupted):
            deploy(first, **targets)
    assert "StopStackSetOperation" not in operations_of(stack_sets)

    result = deploy(make_context(earlier=earlier(**kept)), **targets)

    assert result.output_variables == {"StackSetId": SET_ID, "OperationId": TOKEN}
    assert (
        operations_of(stack_sets)
        == {
            "create": ["CreateStackSet", "CreateStackInstances"],
            "add": ["CreateStackInstances", "UpdateStackSet"],
            "update": ["UpdateStackSet"],
        }[route]
    )


@pytest.mark.parametrize("how", ["abandoned", "out of time"])
def test_an_operation_is_stopped_when_its_action_must_end(stack_sets, make_context, how):
    stack_sets.answers["DescribeStackSetOperation"] = in_turn([operation("RUNNING")])
    kept = earlier(TOKEN, route="update", set=SET_ID, operation=TOKEN)
    context = make_context() if how == "abandoned" else make_context(seconds=0, earlier=kept)
    if how == "abandoned":
        looked = stack_sets.answers["ListStackSetOperationResults"]
        stack_sets.answers["ListStackSetOperationResults"] = lambda request: (
            context.cancellation.cancel() or looked(request)  # type: ignore[func-returns-value]
        )

    kind = ActionAbandoned if how == "abandoned" else ActionFailed
    with pytest.raises(kind, match="the operation on stack set 'shop' in eu-west-1 is stopped: ") as failed:
        deploy(context)

    assert how == "abandoned" or failed.value.code == "Timeout"
    assert stack_sets.asked("StopStackSetOperation") == [{"StackSetName": "shop", "OperationId": TOKEN}]


def test_an_abandoned_action_stops_what_an_earlier_process_started_and_starts_nothing(
    stack_sets, make_context
):
    context = make_context(earlier=earlier(route="update", set=SET_ID), input_artifacts=())
    context.cancellation.cancel()
    stack_sets.answers["DescribeStackSetOperation"] = in_turn([operation("RUNNING")])
    with pytest.raises(ActionAbandoned, match="is stopped"):
        deploy(context)
    stack_sets.answers["DescribeStackSetOperation"] = in_turn([NO_OPERATION])
    with pytest.raises(ActionAbandoned):
        deploy(context)
    with pytest.raises(ActionAbandoned):
        deploy(replace(context, earlier=None))

    assert operations_of(stack_sets) == ["StopStackSetOperation"]
    assert not stack_sets.asked("DescribeStackSet")


def test_an_operation_that_cannot_be_stopped_may_still_run(stack_sets, make_context):
    stack_sets.answers["DescribeStackSetOperation"] = in_turn(
        [operation("RUNNING"), RefusalError("ExpiredToken", "The security token is expired", 403)]
    )
    stack_sets.answers["StopStackSetOperation"] = in_turn([RefusalError("ExpiredToken", "expired", 403)])

    with pytest.raises(ActionFailed) as failed:
        deploy(make_context())

    assert failed.value.code == "PermissionError"
    assert "renew the credentials of the worker; Operation 'a1' of stack set 'shop'" in str(failed.value)
    assert "may still run: stopping operation 'a1' of stack set 'shop' in eu-west-1: AWS refused" in str(
        failed.value
    )
    assert str(failed.value).endswith(f"stop it at {URL}")


@pytest.mark.parametrize(
    ("operation_name", "refusal", "message", "code"),
    [
        ("UpdateStackSet", BUSY, "updating stack set 'shop' in eu-west-1: another operation on it is in progress; retry", "ConfigurationError"),
        ("UpdateStackSet", NO_SET, "it was deleted in the meantime, not by this action", "JobFailed"),
        ("UpdateStackSet", RefusalError("ValidationError", "Parameters: [Name] must have values"), "must have values", "ConfigurationError"),
        ("UpdateStackSet", RefusalError("AccessDenied", "not authorized", 403), "AWS refused: .*not authorized", "PermissionError"),
        ("DescribeStackSetOperation", NO_OPERATION, "was deleted in the meantime, not by this action$", "JobFailed"),
        ("DescribeStackSet", RefusalError("AccessDenied", "no", 403), "looking up stack set 'shop' in eu-west-1: AWS refused", "PermissionError"),
    ],
)  # fmt: skip
def test_what_aws_refuses_is_said(stack_sets, make_context, operation_name, refusal, message, code):
    stack_sets.answers[operation_name] = in_turn([refusal])
    if operation_name != "DescribeStackSetOperation":
        stack_sets.answers["DescribeStackSetOperation"] = in_turn([NO_OPERATION])
    stack_sets.answers["StopStackSetOperation"] = in_turn([NO_OPERATION])

    with pytest.raises(ActionFailed, match=message) as failed:
        deploy(make_context())
    assert failed.value.code == code


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {**TARGETS, "TemplatePath": "App::none.json"},
            "TemplatePath: input artifact 'App' has no file 'none.json'",
        ),
        ({"TemplatePath": "App::big.json"}, "has 460,801 bytes; the limit is 460,800"),
        ({"TemplatePath": "App::large.json"}, "set 'location' of 'aws'"),
        ({"Parameters": "ParameterKey=Name"}, "parameter 'Name' has no ParameterValue"),
        ({**TARGETS, "DeploymentTargets": "r-abcd"}, "PermissionModel SELF_MANAGED needs accounts"),
    ],
)
@pytest.mark.parametrize("there", [True, False])
def test_what_cannot_be_is_refused_before_anything_starts(
    stack_sets, make_context, tmp_path, change, message, there
):
    for name, text in {
        "big.json": "x" * 460_801,
        "large.json": json.dumps({"Resources": {}, "Description": "x" * 51_200}),
    }.items():
        (tmp_path / "App" / name).write_text(text)
    stack_sets.answers["DescribeStackSet"] = in_turn([THERE if there else NO_SET])

    with pytest.raises(ActionFailed) as failed:
        deploy(make_context(), **change)

    assert message in str(failed.value)
    assert failed.value.code == "ConfigurationError"
    assert operations_of(stack_sets) == []


def test_a_large_template_goes_through_the_location(
    stack_sets, make_context, make_bucket, moto_url, tmp_path, monkeypatch
):
    monkeypatch.setenv("AWS_ENDPOINT_URL", stack_sets.url)
    bucket = make_bucket()
    (tmp_path / "App/t.json").write_text(json.dumps({"Resources": {}, "Description": "x" * 51_200}))
    aws = AwsSettings(location=f"s3://{bucket}/ci", region="eu-west-1", endpoint_urls={"s3": moto_url})

    deploy(make_context(settings=ActionSettings(aws=aws)))

    (asked,) = stack_sets.asked("UpdateStackSet")
    assert asked["TemplateURL"].startswith(f"{moto_url}/{bucket}/ci/release/")
    assert asked["TemplateURL"].endswith("/t.json")


def test_an_endpoint_that_answers_html(aws_endpoint, make_context):
    aws_endpoint.faults = [Fault("POST", "/", html, times=9)]

    with pytest.raises(ActionFailed, match="what answered is not AWS") as failed:
        deploy(make_context())
    assert failed.value.code == "ConfigurationError"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Regions": "us-east-1"}, "given together"),
        ({"DeploymentTargets": ONE}, "given together"),
        ({"FailureTolerancePercentage": "101"}, "less than or equal to 100"),
        ({"StackSetName": "1shop"}, "should match pattern"),
        ({"X": "1"}, "Extra inputs"),
    ],
)
def test_rejects_configuration(change, message):
    with pytest.raises(ValidationError, match=message):
        StackSetConfiguration.model_validate(
            {"StackSetName": "shop", "TemplatePath": "App::t.json", **change}
        )
