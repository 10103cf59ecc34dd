"""Start executions of deployed pipelines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from prefect_codepipeline.engine.executions.definitions import (
    DeployedVersion,
    find_newest_deployed,
    unknown_pipeline,
)
from prefect_codepipeline.engine.executions.lookup import TAG, check_limit
from prefect_codepipeline.engine.operations.projection import DEPLOYMENTS_BY_NAME, source_actions
from prefect_codepipeline.errors import PipelineServiceError, ValidationException
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.record.facts import TriggerType
from prefect_codepipeline.prefect_api.client import api_url, call_all, find_named
from prefect_codepipeline.prefect_api.flow_runs import create_flow_run, find_run_of_key
from prefect_codepipeline.prefect_api.together import together

REQUEST_LABEL = "codepipeline.request"


@dataclass(frozen=True)
class Startable:
    """A deployed pipeline in its newest version, as it was read for a start.

    Attributes:
        name: the pipeline.
        deployment_id: the id of its deployment, of which an execution is a run.
        deployed: the newest version.
    """

    name: str
    deployment_id: str
    deployed: DeployedVersion

    @cached_property
    def declaration(self) -> PipelineDeclaration:
        """The newest version, its secrets masked."""
        return self.deployed.definition.masked()


@dataclass(frozen=True)
class _Seen:
    """What the start before has read of a pipeline."""

    deployment_id: str
    first_id: str | None
    version: int


# By server and pipeline: with it, the next start asks its questions at once. It decides nothing.
_seen: dict[tuple[str, str], _Seen] = {}


def start_pipeline_execution(
    name: str,
    variables: Mapping[str, str],
    source_revisions: Mapping[str, str],
    started_by: str,
    client_request_token: str | None = None,
    trigger_type: TriggerType | None = None,
    request_id: str | None = None,
) -> str:
    """Start an execution of a deployed pipeline; its pipelineExecutionId, which is the flow run's id.

    Args:
        name: the pipeline.
        variables: values of pipeline variables, by name.
        source_revisions: a commit, tag or branch for source actions, by action name.
        started_by: the user or service that starts it, for display; the execution's trigger detail.
        client_request_token: the same token starts only one execution, even if it is sent several times.
        trigger_type: the trigger, if a user does not start it.
        request_id: the request that starts it. It is a label of the execution, which an earlier one does not have.

    Raises:
        PipelineNotFoundException: there is no such pipeline.
        ValidationException: the pipeline does not have the variable or source action, or a value is missing or empty.
        ConcurrentPipelineExecutionsLimitExceededException: a QUEUED or PARALLEL pipeline has 50 executions in progress.
    """
    pipeline = find_startable(name)
    if pipeline is None:
        raise unknown_pipeline(name)
    return start(
        pipeline,
        variables,
        source_revisions,
        started_by,
        client_request_token,
        trigger_type=trigger_type,
        request_id=request_id,
    )


def start(
    pipeline: Startable,
    variables: Mapping[str, str],
    source_revisions: Mapping[str, str],
    started_by: str,
    client_request_token: str | None,
    *,
    trigger_type: TriggerType | None = None,
    request_id: str | None = None,
) -> str:
    """Start an execution of a pipeline that was read for it just now. As `start_pipeline_execution`."""
    key = _key(pipeline, client_request_token) if client_request_token else None
    try:
        check_start(pipeline.declaration, variables, source_revisions)
        check_limit(pipeline.name, pipeline.declaration.execution_mode)
    except PipelineServiceError:
        # What the token has started counts, even if the pipeline would not start now.
        if key and (earlier := find_run_of_key(key)):
            return str(earlier["id"])
        raise
    return create_flow_run(
        pipeline.deployment_id,
        {"variables": dict(variables), "source_revisions": dict(source_revisions)},
        {
            "codepipeline.started-by": started_by,
            "codepipeline.definition": pipeline.deployed.definition_id,
            **({"codepipeline.trigger-type": trigger_type} if trigger_type else {}),
            **({REQUEST_LABEL: request_id} if request_id else {}),
        },
        key,
    )


def find_startable(name: str) -> Startable | None:
    """The pipeline, or None if it does not exist, or has no deployment; two requests, at the same time if possible."""
    place = (api_url(), name)
    seen = _seen.get(place)
    found = (seen and _as_seen(name, seen)) or _read(name)
    if found:
        deployed = found.deployed
        _seen[place] = _Seen(found.deployment_id, deployed.first_id, deployed.definition.version)
    else:
        _seen.pop(place, None)
    return found


def _as_seen(name: str, seen: _Seen) -> Startable | None:
    """The pipeline, or None if the two answers may belong to different pipelines of that name, or to different versions."""
    questions: list[Callable[[], Any]] = [
        partial(find_named, DEPLOYMENTS_BY_NAME, name),
        partial(find_newest_deployed, name, seen.version),
    ]
    deployment, newest = together(questions)
    if deployment is None or newest is None:
        return None
    found = Startable(name, str(deployment["id"]), newest)
    is_same = (found.deployment_id, newest.first_id) == (seen.deployment_id, seen.first_id)
    return found if is_same and newest.definition.version >= _version(deployment) else None


def _read(name: str) -> Startable | None:
    """The deployment first: of a pipeline that is made again meanwhile, the old deployment starts nothing."""
    deployment = find_named(DEPLOYMENTS_BY_NAME, name)
    newest = find_newest_deployed(name, _version(deployment)) if deployment else None
    # Without its first version it is being deleted.
    if deployment is None or newest is None or newest.first_id is None:
        return None
    return Startable(name, str(deployment["id"]), newest)


def _version(deployment: Mapping[str, Any]) -> int:
    return int(deployment["version"] or 1)


def _key(pipeline: Startable, client_request_token: str) -> str:
    """The key that starts one execution: Prefect's keys are unique for each flow, and all pipelines are of one.

    When the pipeline was created is part of it: a pipeline of the same name that was deleted has nothing to do with this.
    """
    created = pipeline.deployed.first_created
    return f"{pipeline.name}/{created.isoformat() if created else ''}/{client_request_token}"


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
    """Every deployed pipeline by name: `id`, `name`, `version`, `updated`."""
    found = call_all("/deployments/filter", {"deployments": {"tags": {"all_": [TAG]}}, "sort": "NAME_ASC"})
    return [{key: item[key] for key in ("id", "name", "version", "updated")} for item in found]


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
            yield f"variable {name!r} has no default and no value was given"


def _mistakes_in_revisions(declaration: PipelineDeclaration, given: Mapping[str, str]) -> Iterator[str]:
    sources = source_actions(declaration)
    for name, value in given.items():
        if name not in sources:
            yield f"it has no source action {name!r} (it has: {', '.join(sources)})"
        elif not value:
            yield f"the source revision of {name!r} is empty"
