"""Deploy/AWS/CloudFormation/1: create, update or delete a stack, or make and execute a change set.

https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-CloudFormation.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import model_validator

from prefect_codepipeline.actions.aws.remote_work import Work
from prefect_codepipeline.actions.cloudformation import change_sets
from prefect_codepipeline.actions.cloudformation.change_sets import ChangeSet
from prefect_codepipeline.actions.cloudformation.operations import (
    Change,
    NothingToDo,
    create_or_update,
    delete,
    replace_failed,
)
from prefect_codepipeline.actions.cloudformation.stack import Stack, outputs_of, stack_url
from prefect_codepipeline.actions.cloudformation.stack_input import (
    Capabilities,
    StackInput,
    read_stack_input,
    read_template,
)
from prefect_codepipeline.actions.registry import (
    ActionConfiguration,
    ActionContext,
    ActionResult,
    Lookup,
    OutputTree,
    action_provider,
)
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.names import slug
from prefect_codepipeline.prefect_api.artifacts import publish_table
from prefect_codepipeline.prefect_api.runs import ids_of_task_run

Mode = Literal[
    "CREATE_UPDATE", "REPLACE_ON_FAILURE", "DELETE_ONLY", "CHANGE_SET_REPLACE", "CHANGE_SET_EXECUTE"
]
# A stack need not be there: why, by the mode.
_IF_MISSING = {
    "CHANGE_SET_EXECUTE": "the action that makes the change set creates it",
    "DELETE_ONLY": "there is nothing to delete",
}
_ROLE = re.compile(r"arn:[^:]+:iam::(?P<account>\d{12}):role/(?:.*/)?(?P<name>[^/]+)")
_WITH_TEMPLATE = ("CREATE_UPDATE", "REPLACE_ON_FAILURE", "CHANGE_SET_REPLACE")


class CloudFormationConfiguration(ActionConfiguration):
    """The configuration of an action."""

    action_mode: Mode
    stack_name: str
    change_set_name: str | None = None
    capabilities: Capabilities = ()
    role_arn: str | None = None
    template_path: str | None = None
    template_configuration: str | None = None
    parameter_overrides: str | None = None
    output_file_name: str | None = None

    @model_validator(mode="after")
    def _has_what_its_mode_needs(self) -> CloudFormationConfiguration:
        if self.action_mode in _WITH_TEMPLATE and not self.template_path:
            raise ValueError(f"TemplatePath is required with ActionMode {self.action_mode}")
        if self.action_mode.startswith("CHANGE_SET") and not self.change_set_name:
            raise ValueError(f"ChangeSetName is required with ActionMode {self.action_mode}")
        return self


def _named(configuration: CloudFormationConfiguration, context: ActionContext) -> Iterator[Lookup]:
    why = _IF_MISSING.get(configuration.action_mode, "the action creates it")
    stack = {"StackName": configuration.stack_name}
    yield Lookup(
        f"stack {configuration.stack_name!r}", "cloudformation", "describe_stacks", stack, if_missing=why
    )
    role = _ROLE.fullmatch(configuration.role_arn or "")
    if role and configuration.action_mode != "CHANGE_SET_EXECUTE":
        name = {"RoleName": role["name"]}
        yield Lookup(f"role {role['name']!r}", "iam", "get_role", name, account_id=role["account"])


@action_provider(
    category="Deploy",
    provider="CloudFormation",
    inputs=(0, 10),
    outputs=(0, 1),
    restartable=True,
    online=_named,
)
def deploy_with_cloudformation(
    configuration: CloudFormationConfiguration, context: ActionContext
) -> ActionResult:
    """Do what ActionMode says, and wait until CloudFormation has done it.

    What an earlier process started is found again by its id, or by its token: the action execution id.
    """
    stack = Stack.of(configuration.stack_name, context)
    if configuration.action_mode == "DELETE_ONLY":
        return _delete(configuration, stack)
    if configuration.action_mode == "CHANGE_SET_REPLACE":
        return _make_change_set(configuration, stack)
    if configuration.action_mode == "CHANGE_SET_EXECUTE":
        return _execute_change_set(configuration, stack)
    return _create_or_update(configuration, stack)


def _create_or_update(configuration: CloudFormationConfiguration, stack: Stack) -> ActionResult:
    if configuration.action_mode == "REPLACE_ON_FAILURE":
        replace_failed(stack)
    try:
        work = create_or_update(stack, lambda: _change(configuration, stack))
    except NothingToDo:
        return _deployed(configuration, stack, None, f"{stack.what} is up to date: nothing has changed")
    return _deployed(configuration, stack, work, f"deployed {stack.what}")


def _delete(configuration: CloudFormationConfiguration, stack: Stack) -> ActionResult:
    work = delete(stack, configuration.role_arn, stack.token)
    if work is None:
        return ActionResult(f"there is no {stack.what}: nothing to delete", _output(configuration, stack, {}))
    return ActionResult(
        f"deleted {stack.what}",
        _output(configuration, stack, {}),
        external_execution_id=work.id,
        external_execution_url=work.url,
    )


def _make_change_set(configuration: CloudFormationConfiguration, stack: Stack) -> ActionResult:
    change_set = _change_set(configuration, stack)
    work, state = change_sets.replace(change_set, lambda: _change_set_arguments(configuration, stack))
    rows = change_sets.rows(state)
    said = change_sets.summary(rows) if rows else "nothing changes"
    for row in rows:
        stack.context.logger.info("%s", " ".join(filter(None, row.values())))
    if rows and ids_of_task_run():
        _show(change_set, rows, said)
    return ActionResult(
        f"{change_set.what}: {said}",
        _output(configuration, stack, outputs_of(stack.describe())),
        external_execution_id=work.id,
        external_execution_url=work.url,
    )


def _show(change_set: ChangeSet, rows: list[dict[str, str]], said: str) -> None:
    """Show the changes in Prefect's UI, where approvers find them."""
    context = change_set.stack.context
    key = f"changes-{slug(context.pipeline_name, context.action.name)}"
    publish_table(key, f"changes of {change_set.what}", f"**{change_set.what}**: {said}", rows)


def _execute_change_set(configuration: CloudFormationConfiguration, stack: Stack) -> ActionResult:
    change_set = _change_set(configuration, stack)
    try:
        work = change_sets.execute(change_set)
    except NothingToDo:
        return _deployed(configuration, stack, None, f"{change_set.what} is empty: nothing has changed")
    return _deployed(configuration, stack, work, f"executed {change_set.what}")


def _change_set(configuration: CloudFormationConfiguration, stack: Stack) -> ChangeSet:
    return ChangeSet(stack, configuration.change_set_name or "")


def _change(configuration: CloudFormationConfiguration, stack: Stack) -> Change:
    arguments, given, resources = _arguments(configuration, stack)
    policy = {"StackPolicyBody": given.policy} if given.policy else {}
    return Change({**arguments, **policy}, resources)


def _change_set_arguments(configuration: CloudFormationConfiguration, stack: Stack) -> dict[str, Any]:
    arguments, given, _ = _arguments(configuration, stack)
    if given.policy:
        stack.context.logger.warning("StackPolicy has no effect: a change set cannot set a policy")
    return arguments


def _arguments(
    configuration: CloudFormationConfiguration, stack: Stack
) -> tuple[dict[str, Any], StackInput, int | None]:
    """The arguments that creating and updating stacks and change sets have in common."""
    template = read_template(stack, configuration.template_path or "")
    given = read_stack_input(stack, configuration.template_configuration, configuration.parameter_overrides)
    more = {"Capabilities": list(configuration.capabilities), "RoleARN": configuration.role_arn}
    arguments = {**template.argument, **given.arguments(), **{k: v for k, v in more.items() if v}}
    return arguments, given, template.resources


def _deployed(
    configuration: CloudFormationConfiguration, stack: Stack, work: Work | None, summary: str
) -> ActionResult:
    state = stack.describe(work.id if work else None)
    if state is None:
        raise ActionFailed(f"{stack.what} was deleted after it was deployed, not by this action")
    outputs = outputs_of(state)
    return ActionResult(
        summary,
        _output(configuration, stack, outputs),
        outputs,
        external_execution_id=state["StackId"],
        external_execution_url=stack_url(state["StackId"]),
    )


def _output(
    configuration: CloudFormationConfiguration, stack: Stack, outputs: dict[str, str]
) -> dict[str, OutputTree]:
    """The output artifact: a file with the stack's outputs if OutputFileName names one, else empty.

    Pipelines give an empty one to a later action, to say that it comes after this one.
    """
    artifacts, name = stack.context.action.output_artifacts, configuration.output_file_name
    if not artifacts:
        return {}
    directory = stack.context.scratch / "output"
    directory.mkdir(parents=True, exist_ok=True)
    if not name:
        return {artifacts[0].name: OutputTree(directory)}
    file = (directory / name).resolve()
    if not file.is_relative_to(directory.resolve()):
        raise ActionFailed(f"OutputFileName {name!r} leads out of the artifact", code="ConfigurationError")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(outputs, indent=2), encoding="utf-8")
    return {artifacts[0].name: OutputTree(directory)}
