"""Find the action types that job workers serve."""

from __future__ import annotations

from prefect_codepipeline.errors import ActionTypeNotFoundException
from prefect_codepipeline.model.definition.action_types import ActionType
from prefect_codepipeline.model.definition.declaration import ActionTypeId
from prefect_codepipeline.model.stored.action_type import StoredActionType, document_name
from prefect_codepipeline.prefect_api.block_documents import block_of, find_block, list_documents


def find_type(kind: ActionTypeId) -> StoredActionType | None:
    """The action type with its secrets; None if it was never created or is deleted."""
    found = find_known_type(kind)
    return None if found is None or found.deleted else found


def find_known_type(kind: ActionTypeId) -> StoredActionType | None:
    """The action type with its secrets, also if it is deleted; executions that use it may still be in flight."""
    return find_block(StoredActionType, document_name(kind))


def find_row(kind: ActionTypeId) -> ActionType | None:
    """The action type as a row of AWS's table, by which definitions are checked; None as for `find_type`."""
    found = find_type(kind)
    return found.row if found else None


def list_types() -> list[StoredActionType]:
    """All action types that exist, by owner, category, provider and version; the secrets of workers are masked."""
    return [each for each in known_types() if not each.deleted]


def known_types() -> list[StoredActionType]:
    """All action types, deleted ones too, in the same order."""
    found = [block_of(StoredActionType, document) for document in list_documents(StoredActionType)]
    return sorted(found, key=lambda each: (each.owner, each.category, each.provider, each.version))


def parse_type(text: str) -> ActionTypeId:
    """The action type that a text such as `Deploy/Custom/Acme/1` names. Raises `ActionTypeNotFoundException`."""
    names = ("category", "owner", "provider", "version")
    try:
        return ActionTypeId.model_validate(dict(zip(names, text.split("/"), strict=True)))
    except ValueError:
        raise ActionTypeNotFoundException(
            f"{text!r} is not an action type; write CATEGORY/OWNER/PROVIDER/VERSION, such as Deploy/Custom/Acme/1"
        ) from None
