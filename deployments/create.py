"""Create a pipeline from a definition: check it, claim a version, and create the deployment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from prefect.client.schemas.objects import WorkPool

from prefect_codepipeline.deployments.checking.runnable import Runnable
from prefect_codepipeline.engine.executions.definitions import (
    claim_version,
    find_newest_version,
    pinned_declaration,
    settings_of,
)
from prefect_codepipeline.engine.executions.lookup import find_runs, known_execution
from prefect_codepipeline.engine.operations.projection import FLOW_NAME, project
from prefect_codepipeline.engine.operations.starting import (
    check_start,
    find_deployment,
    list_deployments,
    start_pipeline_execution,
)
from prefect_codepipeline.engine.operations.stopping import cancel_for_update
from prefect_codepipeline.errors import (
    ConcurrentModificationException,
    ValidationException,
)
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.prefect_api.client import api_url, find_named
from prefect_codepipeline.prefect_api.deployments import (
    DEFAULT_WORK_POOL,
    Place,
    find_deployment_of,
    place_of,
)

# The functions that start executions are in `tasks`, because schedules use them too; they are re-exported here.
__all__ = [
    "Deployed",
    "check_start",
    "check_work_pool",
    "deploy_pipeline",
    "find_deployment",
    "list_deployments",
    "start_pipeline_execution",
]


@dataclass(frozen=True)
class Deployed:
    """The result of a deployment: `changes` are sentences, empty if the definition did not change.

    `cancelled` are the ids of executions of earlier versions, which end after their running actions. `moved` says how
    the place of its executions changed: the work pool, the work queue or the job variables.
    """

    name: str
    version: int
    created: bool
    changes: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)


def deploy_pipeline(
    definition: PipelineDeclaration | Runnable,
    work_pool: str | None = None,
    deployed_by: str = "an unknown user",
    *,
    work_queue: str | None = None,
    job_variables: Mapping[str, Any] | None = None,
) -> Deployed:
    """Create the pipeline, or update it to a new version if its definition differs from the newest version.

    Args:
        definition: is checked here, unless it was checked already; its `version` is ignored and assigned here.
        work_pool: the Prefect work pool whose workers run the executions. Without it, the pipeline stays where it is;
            a new one is created in the work pool of its settings, or in `codepipeline`.
        deployed_by: the user who deploys, for messages.
        work_queue: of the work pool; stays as it is by default.
        job_variables: set beside those that the pipeline has; None removes one.

    Raises:
        InvalidDefinition: it breaks rules or is not supported; lists every problem.
        ConcurrentModificationException: another user created the same version at the same time.
        ValidationException: the work pool does not exist, or Prefect refuses a job variable.
    """
    declaration = Runnable.of(definition).declaration
    place = Place(work_pool, work_queue, job_variables or {})
    _check_place(declaration.name, place)
    deployed = _claim(declaration)
    moved = project(declaration.model_copy(update={"version": deployed.version}), place)
    deployed = replace(deployed, moved=moved)
    if not deployed.changes or deployed.created:
        return deployed
    return replace(deployed, cancelled=list(_cancel_older(deployed, deployed_by)))


def _cancel_older(deployed: Deployed, by: str) -> Iterator[str]:
    """Cancel the executions of older versions, except those that started in PARALLEL mode.

    https://docs.aws.amazon.com/codepipeline/latest/userguide/concepts-how-it-works.html
    """
    reason = f"the pipeline was updated to version {deployed.version}"
    for run in find_runs(
        deployed.name, state_types=["RUNNING", "PENDING", "PAUSED", "CRASHED", "SCHEDULED"], limit=200
    ):
        execution = known_execution(run)
        if execution.state is None or execution.state.final:
            continue
        pinned = execution.state.pinned
        is_older = pinned.pipeline_version < deployed.version
        mode = pinned_declaration(pinned.definition_id).execution_mode
        if is_older and mode != "PARALLEL" and cancel_for_update(execution, by, reason):
            yield execution.id


def _check_place(pipeline_name: str, place: Place) -> None:
    if place.work_pool:
        check_work_pool(place.work_pool)
    elif not place_of(find_deployment_of(FLOW_NAME, pipeline_name)).work_pool:
        check_work_pool(settings_of(pipeline_name).work_pool or DEFAULT_WORK_POOL)


def check_work_pool(work_pool: str) -> WorkPool:
    """The work pool of that name. Raises `ValidationException`, whose message says how to create it."""
    found = find_named("/work_pools", work_pool)
    if found is None:
        raise ValidationException(
            f"work pool {work_pool!r} does not exist at {api_url()}; create it with "
            f"`codepipeline setup --pool {work_pool}`, or run `codepipeline up`"
        )
    return WorkPool.model_validate(found)


def _claim(declaration: PipelineDeclaration) -> Deployed:
    found = find_newest_version(declaration.name)
    if found is None:
        return _claimed(declaration, 1, ["created"])
    newest = found[1]
    # Compared including secrets, so that a new token is a change too.
    changes = list(
        _differences(newest.whole().to_wire(), {**declaration.to_wire(), "version": newest.version})
    )
    if not changes:
        return Deployed(declaration.name, newest.version, created=False)
    return _claimed(declaration, newest.version + 1, changes)


def _claimed(declaration: PipelineDeclaration, version: int, changes: list[str]) -> Deployed:
    if claim_version(declaration.model_copy(update={"version": version})) is None:
        raise ConcurrentModificationException(
            f"version {version} of pipeline {declaration.name!r} was created by another deployment at the same time; "
            "check that version, then deploy again"
        )
    return Deployed(declaration.name, version, created=version == 1, changes=changes)


def _differences(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """The differences of two definitions, as sentences. List items are identified by name."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            below = f"{path}.{key}" if path else key
            if key not in new:
                yield f"{below} removed"
            elif key not in old:
                yield f"{below} added"
            else:
                yield from _differences(old[key], new[key], below)
    elif isinstance(old, list) and isinstance(new, list) and _named(old) and _named(new):
        yield from _differences(_by_name(old), _by_name(new), path)
        if [item["name"] for item in old] != [item["name"] for item in new] and _by_name(
            old
        ).keys() == _by_name(new).keys():
            yield f"{path} reordered"
    elif old != new:
        yield f"{path} changed"


def _named(items: list[Any]) -> bool:
    return all(isinstance(item, dict) and "name" in item for item in items)


def _by_name(items: list[Any]) -> dict[str, Any]:
    return {item["name"]: item for item in items}
