"""The records of deployments, which are block documents in Prefect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from prefect_codepipeline.errors import PrefectUnavailable
from prefect_codepipeline.model.names import slug
from prefect_codepipeline.model.stored.deployment import StoredDeployment, document_name
from prefect_codepipeline.prefect_api.block_documents import (
    block_of,
    create_document,
    find_document,
    list_documents,
    replace_data,
)
from prefect_codepipeline.prefect_api.variables import create_variable, read_variable, variables_with_prefix

_STOP = "codepipeline-codedeploy-stop-"


@dataclass(frozen=True)
class Recorded:
    """A deployment as it is recorded, and the id of its document."""

    document_id: str
    deployment: StoredDeployment


def find_deployment(deployment_id: str) -> Recorded | None:
    """The record of a deployment, or None."""
    document = find_document(StoredDeployment, document_name(deployment_id))
    if document is None:
        return None
    return Recorded(document["id"], block_of(StoredDeployment, document))


def create_deployment(deployment: StoredDeployment) -> Recorded:
    """Record a new deployment; the record of that id if there is one already."""
    from prefect_codepipeline.blocks.codedeploy_records import CodeDeployDeployment

    name = document_name(deployment.deployment_id)
    created = create_document(CodeDeployDeployment, deployment.model_dump(mode="json"), name)
    if created:
        return Recorded(created, deployment)
    found = find_deployment(deployment.deployment_id)
    if found is None:
        raise PrefectUnavailable(f"the record of deployment {deployment.deployment_id!r} was deleted")
    return found


def write_deployment(recorded: Recorded) -> None:
    """Replace the record of a deployment.

    Raises:
        PrefectUnavailable: Prefect does not answer, or the record was deleted.
    """
    if not replace_data(recorded.document_id, recorded.deployment.model_dump(mode="json")):
        raise PrefectUnavailable(
            f"the record of deployment {recorded.deployment.deployment_id!r} was deleted"
        )


def list_deployments(application: str | None = None, group: str | None = None) -> list[StoredDeployment]:
    """All recorded deployments, the newest first; those of an application, or of one of its groups, if it is given."""
    found = [block_of(StoredDeployment, document) for document in list_documents(StoredDeployment)]
    wanted = [
        each for each in found if application in (None, each.application) and group in (None, each.group)
    ]
    return sorted(wanted, key=lambda each: each.created, reverse=True)


def request_stop(deployment_id: str, by: str, reason: str = "") -> bool:
    """Ask the process of a deployment to stop it; False if that was asked for before."""
    value = {"by": by, "reason": reason}
    return create_variable(_stop_name(deployment_id), value, ["codepipeline"]) is not None


def stop_request(deployment_id: str) -> dict[str, Any] | None:
    """Who asked to stop a deployment, as `by`, and why, as `reason`; or None."""
    found = read_variable(_stop_name(deployment_id))
    return found["value"] if found else None


def stop_requests() -> list[str]:
    """The names of all variables that ask for a stop."""
    return [each["name"] for each in variables_with_prefix(_STOP)]


def _stop_name(deployment_id: str) -> str:
    return f"{_STOP}{slug(deployment_id)}"
