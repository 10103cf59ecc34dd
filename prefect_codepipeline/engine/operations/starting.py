"""Start executions of deployed pipelines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

from prefect_codepipeline.engine.executions.definitions import newest_version, unknown_pipeline
from prefect_codepipeline.engine.executions.lookup import TAG, check_limit
from prefect_codepipeline.engine.operations.projection import DEPLOYMENTS_BY_NAME, source_actions
from prefect_codepipeline.errors import ValidationException
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.record.facts import TriggerType
from prefect_codepipeline.prefect_api.client import call_all, find_named
from prefect_codepipeline.prefect_api.flow_runs import create_flow_run


def start_pipeline_execution(
    name: str,
    variables: Mapping[str, str],
    source_revisions: Mapping[str, str],
    started_by: str,
    client_request_token: str | None = None,
    trigger_type: TriggerType | None = None,
) -> str:
    """Start an execution of a deployed pipeline; its pipelineExecutionId, which is the flow run's id.

    Args:
        name: the pipeline.
        variables: values of pipeline variables, by name.
        source_revisions: a commit, tag or branch for source actions, by action name.
        started_by: the user or service that starts it, for display; the execution's trigger detail.
        client_request_token: the same token starts only one execution, even if it is sent several times.
        trigger_type: the trigger, if a user does not start it.

    Raises:
        PipelineNotFoundException: there is no such pipeline.
        ValidationException: the pipeline does not have the variable or source action, or a value is missing or empty.
        ConcurrentPipelineExecutionsLimitExceededException: a QUEUED or PARALLEL pipeline has 50 executions in progress.
    """
    deployment = find_deployment(name)
    definition_id, definition = newest_version(name, int(deployment["version"] or 1))
    declaration = definition.masked()
    check_start(declaration, variables, source_revisions)
    check_limit(name, declaration.execution_mode)
    return create_flow_run(
        deployment["id"],
        {"variables": dict(variables), "source_revisions": dict(source_revisions)},
        {
            "codepipeline.started-by": started_by,
            "codepipeline.definition": str(definition_id),
            **({"codepipeline.trigger-type": trigger_type} if trigger_type else {}),
        },
        # All pipelines are deployments of one flow, and Prefect's keys are unique for each flow.
        f"{name}/{client_request_token}" if client_request_token else str(uuid4()),
    )


def check_start(
    declaration: PipelineDeclaration, variables: Mapping[str, str], source_revisions: Mapping[str, str]
) -> None:
    """Check the variables and revisions for a start. Raises `ValidationException`, naming every mistake."""
    mistakes = [
        *mistakes_in_variables(declaration, variables),
        *_mistakes_in_revisions(declaration, source_revisions),
    ]
    if mistakes:
        raise ValidationException(f"pipeline {declaration.name!r} was not started: {'; '.join(mistakes)}")


def find_deployment(name: str) -> dict[str, Any]:
    """The deployment of a pipeline. Raises `PipelineNotFoundException`."""
    deployment = find_named(DEPLOYMENTS_BY_NAME, name)
    if deployment is None:
        raise unknown_pipeline(name)
    return deployment


def list_deployments() -> list[dict[str, Any]]:
    """Every deployed pipeline by name: `name`, `version`, `updated`."""
    found = call_all("/deployments/filter", {"deployments": {"tags": {"all_": [TAG]}}, "sort": "NAME_ASC"})
    return [{key: item[key] for key in ("name", "version", "updated")} for item in found]


def mistakes_in_variables(declaration: PipelineDeclaration, given: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each value that a start would refuse, or that it lacks."""
    declared = {variable.name: variable for variable in declaration.variables or []}
    for name, value in given.items():
        if name not in declared:
            yield f"it has no variable {name!r} (it has: {', '.join(declared) or 'none'})"
        elif not value:
            yield f"variable {name!r} has an empty value"
    for name, variable in declared.items():
        if not variable.default_value and name not in given:
            yield f"variable {name!r} has no default and no value was given; add --variable {name}=VALUE"


def _mistakes_in_revisions(declaration: PipelineDeclaration, given: Mapping[str, str]) -> Iterator[str]:
    sources = source_actions(declaration)
    for name, value in given.items():
        if name not in sources:
            yield f"it has no source action {name!r} (it has: {', '.join(sources)})"
        elif not value:
            yield f"the source revision of {name!r} is empty"
