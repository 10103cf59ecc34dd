"""Invoke/AWS/StepFunctions/1: start a state machine, and follow a standard one until it has ended.

https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-StepFunctions.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from prefect_codepipeline.actions.artifacts.input_files import read_input_file
from prefect_codepipeline.actions.aws.account import client_of
from prefect_codepipeline.actions.aws.client import error_code, translated
from prefect_codepipeline.actions.aws.console import console_url
from prefect_codepipeline.actions.aws.remote_work import (
    Following,
    Look,
    Work,
    bearing_silence,
    failed,
    follow,
    started,
)
from prefect_codepipeline.actions.registry import (
    ActionConfiguration,
    ActionContext,
    ActionResult,
    Lookup,
    OutputTree,
    action_provider,
)
from prefect_codepipeline.errors import ActionFailed, wrong_configuration

MAX_INPUT_BYTES = 262_144
OUTPUT_FILE = "output.json"
# arn:aws:states:eu-west-1:111122223333:stateMachine:Name, maybe with a version or an alias.
_ARN = re.compile(
    r"arn:(?P<partition>[^:]+):states:(?P<region>[^:]+):(?P<account>\d{12}):stateMachine:(?P<name>[^:]+)(:[^:]+)?"
)
_PREFIX = re.compile(r"[0-9A-Za-z_-]{1,43}")
_STEP = "execution"
_HISTORY_EVENTS = 100


class StepFunctionsConfiguration(ActionConfiguration):
    """The configuration of an action."""

    state_machine_arn: str
    execution_name_prefix: str | None = None
    input_type: Literal["Literal", "FilePath"] = "Literal"
    input: str | None = None


@dataclass(frozen=True)
class _Machine:
    """A state machine, and the execution that the action wants from it."""

    client: Any
    arn: str
    name: str
    execution_name: str

    @property
    def what(self) -> str:
        return f"execution {self.execution_name!r} of state machine {self.name!r}"


def _can_find_again(configuration: StepFunctionsConfiguration, context: ActionContext) -> bool:
    """A standard execution is found by its name. An express one may have been started if its id was not kept."""
    state = context.earlier.state if context.earlier else {}
    return state.get("machine") != "EXPRESS" or _STEP in state


def _named(configuration: StepFunctionsConfiguration, context: ActionContext) -> Iterator[Lookup]:
    if named := _ARN.fullmatch(configuration.state_machine_arn):
        arn = {"stateMachineArn": configuration.state_machine_arn}
        what = f"state machine {named['name']!r}"
        yield Lookup(what, "stepfunctions", "describe_state_machine", arn, region=named["region"])


@action_provider(
    category="Invoke",
    provider="StepFunctions",
    inputs=(0, 1),
    outputs=(0, 1),
    restartable=_can_find_again,
    online=_named,
)
def invoke_state_machine(configuration: StepFunctionsConfiguration, context: ActionContext) -> ActionResult:
    """Start the state machine. A standard one is followed; an express one has succeeded when it is started."""
    machine = _machine(configuration, context)
    if _is_express(machine, context):
        return _start_express(machine, configuration, context)
    work = started(context, _STEP, lambda: _start(machine, _input(configuration, context)), lambda: None)
    state = _follow(machine, work, context)
    if state["status"] != "SUCCEEDED":
        raise failed(
            _failure(machine, state), work, "Timeout" if state["status"] == "TIMED_OUT" else "JobFailed"
        )
    return ActionResult(
        summary=f"{machine.what} succeeded",
        output_artifacts=_output(machine, state, work, context),
        output_variables={"StateMachineArn": machine.arn, "ExecutionArn": work.id},
        external_execution_id=work.id,
        external_execution_url=work.url,
    )


def _machine(configuration: StepFunctionsConfiguration, context: ActionContext) -> _Machine:
    named = _ARN.fullmatch(configuration.state_machine_arn)
    if named is None:
        raise wrong_configuration(
            f"StateMachineArn {configuration.state_machine_arn!r} is not the ARN of a state machine"
        )
    prefix = configuration.execution_name_prefix
    if prefix and not _PREFIX.fullmatch(prefix):
        raise wrong_configuration(
            f"ExecutionNamePrefix {prefix!r} must have at most 43 characters out of letters, digits, '-' and '_'"
        )
    return _Machine(
        client=client_of(context, "stepfunctions", named["region"]),
        arn=configuration.state_machine_arn,
        name=named["name"],
        execution_name="-".join(filter(None, [prefix, context.action_execution_id])),
    )


def _input(configuration: StepFunctionsConfiguration, context: ActionContext) -> str:
    """The input of the execution, as JSON."""
    where, text = "Input", configuration.input or ""
    if configuration.input_type == "FilePath":
        if not text or not context.input_artifacts:
            raise wrong_configuration(
                "InputType FilePath needs an input artifact, and in Input the path of a file in it"
            )
        where = f"file {text!r}"
        reference = f"{context.input_artifacts[0].name}::{text}"
        content = read_input_file(context.input_artifacts, reference, "Input", MAX_INPUT_BYTES)
        text = content.decode(errors="replace")
    text = text or "{}"
    if (size := len(text.encode())) > MAX_INPUT_BYTES:
        raise wrong_configuration(
            f"{where} has {size:,} bytes; the limit of Step Functions is {MAX_INPUT_BYTES:,}"
        )
    try:
        json.loads(text)
    except ValueError as error:
        raise wrong_configuration(f"{where} is not JSON, which a state machine needs: {error}") from None
    return text


def _is_express(machine: _Machine, context: ActionContext) -> bool:
    if context.earlier and _STEP in context.earlier.state:
        return context.earlier.state.get("machine") == "EXPRESS"
    with bearing_silence(context, f"state machine {machine.name!r}"):
        return _kind(machine) == "EXPRESS"


def _kind(machine: _Machine) -> str:
    from botocore.exceptions import ClientError

    region = machine.client.meta.region_name
    with translated(f"looking up state machine {machine.name!r} in region {region}"):
        try:
            answer = machine.client.describe_state_machine(stateMachineArn=machine.arn)
        except ClientError as error:
            if error_code(error) in ("StateMachineDoesNotExist", "InvalidArn"):
                raise wrong_configuration(
                    f"there is no state machine {machine.arn!r}; correct StateMachineArn"
                ) from error
            raise
    if answer.get("status") == "DELETING":
        raise wrong_configuration(f"state machine {machine.arn!r} is being deleted; correct StateMachineArn")
    return str(answer.get("type", "STANDARD"))


def _start(machine: _Machine, given: str) -> Work:
    """Start the execution. A standard one with this name is started only once: the name is the token."""
    from botocore.exceptions import ClientError

    with translated(f"starting {machine.what} in region {machine.client.meta.region_name}"):
        try:
            answer = machine.client.start_execution(
                stateMachineArn=machine.arn, name=machine.execution_name, input=given
            )
        except ClientError as error:
            # An earlier process, or a request whose answer was lost, started it, and it has ended.
            if error_code(error) != "ExecutionAlreadyExists":
                raise
            arn = _ARN.sub(r"arn:\g<partition>:states:\g<region>:\g<account>:execution:\g<name>", machine.arn)
            return _work(f"{arn}:{machine.execution_name}")
    return _work(answer["executionArn"])


def _start_express(
    machine: _Machine, configuration: StepFunctionsConfiguration, context: ActionContext
) -> ActionResult:
    if context.action.output_artifacts:
        raise wrong_configuration(
            f"state machine {machine.name!r} is an express one, which has no output artifact; remove "
            f"{context.action.output_artifacts[0].name!r} from the action's outputs"
        )
    earlier = context.earlier
    if earlier and (kept := earlier.state.get(_STEP)):
        work = Work(kept, earlier.url)
    else:
        given = _input(configuration, context)
        # Before the start, which is made only once: an express execution has no name that could find it again.
        context.check()  # nothing starts in an action that must end
        context.keep(machine="EXPRESS")
        # boto3 would repeat a request whose answer was lost, and start a second execution.
        once = client_of(context, "stepfunctions", machine.client.meta.region_name, attempts=0)
        work = _start(replace(machine, client=once), given)
        context.keep(work.id, work.url, **{_STEP: work.id})
    return ActionResult(
        summary=f"{machine.what} was started; express executions are not followed",
        output_variables={"StateMachineArn": machine.arn},
        external_execution_id=work.id,
        external_execution_url=work.url,
    )


def _follow(machine: _Machine, work: Work, context: ActionContext) -> Mapping[str, Any]:
    """The execution when it has ended."""
    state: dict[str, Any] = {}

    def look() -> Look:
        with translated(f"reading the state of {machine.what}"):
            state.clear()
            state.update(machine.client.describe_execution(executionArn=work.id))
        return Look(
            state["status"] not in ("RUNNING", "PENDING_REDRIVE"), f"{machine.what}: {state['status']}"
        )

    def stop() -> str:
        with translated(f"stopping {machine.what}"):
            machine.client.stop_execution(
                executionArn=work.id, error="Abandoned", cause="CodePipeline ended the action"
            )
        return "the execution of the state machine was stopped"

    follow(Following(machine.what, work, look, stop), context)
    return state


def _failure(machine: _Machine, state: Mapping[str, Any]) -> str:
    where = _failed_state(machine, state["executionArn"])
    reason = ": ".join(filter(None, [state.get("error"), state.get("cause")]))
    return (
        f"{machine.what} ended with {state['status']}"
        + (f" in state {where!r}" if where else "")
        + (f": {reason}" if reason else "")
    )


def _failed_state(machine: _Machine, execution_arn: str) -> str | None:
    """The state that ended the execution, or None if it is not known: it is not worth another failure."""
    try:
        with translated("reading the history"):
            events = machine.client.get_execution_history(
                executionArn=execution_arn,
                reverseOrder=True,
                maxResults=_HISTORY_EVENTS,
                includeExecutionData=False,
            ).get("events", ())
    except ActionFailed:
        return None
    by_id = {event["id"]: event for event in events}
    event = max(events, key=lambda each: each["id"], default=None)
    while event:
        if name := event.get("stateEnteredEventDetails", {}).get("name"):
            return str(name)
        event = by_id.get(event.get("previousEventId"))
    return None


def _output(
    machine: _Machine, state: Mapping[str, Any], work: Work, context: ActionContext
) -> dict[str, OutputTree]:
    if not context.action.output_artifacts:
        return {}
    if "output" not in state:
        raise failed(
            f"{machine.what} succeeded, but AWS does not show its output; allow the worker to use the key of the state "
            "machine, or remove the output artifact",
            work,
        )
    directory = context.scratch / "output"
    directory.mkdir()
    (directory / OUTPUT_FILE).write_text(state["output"])
    return {context.action.output_artifacts[0].name: OutputTree(directory)}


def _work(arn: str) -> Work:
    return Work(arn, console_url(arn, f"states/home?region={{region}}#/v2/executions/details/{arn}"))
