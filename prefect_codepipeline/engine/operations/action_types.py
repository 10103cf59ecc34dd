"""Create and delete the action types that job workers serve, and change published ones.

https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_CreateCustomActionType.html
"""

from __future__ import annotations

from typing import Any

from prefect_codepipeline.engine.jobs.action_types import find_known_type, find_type, list_types
from prefect_codepipeline.engine.operations.tagging import drop_tags
from prefect_codepipeline.errors import (
    ActionTypeAlreadyExistsException,
    ActionTypeNotFoundException,
    LimitExceededException,
    RequestFailedException,
)
from prefect_codepipeline.model.definition.declaration import ActionTypeId
from prefect_codepipeline.model.definition.own_types import MOST_OF_PUBLISHED, check_type
from prefect_codepipeline.model.definition.published_types import type_in
from prefect_codepipeline.model.stored.action_type import StoredActionType, document_name
from prefect_codepipeline.model.wire.arns import Account
from prefect_codepipeline.prefect_api.block_documents import create_block, save_block

MOST_CUSTOM_TYPES = 50


def create_type(wanted: StoredActionType) -> StoredActionType:
    """Create an action type, whose content was checked; creating the same again changes nothing.

    A deleted type comes back, if its definition is the same.

    Raises:
        ActionTypeAlreadyExistsException: there is or was one with another definition; a version never changes.
        LimitExceededException: there are 50 custom types.
    """
    known = find_known_type(wanted.id)
    if known is None:
        _check_limit(wanted)
        if create_block(_block(wanted), document_name(wanted.id)) is not None:
            return wanted
        return create_type(wanted)  # another process has created it just now
    if not known.has_definition_of(wanted):
        was = "existed, and its version cannot be used again" if known.deleted else "already exists"
        raise ActionTypeAlreadyExistsException(
            f"ActionType {described(wanted.id)} {was} with another definition. Use another version."
        )
    if not known.deleted:
        return known
    _check_limit(wanted)
    save_block(_block(wanted), document_name(wanted.id))
    return wanted


def delete_type(kind: ActionTypeId) -> bool:
    """Mark an action type as deleted, and drop its tags; False if there was none to delete, which is no error."""
    found = find_type(kind)
    if found is None:
        return False
    drop_tags(Account().action_type(found.arn_kind))
    save_block(_block(found.model_copy(update={"deleted": True})), document_name(kind))
    return True


def find_published_type(kind: ActionTypeId) -> StoredActionType:
    """A type that its publisher runs. Raises `ActionTypeNotFoundException`."""
    found = find_type(kind) if kind.owner != "Custom" else None
    if found is None:
        raise not_found(kind)
    return found


def update_published_type(declaration: dict[str, Any]) -> None:
    """Replace what a published type is, given as `ActionTypeDeclaration`.

    Raises:
        ActionTypeNotFoundException: there is no such type.
        RequestFailedException: it cannot run here.
        ValidationException: it contradicts itself.
    """
    known = find_published_type(ActionTypeId.model_validate(declaration["id"]))
    if declaration["executor"]["type"] != "JobWorker":
        raise RequestFailedException(
            f"ActionType {described(known.id)} was not updated: only an executor of type JobWorker can run its actions."
        )
    wanted = type_in(declaration)
    check_type(wanted, MOST_OF_PUBLISHED)
    content = StoredActionType.of(
        wanted,
        known.owner,
        declaration=declaration,
        client_id=known.client_id,
        client_token=known.client_token,
    )
    save_block(_block(content), document_name(known.id))


def not_found(kind: ActionTypeId) -> ActionTypeNotFoundException:
    """The error for an action type that does not exist, in AWS's words."""
    return ActionTypeNotFoundException(f"ActionType {described(kind)} is not available")


def described(kind: ActionTypeId) -> str:
    """An action type as AWS's messages name it."""
    return (
        f"(Category: '{kind.category}', Owner: '{kind.owner}', Provider: '{kind.provider}', "
        f"Version: '{kind.version}')"
    )


def _check_limit(wanted: StoredActionType) -> None:
    if wanted.owner == "Custom" and sum(each.owner == "Custom" for each in list_types()) >= MOST_CUSTOM_TYPES:
        raise LimitExceededException(
            f"ActionType {described(wanted.id)} was not created: there are {MOST_CUSTOM_TYPES} custom action types, "
            "which is the limit. Delete one that is not used."
        )


def _block(content: StoredActionType) -> Any:
    # It imports Prefect, which finding a type does without.
    from prefect_codepipeline.blocks.action_type import CodePipelineActionType

    return CodePipelineActionType(**dict(content))
