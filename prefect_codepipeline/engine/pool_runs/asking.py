"""Ask for a pool run: record what the action needs, and create the flow run, once in the life of the action execution."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from prefect_codepipeline.actions.registry import ActionContext, ActionProvider
from prefect_codepipeline.blocks.artifact_store import ArtifactStore
from prefect_codepipeline.engine.executions.attempt import displayed_configuration
from prefect_codepipeline.engine.executions.definitions import keep_unnamed, read_definition_block
from prefect_codepipeline.engine.executions.lookup import execution_tag
from prefect_codepipeline.engine.executions.process import Execution
from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.engine.pool_runs.pools import find_pool, pool_names, put_action_deployment
from prefect_codepipeline.errors import ActionFailed, ValidationException
from prefect_codepipeline.model.definition.declaration import ActionDeclaration, StageDeclaration
from prefect_codepipeline.model.record.pool_run_facts import PoolRunAsked, StorePlace
from prefect_codepipeline.prefect_api.block_documents import delete_document
from prefect_codepipeline.prefect_api.client import call
from prefect_codepipeline.prefect_api.flow_runs import find_run_of_key
from prefect_codepipeline.private_files import make_private

TAG = "codepipeline-action"
_MARK = ".store-id"


def ask(
    execution: Execution, context: ActionContext, provider: ActionProvider, identity: Mapping[str, Any]
) -> PoolRunAsked:
    """Record that the action runs on the work pool of its settings, with all that the process there needs."""
    settings, action = context.settings, context.action
    assert settings.work_pool, "only an action with a work pool is asked for"
    assert context.store, "an execution has an artifact store"
    shown = displayed_configuration(provider, action.configuration)
    masked = action.model_copy(update={"configuration": shown})
    artifacts = execution.state.artifacts
    asked = PoolRunAsked(
        **identity,
        at=utc_now(),
        work_pool=settings.work_pool,
        work_queue=settings.work_queue,
        pipeline_name=context.pipeline_name,
        declaration=masked,
        settings=settings.model_copy(
            update={"job_variables": {}}
        ),  # may have secrets, and is not for the action
        inputs={each.name: artifacts[each.name] for each in action.input_artifacts},
        store=place_of_store(context.store, execution.settings.artifact_store),
        source_revision_override=context.source_revision_override,
        secrets_id=None if masked == action else _keep_secrets(execution, context),
    )
    return execution.write(asked)


def with_secrets(asked: PoolRunAsked) -> ActionDeclaration:
    """The action with its secrets; no other action's are read."""
    if asked.secrets_id is None:
        return asked.declaration
    return read_definition_block(asked.secrets_id).whole().stages[0].actions[0]


def forget_secrets(asked: PoolRunAsked) -> None:
    """Delete the secrets that were kept for the action: it has a result."""
    if asked.secrets_id:
        delete_document(asked.secrets_id)


def _keep_secrets(execution: Execution, context: ActionContext) -> str:
    """Store this one action with its secrets, which Prefect encrypts; the id of the block."""
    stage = StageDeclaration(name=context.stage_name, actions=[context.action])
    return str(keep_unnamed(execution.declaration.model_copy(update={"stages": [stage]})))


def find_or_create_run(context: ActionContext, asked: PoolRunAsked) -> dict[str, Any]:
    """The flow run of the action execution.

    Raises:
        ActionFailed: with code `ConfigurationError`, there is no such pool, or Prefect refuses the job variables.
    """
    if found := find_run_of_key(asked.action_execution_id):
        return found
    try:
        deployment, _ = put_action_deployment(asked.work_pool)
    except ValidationException as error:
        raise ActionFailed(_why_not(asked.work_pool, str(error)), code="ConfigurationError") from None
    body = {
        "name": f"{context.pipeline_name}: {context.stage_name}/{context.action.name}",
        "parameters": {
            "pipeline_execution_id": context.pipeline_execution_id,
            "action_execution_id": asked.action_execution_id,
        },
        "tags": [TAG, execution_tag(context.pipeline_execution_id)],
        "idempotency_key": asked.action_execution_id,
        "work_queue_name": asked.work_queue,
        "job_variables": dict(context.settings.job_variables),
    }
    path = f"/deployments/{deployment['id']}/create_flow_run"
    status, run = call("POST", path, body, expected=(404, 409, 422))
    if status >= 400:
        detail = run.get("detail", run) if isinstance(run, dict) else run
        raise ActionFailed(
            f"{context.what} cannot run on work pool {asked.work_pool!r}: Prefect answered {status}: {detail}",
            code="ConfigurationError",
        )
    return dict(run)


def _why_not(work_pool: str, said: str) -> str:
    if find_pool(work_pool):
        return said
    there = ", ".join(map(repr, pool_names())) or "none"
    return f"work pool {work_pool!r} does not exist; there are: {there}"


def place_of_store(store: ArtifactStore, block: str | None) -> StorePlace:
    """Where the store is, for another machine. A folder gets a mark, by which that machine knows it again."""
    if store.folder is None:
        return StorePlace(block=block or "default")
    return StorePlace(folder=str(store.folder), mark=_mark_of(store.folder), host=socket.gethostname())


def read_mark(folder: Path) -> str | None:
    """The mark of a store's folder, or None."""
    try:
        return (folder / _MARK).read_text(encoding="ascii")
    except OSError:
        return None


def _mark_of(folder: Path) -> str:
    if mark := read_mark(folder):
        return mark
    make_private(folder, folder)
    new = folder / f"{_MARK}-{uuid4().hex}"
    new.write_text(uuid4().hex, encoding="ascii")
    try:
        with suppress(FileExistsError):  # another process has just marked it
            (folder / _MARK).hardlink_to(new)
    finally:
        new.unlink()
    mark = read_mark(folder)
    assert mark, "the folder has a mark now"
    return mark
