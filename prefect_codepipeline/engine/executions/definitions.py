"""Store the versions of pipelines in Prefect blocks, and find them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect_codepipeline.actions.catalog import has_plugins
from prefect_codepipeline.errors import PipelineNotFoundException
from prefect_codepipeline.model.definition.action_types import action_types
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.names import may_be_secret, slug
from prefect_codepipeline.model.problem import nearest
from prefect_codepipeline.model.stored import action_type
from prefect_codepipeline.model.stored.definition import StoredDefinition, document_name
from prefect_codepipeline.model.stored.settings import StoredSettings
from prefect_codepipeline.prefect_api.block_documents import (
    block_of,
    create_block,
    documents_by_id,
    find_block,
    find_block_by_id,
    find_document,
    list_documents,
)
from prefect_codepipeline.prefect_api.client import PAGE, api_url, moment
from prefect_codepipeline.prefect_api.internals import save_anonymously

if TYPE_CHECKING:
    from prefect_codepipeline.blocks.pipeline_definition import PipelineDefinition


def claim_version(declaration: PipelineDeclaration, created_by: str = "") -> UUID | None:
    """Store the definition under its version; the block's id, or None if another process has taken that version.

    Args:
        declaration: the definition, including its version and its secrets.
        created_by: who creates it by the AWS API, which starts the first execution of version 1.
    """
    block = _block(declaration)
    block.created_by = created_by
    return create_block(block, document_name(declaration.name, declaration.version))


def keep_unnamed(declaration: PipelineDeclaration) -> UUID:
    """Store a definition that is not a version of a pipeline: that of a single `codepipeline run`."""
    return save_anonymously(_block(declaration))


def read_definition_block(definition_id: str | UUID) -> StoredDefinition:
    """The definition with that block id. Raises `PipelineNotFoundException`."""
    found = find_block_by_id(StoredDefinition, definition_id)
    if found is None:
        raise PipelineNotFoundException(
            f"the definition {definition_id} was deleted with its pipeline; "
            "the pipeline's executions stay visible in Prefect's UI"
        )
    return found


def pinned_declaration(definition_id: str | UUID) -> PipelineDeclaration:
    """The declaration with that block id, its secrets masked; read once, because a version never changes.

    Raises:
        PipelineNotFoundException: it was deleted before it was read.
    """
    return _pinned_declaration(str(definition_id))


@lru_cache(maxsize=100)
def _pinned_declaration(definition_id: str) -> PipelineDeclaration:
    return read_definition_block(definition_id).masked()


def forget_pinned() -> None:
    """Read definitions again: some were deleted."""
    _pinned_declaration.cache_clear()


def read_definition_blocks(definition_ids: Collection[str]) -> dict[str, StoredDefinition]:
    """The definitions that exist among these block ids, by id; one request."""
    if not definition_ids:
        return {}
    documents = documents_by_id(StoredDefinition, definition_ids)
    return {document["id"]: block_of(StoredDefinition, document) for document in documents}


def unknown_pipeline(name: str) -> PipelineNotFoundException:
    """The error for a pipeline that does not exist, with the most similar name that does."""
    hint = nearest(name, pipeline_names()) or "list the deployed pipelines with: codepipeline list"
    return PipelineNotFoundException(f"pipeline {name!r} does not exist at {api_url()}; {hint}")


def first_created(pipeline_name: str) -> datetime | None:
    """When the pipeline was created, by the server's clock; None if it does not exist."""
    document = find_document(StoredDefinition, document_name(pipeline_name, 1))
    return moment(document["created"]) if document else None


@dataclass(frozen=True)
class DeployedVersion:
    """A version of a pipeline, its block's id, and when the pipeline was created; None if its first version is missing.

    `first_id` is the id of the first version's block, which differs for a pipeline that was deleted and made again.
    """

    definition_id: str
    definition: StoredDefinition
    first_created: datetime | None
    first_id: str | None
    created: datetime


def find_versions(versions: Mapping[str, int]) -> dict[str, DeployedVersion]:
    """These versions of pipelines, by pipeline name, without those that do not exist; few requests."""
    found = _documents((name, number) for name, version in versions.items() for number in (1, version))
    return {
        name: _deployed(newest, found.get(document_name(name, 1)))
        for name, version in versions.items()
        if (newest := found.get(document_name(name, version)))
    }


def find_newest_deployed(pipeline_name: str, at_least: int = 1) -> DeployedVersion | None:
    """The newest version of a pipeline, or None if there is none from `at_least` on; mostly one request."""
    while True:
        numbers = (1, at_least, at_least + 1)
        found = _documents((pipeline_name, number) for number in numbers)
        first, newest, following = (found.get(document_name(pipeline_name, number)) for number in numbers)
        if newest is None:
            return None
        if following is None:
            return _deployed(newest, first)
        at_least += 1


def _documents(versions: Iterable[tuple[str, int]]) -> dict[str, dict[str, Any]]:
    """The documents of these versions of pipelines that exist, by their names, with their secrets."""
    names = sorted({document_name(*each) for each in versions})
    found: dict[str, dict[str, Any]] = {}
    for start in range(0, len(names), PAGE):
        page = {"any_": names[start : start + PAGE]}
        documents = list_documents(StoredDefinition, page, with_secrets=True)
        found |= {document["name"]: document for document in documents}
    return found


def _deployed(newest: dict[str, Any], first: dict[str, Any] | None) -> DeployedVersion:
    return DeployedVersion(
        newest["id"],
        block_of(StoredDefinition, newest),
        moment(first["created"]) if first else None,
        first["id"] if first else None,
        moment(newest["created"]),
    )


def find_version(pipeline_name: str, version: int) -> tuple[UUID, StoredDefinition] | None:
    """One version of a pipeline and its block's id, or None if there is none."""
    document = find_document(StoredDefinition, document_name(pipeline_name, version))
    return (UUID(document["id"]), block_of(StoredDefinition, document)) if document else None


def pipeline_names() -> list[str]:
    """The names of all pipelines that have a definition."""
    firsts = list_documents(StoredDefinition, {"like_": "-v1"})
    return sorted({document["data"]["pipeline_name"] for document in firsts})


def pipelines_created() -> dict[str, datetime]:
    """When each pipeline was created, by the server's clock; by name."""
    firsts = list_documents(StoredDefinition, {"like_": "-v1"})
    return {
        document["data"]["pipeline_name"]: moment(document["created"])
        for document in firsts
        if document["name"].endswith("-v1")
    }


def definition_documents(pipeline_name: str) -> list[dict[str, Any]]:
    """The block documents of all versions of a pipeline, as returned by Prefect's API."""
    found = list_documents(StoredDefinition, {"like_": f"{slug(pipeline_name)}-v"})
    versions = re.compile(re.escape(slug(pipeline_name)) + r"-v\d+")
    return [document for document in found if versions.fullmatch(document["name"])]


def updated_since(versions: Mapping[str, int]) -> list[str]:
    """The names of the pipelines that have a newer definition than the given version."""
    following = {document_name(name, version + 1): name for name, version in versions.items()}
    found = list_documents(StoredDefinition, {"any_": sorted(following)}) if following else []
    return sorted(following[document["name"]] for document in found)


def newest_version(pipeline_name: str, at_least: int = 1) -> tuple[UUID, StoredDefinition]:
    """The newest version of a pipeline and its block's id.

    Args:
        pipeline_name: the name in the definition.
        at_least: a version that is known to exist; the search starts there.

    Raises:
        PipelineNotFoundException: there is no such pipeline.
    """
    newest = find_newest_version(pipeline_name, at_least)
    if newest is None:
        raise unknown_pipeline(pipeline_name)
    return newest


def find_newest_version(pipeline_name: str, at_least: int = 1) -> tuple[UUID, StoredDefinition] | None:
    """The newest version of a pipeline and its block's id, or None if there is no such pipeline."""
    newest, step = find_version(pipeline_name, at_least), 1
    # There are no gaps: the distance is doubled as long as there is a version, and then halved.
    while newest and (further := find_version(pipeline_name, newest[1].version + step)):
        newest, step = further, 2 * step
    while newest and step > 1:
        step //= 2
        newest = find_version(pipeline_name, newest[1].version + step) or newest
    return newest


def read_definitions(versions: Mapping[str, int]) -> list[StoredDefinition]:
    """The given versions of pipelines, secrets included; `versions` is by pipeline name. Takes only a few requests."""
    names = [document_name(name, version) for name, version in sorted(versions.items())]
    found: dict[str, StoredDefinition] = {}
    for start in range(0, len(names), PAGE):
        wanted = {"any_": names[start : start + PAGE]}
        for document in list_documents(StoredDefinition, wanted, with_secrets=True):
            found[document["name"]] = block_of(StoredDefinition, document)
    return [found[name] for name in names if name in found]


def settings_of(pipeline_name: str, settings_id: str | None = None) -> StoredSettings:
    """The block with that id if one is given, else the pipeline's own block, else `default`, else default values.

    Raises:
        MissingBlock: the block is invalid; the message names the fields.
    """
    if settings_id:
        found = find_block_by_id(StoredSettings, settings_id)
    else:
        found = find_block(StoredSettings, slug(pipeline_name), "default")
    return found or StoredSettings()


def _block(declaration: PipelineDeclaration) -> PipelineDefinition:
    # It imports Prefect, which reading a definition does without.
    from prefect_codepipeline.blocks.pipeline_definition import PipelineDefinition

    secret_keys = {
        name: frozenset(key.key for key in kind.configuration if key.secret)
        for name, kind in action_types().items()
    }
    if has_plugins():  # to import the providers takes seconds, and the table has the secrets of ours
        from prefect_codepipeline.actions.registry import providers

        for kind, provider in providers().items():
            secret_keys[str(kind)] = secret_keys.get(str(kind), frozenset()) | provider.secrets
    for own in _own_types(declaration):
        secret_keys[str(own.id)] = secret_keys.get(str(own.id), frozenset()) | own.secrets
    return PipelineDefinition.of(declaration, secret_keys | _guessed(declaration, secret_keys))


def _guessed(
    declaration: PipelineDeclaration, known: Mapping[str, frozenset[str]]
) -> dict[str, frozenset[str]]:
    """The keys of action types that nothing is known of, if their names are those of secrets."""
    found: dict[str, frozenset[str]] = {}
    for action in (action for stage in declaration.stages for action in stage.actions):
        kind = str(action.action_type_id)
        if kind not in known:
            keys = frozenset(key for key in action.configuration if may_be_secret(key))
            found[kind] = found.get(kind, frozenset()) | keys
    return found


def _own_types(declaration: PipelineDeclaration) -> list[action_type.StoredActionType]:
    """The action types of the definition that job workers serve, also deleted ones: their secrets stay secrets."""
    kinds = {action.action_type_id for stage in declaration.stages for action in stage.actions}
    names = {action_type.document_name(kind) for kind in kinds if kind.owner != "AWS"}
    if not names:
        return []
    documents = list_documents(action_type.StoredActionType, {"any_": sorted(names)})
    return [block_of(action_type.StoredActionType, document) for document in documents]
