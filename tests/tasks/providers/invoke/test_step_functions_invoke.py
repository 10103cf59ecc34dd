"""Invoke/AWS/StepFunctions/1, against moto's Step Functions over HTTP, which runs the states."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from faulty_endpoint import Fault, html, json_refusal
from provider_calls import call_to_its_end
from pydantic import ValidationError
from waiting import until

from prefect_codepipeline.actions.aws import client, remote_work
from prefect_codepipeline.actions.registry import ActionContext, ActionResult, Earlier, get_provider
from prefect_codepipeline.actions.work import InputTree
from prefect_codepipeline.errors import ActionAbandoned, ActionFailed, ActionInterrupted
from prefect_codepipeline.tasks.providers.invoke.step_functions_invoke import (
    StepFunctionsConfiguration,
    invoke_state_machine,
)

PASS = {"Type": "Pass", "Parameters": {"got.$": "$"}, "End": True}
FAIL = {"Type": "Fail", "Error": "Deploy.Refused", "Cause": "the budget is spent"}


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_work, "SHORTEST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(client, "ATTEMPTS", 2)


@pytest.fixture
def make_machine(aws: Any, moto_runs_states: None) -> Callable[..., str]:
    def make(*states: tuple[str, dict[str, Any]], kind: str = "STANDARD") -> str:
        named = dict(states)
        for (name, _), (following, _) in pairwise(states):
            named[name] = {**named[name], "Next": following}
        definition = {"StartAt": states[0][0], "States": named}
        return str(
            aws("stepfunctions").create_state_machine(
                name=f"m-{uuid4().hex[:8]}",
                definition=json.dumps(definition),
                roleArn="arn:aws:iam::123456789012:role/states",
                type=kind,
            )["stateMachineArn"]
        )

    return make


@pytest.fixture
def make_context(make_aws_context: Any) -> Callable[..., ActionContext]:
    return lambda **fields: make_aws_context("Invoke/StepFunctions", **fields)


def invoke(arn: str, context: ActionContext, **more: str) -> ActionResult:
    configuration = StepFunctionsConfiguration.model_validate({"StateMachineArn": arn, **more})
    return call_to_its_end(invoke_state_machine, configuration, context)


def executions(aws: Any, arn: str) -> list[dict[str, Any]]:
    return list(aws("stepfunctions").list_executions(stateMachineArn=arn)["executions"])


def output(result: ActionResult) -> Any:
    return json.loads((result.output_artifacts["Out"].directory / "output.json").read_text())


def test_a_machine_is_followed_to_its_end_with_its_output(aws, make_machine, make_context):
    arn = make_machine(("Wait", {"Type": "Wait", "Seconds": 1}), ("Work", PASS))
    told: list[str] = []
    kept: list[Any] = []
    context = make_context(
        outputs=("Out",),
        report_progress=lambda **progress: told.append(progress["summary"]),
        keep=lambda *given, **state: kept.append((given, state)),
    )

    result = invoke(arn, context, ExecutionNamePrefix="shop", Input='{"action": "test"}')

    (execution,) = executions(aws, arn)
    assert execution["name"] == f"shop-{context.action_execution_id}"
    assert execution["status"] == "SUCCEEDED"
    assert output(result) == {"got": {"action": "test"}}
    execution_arn = execution["executionArn"]
    assert result.output_variables == {"StateMachineArn": arn, "ExecutionArn": execution_arn}
    page = f"https://us-east-1.console.aws.amazon.com/states/home?region=us-east-1#/v2/executions/details/{execution_arn}"
    assert (result.external_execution_id, result.external_execution_url) == (execution_arn, page)
    assert kept == [((execution_arn, page), {"execution": execution_arn})]
    assert told[0].endswith(": RUNNING")
    assert told[-1].endswith(": SUCCEEDED")


def test_without_input_it_gets_an_empty_object_and_a_file_is_read_from_the_artifact(
    make_machine, make_context, tmp_path
):
    arn = make_machine(("Work", PASS))
    tree = InputTree("In", tmp_path / "In")
    (tree.directory / "assets").mkdir(parents=True)
    (tree.directory / "assets" / "input.json").write_text('{"from": "file"}')

    assert output(invoke(arn, make_context(outputs=("Out",)))) == {"got": {}}
    context = make_context(outputs=("Out",), input_artifacts=(tree,))
    result = invoke(arn, context, InputType="FilePath", Input="assets/input.json")
    assert output(result) == {"got": {"from": "file"}}


def test_a_failure_has_the_state_the_error_and_the_cause(make_machine, make_context):
    arn = make_machine(("Work", {"Type": "Pass"}), ("Deploy", FAIL))
    context = make_context()

    with pytest.raises(ActionFailed) as failed:
        invoke(arn, context)

    assert str(failed.value) == (
        f"execution '{context.action_execution_id}' of state machine '{arn.rpartition(':')[2]}' ended with FAILED in "
        "state 'Deploy': Deploy.Refused: the budget is spent"
    )
    assert failed.value.code == "JobFailed"
    assert failed.value.external_execution_id
    assert failed.value.external_execution_url


def test_an_execution_that_somebody_stops_and_one_that_takes_too_long(aws, make_machine, make_context):
    arn = make_machine(("Wait", {"Type": "Wait", "Seconds": 30}), ("Work", PASS))
    context = make_context()

    def stop() -> None:
        (execution,) = until(lambda: executions(aws, arn))
        aws("stepfunctions").stop_execution(executionArn=execution["executionArn"])

    threading.Thread(target=stop).start()
    with pytest.raises(ActionFailed, match="ended with ABORTED") as failed:
        invoke(arn, context)
    assert failed.value.code == "JobFailed"

    with pytest.raises(ActionFailed, match=r"ran out of time.*was stopped") as failed:
        invoke(arn, make_context(seconds=2))
    assert failed.value.code == "Timeout"
    assert {each["status"] for each in executions(aws, arn)} == {"ABORTED"}


def test_an_abandoned_execution_is_stopped(aws, make_machine, make_context):
    arn = make_machine(("Wait", {"Type": "Wait", "Seconds": 30}), ("Work", PASS))
    context = make_context(keep=lambda *_, **__: threading.Timer(0.2, context.cancellation.cancel).start())

    with pytest.raises(ActionAbandoned, match="the execution of the state machine was stopped"):
        invoke(arn, context)

    (execution,) = executions(aws, arn)
    assert execution["status"] == "ABORTED"


@pytest.mark.parametrize("died", ["before keep", "after keep", "after the end"])
def test_another_process_follows_the_same_execution(aws, make_machine, make_context, aws_endpoint, died):
    arn = make_machine(("Wait", {"Type": "Wait", "Seconds": 2}), ("Work", PASS))
    kept: dict[str, str] = {}
    first = make_context()

    def keep(external_id: str, url: str, **state: str) -> None:
        if died == "before keep":
            first.cancellation.leave()
            return
        kept.update(state)
        if died == "after keep":
            first.cancellation.leave()

    first = replace(first, keep=keep)
    if died == "after the end":
        invoke(arn, first)
        kept.clear()  # and what it kept is lost, which is the harder case
    else:
        with pytest.raises(ActionInterrupted):
            invoke(arn, first)
    assert "StopExecution" not in aws_endpoint.operations()

    earlier = Earlier(datetime.now(timezone.utc), kept.get("execution"), state=kept)
    second = make_context(outputs=("Out",), earlier=earlier, action_execution_id=first.action_execution_id)
    assert get_provider(second.action.action_type_id).may_restart(None, second)
    result = invoke(arn, second)

    assert output(result) == {"got": {}}
    (execution,) = executions(aws, arn)
    assert result.external_execution_id == execution["executionArn"]
    assert aws_endpoint.operations().count("StartExecution") == (1 if died == "after keep" else 2)


def test_a_start_whose_answer_is_lost_starts_once(aws, make_machine, make_context, aws_endpoint):
    arn = make_machine(("Work", PASS))
    ask = aws_endpoint.ask_upstream

    def lost(request: Any) -> Any:
        answer = ask(request)
        if request.operation == "StartExecution" and aws_endpoint.operations().count("StartExecution") == 1:
            until(lambda: executions(aws, arn)[0]["status"] == "SUCCEEDED")
            raise ConnectionAbortedError
        return answer

    aws_endpoint.ask_upstream = lost

    result = invoke(arn, make_context())

    (execution,) = executions(aws, arn)
    assert result.external_execution_id == execution["executionArn"]


def test_throttling_and_a_service_that_is_away_are_borne(make_machine, make_context, aws_endpoint, caplog):
    arn = make_machine(("Wait", {"Type": "Wait", "Seconds": 1}), ("Work", PASS))
    aws_endpoint.faults = [
        Fault("POST", "DescribeExecution", json_refusal(400, "ThrottlingException"), times=2),
        Fault("POST", "DescribeExecution", json_refusal(503, "ServiceUnavailable"), times=2),
        Fault("POST", "DescribeExecution", "drop", times=2),
        Fault("POST", "StartExecution", json_refusal(503, "ServiceUnavailable")),
    ]

    assert "succeeded" in invoke(arn, make_context()).summary
    assert caplog.text.count("will retry") == 2  # botocore itself asks three times


def test_credentials_that_expire_in_mid_wait_end_the_action(make_machine, make_context, aws_endpoint):
    arn = make_machine(("Wait", {"Type": "Wait", "Seconds": 30}), ("Work", PASS))
    aws_endpoint.faults = [
        Fault(
            "POST", "DescribeExecution|StopExecution", json_refusal(400, "ExpiredTokenException"), 99, after=1
        )
    ]

    with pytest.raises(ActionFailed, match="renew the credentials") as failed:
        invoke(arn, make_context())
    assert failed.value.code == "PermissionError"
    assert "may still run" in str(failed.value)
    assert failed.value.external_execution_id


def test_an_express_machine_has_succeeded_when_it_is_started(aws, make_machine, make_context, aws_endpoint):
    arn = make_machine(("Wait", {"Type": "Wait", "Seconds": 30}), ("Work", PASS), kind="EXPRESS")
    kept: list[Any] = []
    context = make_context(keep=lambda *given, **state: kept.append((len(given), *state)))

    result = invoke(arn, context)

    assert "express executions are not followed" in result.summary
    assert result.output_variables == {"StateMachineArn": arn}
    assert kept == [(0, "machine"), (2, "execution")]
    assert aws_endpoint.operations() == ["DescribeStateMachine", "StartExecution"]
    with pytest.raises(ActionFailed, match="remove 'Out' from the action's outputs"):
        invoke(arn, make_context(outputs=("Out",)))


def test_an_express_machine_whose_answer_is_lost_is_not_started_again(
    make_machine, make_context, aws_endpoint
):
    arn = make_machine(("Work", PASS), kind="EXPRESS")
    aws_endpoint.faults = [Fault("POST", "StartExecution", "drop", times=9)]

    with pytest.raises(ActionFailed) as failed:
        invoke(arn, make_context())

    assert failed.value.code == "SystemUnavailable"
    assert aws_endpoint.operations().count("StartExecution") == 1


@pytest.mark.parametrize(
    ("state", "may"),
    [({}, True), ({"machine": "EXPRESS"}, False), ({"machine": "EXPRESS", "execution": "arn:x"}, True)],
)
def test_an_express_machine_is_never_started_twice(make_machine, make_context, aws_endpoint, state, may):
    context = make_context(earlier=Earlier(datetime.now(timezone.utc), state=state))

    assert get_provider(context.action.action_type_id).may_restart(None, context) is may
    if "execution" in state:
        arn = make_machine(("Work", PASS), kind="EXPRESS")
        assert invoke(arn, context).external_execution_id == "arn:x"
        assert "StartExecution" not in aws_endpoint.operations()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"StateMachineArn": "arn:aws:states:us-east-1:123456789012:stateMachine:none"},
            "there is no state machine",
        ),
        ({"StateMachineArn": "shop"}, "is not the ARN of a state machine"),
        ({"Input": "{"}, "Input is not JSON"),
        ({"Input": json.dumps("x" * 262_144)}, "has 262,146 bytes; the limit of Step Functions is 262,144"),
        ({"ExecutionNamePrefix": "a b"}, "ExecutionNamePrefix 'a b' must have"),
        ({"ExecutionNamePrefix": "a" * 44}, "at most 43 characters"),
        ({"InputType": "FilePath"}, "needs an input artifact, and in Input the path"),
        ({"InputType": "FilePath", "Input": "none.json"}, "input artifact 'In' has no file 'none.json'"),
        ({"InputType": "FilePath", "Input": "../In2/x.json"}, "has no file '../In2/x.json'"),
        ({"InputType": "FilePath", "Input": "bad.json"}, "file 'bad.json' is not JSON"),
        ({"InputType": "FilePath", "Input": "big.json"}, "has 262,146 bytes; the limit is 262,144"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(
    make_machine, make_context, aws_endpoint, tmp_path: Path, change, message
):
    for name, text in {
        "In/bad.json": "{",
        "In/big.json": json.dumps("x" * 262_144),
        "In2/x.json": "{}",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    arn = make_machine(("Work", PASS))
    context = make_context(input_artifacts=(InputTree("In", tmp_path / "In"),))

    with pytest.raises(ActionFailed) as failed:
        invoke(change.get("StateMachineArn", arn), context, **_more(change))

    assert message in str(failed.value)
    assert failed.value.code == "ConfigurationError"
    assert "StartExecution" not in aws_endpoint.operations()


def test_a_machine_that_is_being_deleted_and_an_execution_that_is_gone(
    make_machine, make_context, aws_endpoint
):
    arn = make_machine(("Work", PASS))
    deleting = json.dumps({"stateMachineArn": arn, "status": "DELETING", "type": "STANDARD"}).encode()
    aws_endpoint.faults = [Fault("POST", "DescribeStateMachine", lambda: (200, {}, deleting))]
    with pytest.raises(ActionFailed, match="is being deleted; correct StateMachineArn"):
        invoke(arn, make_context())
    assert "StartExecution" not in aws_endpoint.operations()

    gone = json_refusal(400, "ExecutionDoesNotExist", "Execution does not exist")
    aws_endpoint.faults = [Fault("POST", "/ (Describe|Stop)Execution", gone, times=9)]
    with pytest.raises(ActionFailed, match=r"reading the state of execution .*ExecutionDoesNotExist"):
        invoke(arn, make_context())


def _more(change: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in change.items() if name != "StateMachineArn"}


def test_an_endpoint_that_answers_html(make_machine, make_context, aws_endpoint):
    aws_endpoint.faults = [Fault("POST", "StartExecution", html, times=9)]

    with pytest.raises(ActionFailed, match=r"not AWS|does not answer as Step Functions does"):
        invoke(make_machine(("Work", PASS)), make_context())


def test_who_may_not_start_it_is_reported(make_machine, make_context, aws_endpoint):
    aws_endpoint.faults = [Fault("POST", "StartExecution", json_refusal(400, "AccessDeniedException", "no"))]

    with pytest.raises(
        ActionFailed, match=r"starting execution .* in region us-east-1: AWS refused"
    ) as failed:
        invoke(make_machine(("Work", PASS)), make_context())
    assert failed.value.code == "PermissionError"


def test_work_that_ends_at_once_takes_little_time(aws, make_machine, make_context, aws_endpoint):
    arn = make_machine(("Work", PASS))
    context = make_context()
    invoke(arn, make_context())
    began = time.monotonic()

    invoke(arn, context)

    assert time.monotonic() - began < 3
    assert len(aws_endpoint.operations()) < 12


@pytest.mark.parametrize(
    ("change", "message"), [({"InputType": "File"}, "'Literal' or 'FilePath'"), ({"X": "1"}, "Extra inputs")]
)
def test_rejects_configuration(change, message):
    with pytest.raises(ValidationError, match=message):
        StepFunctionsConfiguration.model_validate({"StateMachineArn": "arn", **change})
