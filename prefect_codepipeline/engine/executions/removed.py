"""Which executions retention has removed, so that who looks for one learns what became of it."""

from __future__ import annotations

from prefect_codepipeline.errors import PipelineExecutionNotFoundException
from prefect_codepipeline.model.stored.retention import StoredRemovals
from prefect_codepipeline.prefect_api.block_documents import (
    block_of,
    create_document,
    find_block,
    find_document,
    replace_data,
)

_NAME = "default"
REMOVED = "this execution was removed by retention"


def remember_removed(execution_ids: list[str]) -> None:
    """Note that these executions are removed. It is written before they are: a process may die in between."""
    # It imports Prefect, which a look does without.
    from prefect_codepipeline.blocks.retention import RemovedExecutions

    document = find_document(StoredRemovals, _NAME)
    before = block_of(StoredRemovals, document) if document else StoredRemovals()
    data = before.with_more(execution_ids).model_dump()
    if document is None or not replace_data(document["id"], data):
        create_document(RemovedExecutions, data, _NAME)


def was_removed(beginning: str) -> bool:
    """Whether retention has removed an execution whose id begins like that. Only the last 20,000 are known."""
    found = find_block(StoredRemovals, _NAME)
    return found is not None and found.has(beginning.strip().lower())


def not_found(execution_id: str, otherwise: str) -> PipelineExecutionNotFoundException:
    """The error for an execution that does not exist: that it was removed, or the sentence `otherwise`."""
    if was_removed(execution_id):
        return PipelineExecutionNotFoundException(
            f"{REMOVED}: {execution_id}; what is kept, and for how long, says the block Retention"
        )
    return PipelineExecutionNotFoundException(otherwise)
