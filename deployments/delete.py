"""Delete a pipeline: its definitions, its deployment, its gates and its schedules. Its executions stay visible in Prefect."""

from __future__ import annotations

from typing import Any

from prefect_codepipeline.engine.executions.definitions import definition_documents, unknown_pipeline
from prefect_codepipeline.engine.executions.gate import read_gates
from prefect_codepipeline.engine.executions.lookup import find_in_flight
from prefect_codepipeline.engine.operations.projection import DEPLOYMENTS_BY_NAME
from prefect_codepipeline.engine.operations.schedules import schedule_variables
from prefect_codepipeline.errors import ValidationException
from prefect_codepipeline.prefect_api.block_documents import delete_document
from prefect_codepipeline.prefect_api.client import call, find_named
from prefect_codepipeline.prefect_api.variables import delete_variable


def check_deletable(name: str) -> None:
    """Raise what `delete_pipeline` raises for a pipeline that cannot be deleted."""
    _found(name)


def delete_pipeline(name: str) -> int:
    """Delete a pipeline and return how many versions it had. An interrupted deletion can be repeated.

    https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_DeletePipeline.html

    Raises:
        PipelineNotFoundException: no definition and no deployment of that name exists.
        ValidationException: executions are in flight, which need the definition.
    """
    documents, deployment = _found(name)
    # Oldest version first: without it, reconcile does not recreate the deployment during the deletion.
    for document in sorted(documents, key=_version):
        delete_document(document["id"])
    if deployment:
        call("DELETE", f"/deployments/{deployment['id']}", expected=(404,))
    for variable in [*read_gates(name).variables, *schedule_variables(name)]:
        delete_variable(variable)
    return len(documents)


def _found(name: str) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    documents = definition_documents(name)
    deployment = find_named(DEPLOYMENTS_BY_NAME, name)
    if not documents and deployment is None:
        raise unknown_pipeline(name)
    _check_none_in_flight(name)
    return documents, deployment


def _check_none_in_flight(name: str) -> None:
    in_flight = find_in_flight(name)
    if in_flight:
        ids = ", ".join(run["id"] for run in in_flight[:5])
        raise ValidationException(
            f"pipeline {name!r} has executions in flight ({ids}{', ...' if len(in_flight) > 5 else ''}), which need its "
            f"definition: wait until they end, or stop them with `codepipeline stop {name} EXECUTION --abandon -m REASON`"
        )


def _version(document: dict[str, Any]) -> int:
    return int(document["name"].rpartition("-v")[2])
