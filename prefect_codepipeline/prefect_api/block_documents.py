"""Read and write Prefect block documents: by name, by id, or all of a type.

Prefect's own `Block.load` reports every problem as a `ValueError`, whether the block is missing or invalid, and its text
may quote a secret. Here a missing block is None, and a block that cannot be used says which fields are wrong.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast
from uuid import UUID

from pydantic import BaseModel, ValidationError

from prefect_codepipeline.errors import MissingBlock
from prefect_codepipeline.model.stored.content import BlockContent
from prefect_codepipeline.prefect_api.client import call, call_all, find_named

if TYPE_CHECKING:
    from prefect.blocks.core import Block

# A block document as Prefect's API returns it: `id`, `name`, `data` and more.
Document: TypeAlias = dict[str, Any]
# The class of a block or of its content, or the slug of its type.
Kind: TypeAlias = type[BaseModel] | str
AnyBlock = TypeVar("AnyBlock", bound=BaseModel)


def find_block(kind: type[AnyBlock], *names: str, command: str | None = None) -> AnyBlock | None:
    """The first of these blocks that exists, with its secrets, or None.

    Args:
        kind: the class of the block, or that of its content, which needs no Prefect.
        names: the possible names, the preferred name first.
        command: what replaces a block that cannot be used, for the message.

    Raises:
        MissingBlock: the block cannot be used; the message names the fields, but quotes no value of a hidden field.
        PrefectUnavailable: the API does not answer.
    """
    document = find_document(kind, names[0]) if len(names) == 1 else _first_document(kind, names)
    return block_of(kind, document, command) if document else None


def _first_document(kind: Kind, names: Sequence[str]) -> Document | None:
    """The first of these documents that exists, by one request."""
    found = {each["name"]: each for each in list_documents(kind, {"any_": list(names)}, with_secrets=True)}
    return next((found[name] for name in names if name in found), None)


def load_block(kind: type[AnyBlock], *names: str, command: str) -> AnyBlock:
    """The first of these blocks that exists, with its secrets.

    Raises:
        MissingBlock: there is none, or it cannot be used; the message names the command.
        PrefectUnavailable: the API does not answer.
    """
    found = find_block(kind, *names, command=command)
    if found is None:
        raise missing_block(kind, *names, command=command)
    return found


def find_block_by_id(kind: type[AnyBlock], block_id: str | UUID) -> AnyBlock | None:
    """The block with that id, named or not, or None. Raises as `find_block` does."""
    path = f"/block_documents/{UUID(str(block_id))}?include_secrets=true"
    status, document = call("GET", path, expected=(404,))
    return block_of(kind, document) if status == 200 else None


def find_document(kind: Kind, name: str) -> Document | None:
    """The document of a block, with its secrets, or None. Raises `PrefectUnavailable`."""
    path = f"/block_types/slug/{_slug(kind)}/block_documents/name"
    return find_named(path, name, "?include_secrets=true")


def list_documents(
    kind: Kind, names: dict[str, Any] | None = None, *, with_secrets: bool = False
) -> list[Document]:
    """The documents of all named blocks of a type, by name.

    Args:
        kind: the class of the blocks, or the slug of their type.
        names: a filter in the form of Prefect's API, such as `{"any_": ["one", "two"]}`.
        with_secrets: read the secrets too; otherwise the server masks them.

    Raises:
        PrefectUnavailable: the API does not answer.
    """
    wanted = _all_of(kind)
    if names:
        wanted["block_documents"]["name"] = names
    return call_all("/block_documents/filter", {**wanted, "include_secrets": with_secrets})


def documents_by_id(kind: Kind, ids: Collection[str]) -> list[Document]:
    """The documents of those of these blocks that exist, named or not, with their secrets."""
    wanted = {**_all_of(kind), "block_documents": {"id": {"any_": sorted(ids)}, "is_anonymous": None}}
    return call_all("/block_documents/filter", {**wanted, "include_secrets": True})


def fields_by_name(kind: Kind) -> dict[str, dict[str, Any]]:
    """The fields of each block of a type, by the block's name, with masked secrets."""
    return {document["name"]: document["data"] for document in list_documents(kind)}


def count_blocks(kind: Kind) -> int:
    """How many named blocks of a type there are."""
    return int(call("POST", "/block_documents/count", _all_of(kind))[1])


def block_of(kind: type[AnyBlock], document: Document, command: str | None = None) -> AnyBlock:
    """The block in a document that was read with its secrets. Raises `MissingBlock` if it cannot be used."""
    try:
        return kind.model_validate(document["data"])
    except ValidationError as error:
        replace = f", or replace it with: {command}" if command else ""
        # An unnamed block has a name that Prefect made.
        raise MissingBlock(
            f"{_name(kind)} block {document['name']!r} cannot be used: {field_problems(error)}; "
            f"correct it in Prefect's UI{replace}"
        ) from None


def missing_block(kind: type[BaseModel], *names: str, command: str) -> MissingBlock:
    """The error for a block that does not exist under any of these names."""
    known = " or ".join(map(repr, names))
    return MissingBlock(f"there is no {_name(kind)} block {known}; create it with: {command}")


def field_problems(error: ValidationError) -> str:
    """The wrong fields and what is wrong with each, without the values, which may be secrets."""
    return "; ".join(
        f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors(include_input=False)
    )


def save_block(block: Block, name: str) -> None:
    """Save a block, replacing the one of that name. Raises `ValueError` for a name that Prefect does not allow."""
    block.save(name, overwrite=True)


def create_block(block: Block, name: str) -> UUID | None:
    """Save a new block; its id, or None if the name is taken: of several processes only one creates it.

    Raises:
        ValueError: Prefect does not allow the name.
    """
    from prefect.exceptions import ObjectAlreadyExists

    try:
        return cast(UUID, block.save(name))
    except ValueError as error:
        if isinstance(error.__cause__, ObjectAlreadyExists):
            return None
        raise


def create_document(kind: type[Block], data: dict[str, Any], name: str) -> str | None:
    """Save a new block of plain data without secrets; its id, or None if the name is taken.

    `Block.save` generates the schema once for each field, to find secrets: for a large block that takes a second.
    """
    cast(Any, kind).register_type_and_schema(_sync=True)
    body = {
        "name": name,
        "data": data,
        "block_type_id": str(kind._block_type_id),
        "block_schema_id": str(kind._block_schema_id),
    }
    status, created = call("POST", "/block_documents/", body, expected=(409,))
    return None if status == 409 else str(created["id"])


def replace_data(document_id: str, data: dict[str, Any]) -> bool:
    """Replace all fields of the block with that id with one request; False if it was deleted."""
    body = {"data": data, "merge_existing_data": False}
    return call("PATCH", f"/block_documents/{document_id}", body, expected=(404,))[0] != 404


def delete_block(kind: Kind, name: str) -> bool:
    """Delete a block; False if there is none."""
    document = find_document(kind, name)
    return document is not None and delete_document(document["id"])


def delete_document(document_id: str) -> bool:
    """Delete the block with that id; False if there is none."""
    return call("DELETE", f"/block_documents/{document_id}", expected=(404,))[0] != 404


def _all_of(kind: Kind) -> dict[str, Any]:
    return {
        "block_types": {"slug": {"any_": [_slug(kind)]}},
        "block_documents": {"is_anonymous": {"eq_": False}},
    }


def _slug(kind: Kind) -> str:
    if isinstance(kind, str):
        return kind
    if issubclass(kind, BlockContent):
        return kind.block_slug
    return cast("type[Block]", kind).get_block_type_slug()


def _name(kind: type[BaseModel]) -> str:
    return kind.block_name if issubclass(kind, BlockContent) else kind.__name__
