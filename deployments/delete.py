"""Delete a pipeline that has nothing in flight, as the command line does. Its executions stay visible in Prefect."""

from __future__ import annotations

from prefect_codepipeline.engine.executions.definitions import definition_documents, unknown_pipeline
from prefect_codepipeline.engine.executions.lookup import find_in_flight
from prefect_codepipeline.engine.operations.deleting import finish_deletion, ids_of
from prefect_codepipeline.engine.operations.projection import DEPLOYMENTS_BY_NAME
from prefect_codepipeline.errors import ValidationException
from prefect_codepipeline.prefect_api.client import find_named


def check_deletable(name: str) -> None:
    """Raise what `delete_pipeline` raises for a pipeline that cannot be deleted."""
    if not definition_documents(name) and find_named(DEPLOYMENTS_BY_NAME, name) is None:
        raise unknown_pipeline(name)
    in_flight = find_in_flight(name)
    if in_flight:
        raise ValidationException(
            f"pipeline {name!r} has executions in flight ({ids_of(in_flight)}), which need its definition: wait until they "
            f"end, or stop them with `codepipeline stop {name} EXECUTION --abandon -m REASON`"
        )


def delete_pipeline(name: str) -> int:
    """Delete a pipeline and return how many versions it had. An interrupted deletion can be repeated.

    Raises:
        PipelineNotFoundException: no definition and no deployment of that name exists.
        ValidationException: executions are in flight, which need the definition.
    """
    check_deletable(name)
    return finish_deletion(name)
