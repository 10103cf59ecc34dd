"""Deploy/AWS/CloudFormationStackInstances/1: bring a stack set to accounts and regions.

https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-StackSets.html
"""

from __future__ import annotations

from pydantic import model_validator

from prefect_codepipeline.actions.aws.remote_work import Work, bearing_silence
from prefect_codepipeline.actions.cloudformation.stack_set_input import (
    StackSetOperationConfiguration,
    read_parameters,
    read_targets,
)
from prefect_codepipeline.actions.cloudformation.stack_sets import StackSet, create_instances, run_operation
from prefect_codepipeline.actions.registry import ActionContext, ActionResult, action_provider
from prefect_codepipeline.errors import ActionFailed

_SET = "set"


class StackInstancesConfiguration(StackSetOperationConfiguration):
    """The configuration of an action."""

    regions: tuple[str, ...]
    parameter_overrides: str | None = None

    @model_validator(mode="after")
    def _has_targets(self) -> StackInstancesConfiguration:
        if not self.deployment_targets or not self.regions:
            raise ValueError("DeploymentTargets is required: CloudFormation takes regions only with accounts")
        return self


@action_provider(
    category="Deploy",
    provider="CloudFormationStackInstances",
    inputs=(0, 2),
    outputs=(0, 0),
    restartable=True,
)
def deploy_stack_instances(
    configuration: StackInstancesConfiguration, context: ActionContext
) -> ActionResult:
    """Create the instances that are missing, and bring those that are there up to date with the stack set.

    What an earlier process started is found again by its id, which is the action execution id.
    """
    stack_set = StackSet.of(configuration.stack_set_name, configuration.call_as, context)
    set_id = _set_id(stack_set)

    def start() -> Work:
        trees = context.input_artifacts
        overrides = read_parameters(trees, configuration.parameter_overrides, "ParameterOverrides")
        arguments = {
            **({"ParameterOverrides": overrides} if overrides else {}),
            **configuration.preferences(),
        }
        return create_instances(
            stack_set, set_id, stack_set.token, read_targets(trees, configuration), arguments
        )

    work = run_operation(stack_set, set_id, "operation", stack_set.token, start)
    return ActionResult(
        f"deployed {stack_set.what} to {configuration.deployment_targets} in {', '.join(configuration.regions)}",
        output_variables={"StackSetId": set_id, "OperationId": work.id},
        external_execution_id=work.id,
        external_execution_url=work.url,
    )


def _set_id(stack_set: StackSet) -> str:
    """The id of the stack set, looked up once in the life of the action execution."""
    context = stack_set.context
    if context.earlier and (kept := context.earlier.state.get(_SET)):
        return kept
    context.check()  # nothing begins in an action that must end
    with bearing_silence(context, stack_set.what):
        found = stack_set.find_id()
        if found is None:
            raise ActionFailed(
                f"there is no {stack_set.what}; correct StackSetName or the region, or create it with an action "
                "CloudFormationStackSet before",
                code="ConfigurationError",
            )
        context.keep(**{_SET: found})
    return found
