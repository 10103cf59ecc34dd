"""Delete a pipeline: its definitions, its deployment, its gates and its schedules. Its executions stay in Prefect, for people to see."""

from __future__ import annotations

from typing import Any

from prefect_codepipeline.engine.executions.definitions import definition_documents
from prefect_codepipeline.engine.executions.gate import read_gates
from prefect_codepipeline.engine.executions.lookup import find_in_flight
from prefect_codepipeline.engine.operations.projection import FLOW_NAME
from prefect_codepipeline.engine.operations.schedules import schedule_variables
from prefect_codepipeline.errors import PipelineNotFoundException, ValidationException
from prefect_codepipeline.prefect_api.client import call


def delete_pipeline(name: str) -> int:
    """Delete a pipeline, and return how many versions it had. One that was cut off is finished by another.

    https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_DeletePipeline.html

    Raises:
        PipelineNotFoundException: there is neither a definition nor a deployment of that name.
        ValidationException: executions of it are in flight, which need their definition.
    """
    documents = definition_documents(name)
    status, deployment = call("GET", f"/deployments/name/{FLOW_NAME}/{name}", expected=(404,))
    if not documents and status == 404:
        raise PipelineNotFoundException(
            f"there is no pipeline {name!r}; deployed pipelines are listed by `codepipeline list`"
        )
    _refuse_in_flight(name)
    # The first version first: without it the deployment is not made anew while this goes on.
    for document in sorted(documents, key=_version):
        call("DELETE", f"/block_documents/{document['id']}", expected=(404,))
    if status != 404:
        call("DELETE", f"/deployments/{deployment['id']}", expected=(404,))
    for variable in [*read_gates(name).variables, *schedule_variables(name)]:
        call("DELETE", f"/variables/{variable['id']}", expected=(404,))
    return len(documents)


def _refuse_in_flight(name: str) -> None:
    in_flight = find_in_flight(name)
    if in_flight:
        ids = ", ".join(run["id"] for run in in_flight[:5])
        raise ValidationException(
            f"pipeline {name!r} has executions in flight ({ids}{', ...' if len(in_flight) > 5 else ''}), which need its "
            f"definition: let them end, or stop them with `codepipeline stop {name} EXECUTION --abandon -m REASON`"
        )


def _version(document: dict[str, Any]) -> int:
    return int(document["name"].rpartition("-v")[2])
