"""Create a pipeline from a definition: check it, claim a version, and create the deployment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from prefect.client.schemas.objects import WorkPool

from prefect_codepipeline.deployments.checking.runnable import Runnable
from prefect_codepipeline.engine.executions.definitions import (
    claim_version,
    find_newest_version,
    read_definition_block,
)
from prefect_codepipeline.engine.executions.lookup import find_runs, known_execution
from prefect_codepipeline.engine.operations.projection import DEFAULT_WORK_POOL, project
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

    `cancelled` are the ids of executions of earlier versions, which end after their running actions.
    """

    name: str
    version: int
    created: bool
    changes: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)


def deploy_pipeline(
    definition: PipelineDeclaration | Runnable,
    work_pool: str = DEFAULT_WORK_POOL,
    deployed_by: str = "an unknown user",
) -> Deployed:
    """Create the pipeline, or update it to a new version if its definition differs from the newest version.

    Args:
        definition: is checked here, unless it was checked already; its `version` is ignored and assigned here.
        work_pool: the Prefect work pool whose workers run the executions.
        deployed_by: the user who deploys, for messages.

    Raises:
        InvalidDefinition: it breaks rules or is not supported; lists every problem.
        ConcurrentModificationException: another user created the same version at the same time.
        ValidationException: the work pool does not exist.
    """
    declaration = Runnable.of(definition).declaration
    check_work_pool(work_pool)
    deployed = _claim(declaration)
    project(declaration.model_copy(update={"version": deployed.version}), work_pool)
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
        mode = read_definition_block(pinned.definition_id).masked().execution_mode
        if is_older and mode != "PARALLEL" and cancel_for_update(execution, by, reason):
            yield execution.id


def check_work_pool(work_pool: str) -> WorkPool:
    """The work pool of that name. Raises `ValidationException`, whose message says how to create it."""
    found = find_named("/work_pools", work_pool)
    if found is None:
        raise ValidationException(
            f"work pool {work_pool!r} does not exist at {api_url()}; create it with "
            f"`prefect work-pool create {work_pool} --type codepipeline`, or run `codepipeline up`"
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
