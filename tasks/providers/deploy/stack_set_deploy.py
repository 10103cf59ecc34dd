"""Deploy/AWS/CloudFormationStackSet/1: create or update a stack set, and its instances in accounts and regions.

https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-StackSets.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from prefect_codepipeline.actions.artifacts.input_files import read_input_file
from prefect_codepipeline.actions.aws.client import error_code, translated
from prefect_codepipeline.actions.aws.remote_work import Work, bearing_silence, started
from prefect_codepipeline.actions.cloudformation.stack import Stack
from prefect_codepipeline.actions.cloudformation.stack_input import Capabilities, read_template
from prefect_codepipeline.actions.cloudformation.stack_set_input import (
    StackSetOperationConfiguration,
    Targets,
    read_parameters,
    read_targets,
)
from prefect_codepipeline.actions.cloudformation.stack_sets import (
    StackSet,
    create_instances,
    run_operation,
    start_operation,
)
from prefect_codepipeline.actions.registry import ActionContext, ActionResult, action_provider

MOST_TEMPLATE_BYTES = 460_800
# What has to be done, as it was found at the start: a process after a crash does the same.
_ROUTE = "route"
_CREATE, _ADD, _UPDATE = "create", "add", "update"
_SET, _OPERATION, _ADDING, _ADDED = "set", "operation", "adding", "added"


class _NameTaken(Exception):  # noqa: N818  # no error: there is such a stack set by now
    """A stack set of this name was created since it was looked up."""


class StackSetConfiguration(StackSetOperationConfiguration):
    """The configuration of an action."""

    stack_set_name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,127}$")
    description: str | None = None
    template_path: str
    parameters: str | None = None
    capabilities: Capabilities = ()
    permission_model: Literal["SELF_MANAGED", "SERVICE_MANAGED"] = "SELF_MANAGED"
    administration_role_arn: str | None = None
    execution_role_name: str | None = None
    organizations_auto_deployment: Literal["Enabled", "Disabled", "EnabledWithStackRetention"] = "Disabled"

    @model_validator(mode="after")
    def _has_targets_with_regions(self) -> StackSetConfiguration:
        if bool(self.deployment_targets) != bool(self.regions):
            raise ValueError("DeploymentTargets and Regions are given together, or not at all")
        return self


@action_provider(
    category="Deploy", provider="CloudFormationStackSet", inputs=(1, 3), outputs=(0, 0), restartable=True
)
def deploy_stack_set(configuration: StackSetConfiguration, context: ActionContext) -> ActionResult:
    """Create the stack set and its instances. One that is there gets the missing instances first, then the update.

    What an earlier process started is found again by its id, which is made of the action execution id.
    """
    stack_set = StackSet.of(configuration.stack_set_name, configuration.call_as, context)
    route, set_id = _route(stack_set, configuration)
    if route == _CREATE:
        try:
            set_id = _created(stack_set, configuration)
        except _NameTaken:  # the answer to the creation was lost, or another user was faster
            with bearing_silence(context, stack_set.what):
                route, set_id = _route_of_existing(stack_set, configuration, stack_set.find_id() or "")
    if route == _CREATE and not configuration.regions:
        return ActionResult(
            f"created {stack_set.what}, without instances",
            output_variables={"StackSetId": set_id},
            external_execution_id=set_id,
            external_execution_url=stack_set.url(set_id),
        )
    if route == _ADD:
        _add(stack_set, set_id, configuration)
    work = _deployed(stack_set, set_id, route, configuration)
    return ActionResult(
        f"{'created' if route == _CREATE else 'updated'} {stack_set.what}",
        output_variables={"StackSetId": set_id, "OperationId": work.id},
        external_execution_id=work.id,
        external_execution_url=work.url,
    )


def _route(stack_set: StackSet, configuration: StackSetConfiguration) -> tuple[str, str]:
    """What has to be done, and the id of the stack set; decided once in the life of the action execution."""
    context = stack_set.context
    state = context.earlier.state if context.earlier else {}
    if _ROUTE in state:
        return state[_ROUTE], state.get(_SET, "")
    context.check()  # nothing begins in an action that must end
    with bearing_silence(context, stack_set.what):
        if set_id := stack_set.find_id():
            return _route_of_existing(stack_set, configuration, set_id)
        context.keep(**{_ROUTE: _CREATE})
        return _CREATE, ""


def _route_of_existing(
    stack_set: StackSet, configuration: StackSetConfiguration, set_id: str
) -> tuple[str, str]:
    route = _ADD if configuration.regions and _missing(stack_set, configuration) else _UPDATE
    stack_set.context.keep(**{_ROUTE: route, _SET: set_id})
    return route, set_id


def _missing(stack_set: StackSet, configuration: StackSetConfiguration) -> Targets | None:
    return _targets(stack_set, configuration).without(_instances(stack_set))


def _instances(stack_set: StackSet) -> set[tuple[str, str]]:
    """Account and region of each instance, and unit and region of those that have an organizational unit."""
    found: set[tuple[str, str]] = set()
    doing = f"reading the instances of {stack_set.what}"
    for each in stack_set.pages(stack_set.cloudformation.list_stack_instances, doing, stack_set.named()):
        targets = filter(None, (each.get("Account"), each.get("OrganizationalUnitId")))
        found |= {(target, each["Region"]) for target in targets}
    return found


def _targets(stack_set: StackSet, configuration: StackSetConfiguration) -> Targets:
    return read_targets(stack_set.context.input_artifacts, configuration, configuration.permission_model)


def _created(stack_set: StackSet, configuration: StackSetConfiguration) -> str:
    """The id of the new stack set. The token makes a second request for it harmless."""

    def start() -> Work:
        if configuration.regions:
            _targets(stack_set, configuration)  # what is wrong with them is said before anything is created
        return _create(stack_set, _arguments(stack_set, configuration))

    return started(stack_set.context, _SET, start, lambda: None).id


def _create(stack_set: StackSet, arguments: Mapping[str, Any]) -> Work:
    from botocore.exceptions import ClientError

    with translated(f"creating {stack_set.what}"):
        try:
            answer = stack_set.cloudformation.create_stack_set(
                **stack_set.named(), ClientRequestToken=stack_set.token, **arguments
            )
        except ClientError as error:
            if error_code(error) == "NameAlreadyExistsException":
                raise _NameTaken from error
            raise
    return Work(answer["StackSetId"], stack_set.url(answer["StackSetId"]))


def _update(stack_set: StackSet, set_id: str, arguments: Mapping[str, Any]) -> Work:
    """Update the stack set, and the instances that the arguments name; all of them if these name none."""
    return start_operation(
        stack_set,
        set_id,
        f"updating {stack_set.what}",
        stack_set.token,
        lambda more: stack_set.cloudformation.update_stack_set(**more, **arguments),
    )


def _add(stack_set: StackSet, set_id: str, configuration: StackSetConfiguration) -> None:
    """Create the missing instances, which get the template that the stack set has, as AWS does it."""
    context, operation_id = stack_set.context, f"{stack_set.token}-instances"
    if context.earlier and _ADDED in context.earlier.state:
        return

    def start() -> Work:
        _arguments(stack_set, configuration)  # what is wrong with them is said before anything is created
        targets = _missing(stack_set, configuration) or _targets(stack_set, configuration)
        return create_instances(
            stack_set, set_id, operation_id, targets, _preferences(configuration, targets)
        )

    run_operation(stack_set, set_id, _ADDING, operation_id, start)
    context.keep(**{_ADDED: "yes"})


def _deployed(stack_set: StackSet, set_id: str, route: str, configuration: StackSetConfiguration) -> Work:
    def start() -> Work:
        targets = _targets(stack_set, configuration) if configuration.regions else None
        if route == _CREATE and targets:
            preferences = _preferences(configuration, targets)
            return create_instances(stack_set, set_id, stack_set.token, targets, preferences)
        arguments = {
            **_arguments(stack_set, configuration),
            **(targets.arguments() if targets else {}),
            **configuration.preferences(),
        }
        return _update(stack_set, set_id, arguments)

    return run_operation(stack_set, set_id, _OPERATION, stack_set.token, start)


def _preferences(configuration: StackSetConfiguration, targets: Targets) -> dict[str, Any]:
    """The preferences of an operation that has only some of the regions."""
    return configuration.model_copy(update={"regions": targets.regions}).preferences()


def _arguments(stack_set: StackSet, configuration: StackSetConfiguration) -> dict[str, Any]:
    """The arguments that creating and updating a stack set have in common."""
    context = stack_set.context
    read_input_file(context.input_artifacts, configuration.template_path, "TemplatePath", MOST_TEMPLATE_BYTES)
    # Of a stack only what reading and uploading a template need.
    template = read_template(
        Stack(stack_set.name, context, stack_set.cloudformation), configuration.template_path
    )
    given = {
        "Description": configuration.description,
        "Parameters": read_parameters(context.input_artifacts, configuration.parameters, "Parameters"),
        "Capabilities": list(configuration.capabilities),
        "PermissionModel": configuration.permission_model,
        **_permissions(configuration),
    }
    return {**template.argument, **{name: value for name, value in given.items() if value}}


def _permissions(configuration: StackSetConfiguration) -> dict[str, Any]:
    if configuration.permission_model == "SELF_MANAGED":
        return {
            "AdministrationRoleARN": configuration.administration_role_arn,
            "ExecutionRoleName": configuration.execution_role_name,
        }
    wanted = configuration.organizations_auto_deployment
    if wanted == "Disabled":
        return {"AutoDeployment": {"Enabled": False}}
    retains = wanted == "EnabledWithStackRetention"
    return {"AutoDeployment": {"Enabled": True, "RetainStacksOnAccountRemoval": retains}}
