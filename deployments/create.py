"""Create a pipeline from a definition: check it, claim a version, and create the deployment."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from prefect.client.schemas.objects import WorkPool

from prefect_codepipeline.actions.allowed_pools import allowed_pools, not_allowed
from prefect_codepipeline.deployments.checking.runnable import Runnable
from prefect_codepipeline.engine.executions.definitions import (
    claim_version,
    find_newest_version,
    find_version,
    first_created,
    pinned_declaration,
    settings_of,
    unknown_pipeline,
)
from prefect_codepipeline.engine.jobs.action_types import find_row
from prefect_codepipeline.engine.operations.deleting import delete_leftovers, finish_deletion
from prefect_codepipeline.engine.operations.first_execution import start_first_execution
from prefect_codepipeline.engine.operations.projection import FLOW_NAME, count_deployments, project
from prefect_codepipeline.engine.operations.starting import (
    check_start,
    find_deployment,
    list_deployments,
    start_pipeline_execution,
)
from prefect_codepipeline.engine.operations.stopping import cancel_older
from prefect_codepipeline.engine.operations.tagging import put_tags
from prefect_codepipeline.errors import (
    ConcurrentModificationException,
    LimitExceededException,
    PipelineNameInUseException,
    ValidationException,
)
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.stored.definition import StoredDefinition, with_kept_secrets
from prefect_codepipeline.model.wire.arns import Account
from prefect_codepipeline.prefect_api.block_documents import delete_document
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
    "create_pipeline",
    "deploy_pipeline",
    "find_deployment",
    "list_deployments",
    "start_pipeline_execution",
    "update_pipeline",
]
# https://docs.aws.amazon.com/codepipeline/latest/userguide/limits.html
MOST_PIPELINES = 1000
_logger = logging.getLogger(__name__)


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
        ValidationException: the work pool does not exist or is not allowed, or Prefect refuses a job variable.
    """
    declaration = Runnable.of(definition, find_row).declaration
    place = Place(work_pool, work_queue, job_variables or {})
    _check_place(declaration.name, place)
    deployed = _claim(declaration)
    is_update = bool(deployed.changes) and not deployed.created
    # First, because reconcile does the same for a version that is stored and not deployed yet.
    cancelled = cancel_older(deployed.name, deployed.version, deployed_by) if is_update else []
    moved = project(declaration.model_copy(update={"version": deployed.version}), place)
    return replace(deployed, moved=moved, cancelled=cancelled)


def create_pipeline(
    declaration: PipelineDeclaration, created_by: str, tags: Mapping[str, str] | None = None
) -> PipelineDeclaration:
    """Create version 1 of a pipeline and start its first execution; the stored declaration, its secrets masked.

    https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_CreatePipeline.html

    Args:
        declaration: has passed AWS's rules. What cannot run here fails when it runs.
        created_by: the user or service that creates it.
        tags: of the pipeline, as the AWS API has them.

    Raises:
        PipelineNameInUseException: there is a pipeline of that name.
        LimitExceededException: there are 1,000 pipelines.
        ValidationException: the work pool of its settings does not exist, is not allowed, or refuses their job variables.
    """
    name = declaration.name
    if first_created(name):
        raise _in_use(name)
    if count_deployments() >= MOST_PIPELINES:
        raise LimitExceededException(f"there can only be up to {MOST_PIPELINES} pipelines")
    _check_place(name, Place())
    delete_leftovers(name)
    declaration = declaration.model_copy(update={"version": 1})
    definition_id = claim_version(declaration, created_by)
    if definition_id is None:
        raise _in_use(name)
    if tags:
        put_tags(Account().pipeline(name), tags)
    try:
        project(declaration, is_unstarted=True)
    except ValidationException:
        finish_deletion(name)  # it could neither run nor be updated
        raise
    start_first_execution(name)
    return pinned_declaration(definition_id)


def _in_use(name: str) -> PipelineNameInUseException:
    return PipelineNameInUseException(f"there is a pipeline {name!r} already")


def update_pipeline(
    declaration: PipelineDeclaration, newest: StoredDefinition, updated_by: str
) -> PipelineDeclaration:
    """Store the next version of a pipeline and cancel executions of older ones; the declaration, its secrets masked.

    https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_UpdatePipeline.html

    Args:
        declaration: has passed AWS's rules. `****` keeps the secret of `newest`.
        newest: the version that it replaces. If others are stored meanwhile, it replaces those.
        updated_by: the user or service that updates it.

    Raises:
        PipelineNotFoundException: the pipeline was deleted meanwhile.
        ValidationException: settings do not allow its work pool.
    """
    name, version = declaration.name, newest.version
    _check_place(name, Place())
    declaration = with_kept_secrets(declaration, newest)
    definition_id = None
    while definition_id is None:
        version += 1
        declaration = declaration.model_copy(update={"version": version})
        definition_id = claim_version(declaration, updated_by)
    if find_version(name, version - 1) is None:  # versions have no gaps, also those of a pipeline made again
        delete_document(str(definition_id))
        raise unknown_pipeline(name)
    # First, because reconcile does the same for a version that is stored and not deployed yet.
    for execution_id in cancel_older(name, version, updated_by):
        _logger.info("execution %s of an earlier version of pipeline %r is cancelled", execution_id, name)
    project(declaration)
    if first_created(name) is None:
        delete_leftovers(name)
        raise unknown_pipeline(name)
    return pinned_declaration(definition_id)


def _check_place(pipeline_name: str, place: Place) -> None:
    work_pool, there = place.work_pool, None
    if work_pool is None:
        there = place_of(find_deployment_of(FLOW_NAME, pipeline_name)).work_pool
        work_pool = there or settings_of(pipeline_name).work_pool or DEFAULT_WORK_POOL
    if there is None:  # else it stays where it is
        check_work_pool(work_pool)
    if why := not_allowed(work_pool, allowed_pools(pipeline_name)):
        raise ValidationException(f"pipeline {pipeline_name!r}: {why}")


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
    declaration = with_kept_secrets(declaration, newest)
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
