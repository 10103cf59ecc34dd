"""Store the versions of pipelines in Prefect blocks, and find them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast
from uuid import UUID

from pydantic import ValidationError

from prefect_codepipeline.actions.registry import providers
from prefect_codepipeline.blocks.pipeline_definition import PipelineDefinition, document_name
from prefect_codepipeline.blocks.pipeline_settings import PipelineSettings
from prefect_codepipeline.errors import MissingBlock, PipelineNotFoundException
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.names import slug
from prefect_codepipeline.prefect_api.client import PAGE, call, call_all, client
from prefect_codepipeline.prefect_api.internals import find_block, save_anonymously

DEFINITION_TYPE = "pipeline-definition"


def claim_version(declaration: PipelineDeclaration) -> UUID | None:
    """Store the definition under its version; the block's id, or None if another process has taken that version."""
    try:
        return cast(UUID, _block(declaration).save(document_name(declaration.name, declaration.version)))
    except ValueError:  # Prefect's error for a name that is taken
        return None


def keep_unnamed(declaration: PipelineDeclaration) -> UUID:
    """Store a definition that is not a version of a pipeline: that of a single `codepipeline run`."""
    return save_anonymously(_block(declaration))


def read_definition_block(definition_id: str | UUID) -> PipelineDefinition:
    """The definition with that block id. Raises `PipelineNotFoundException`."""
    found = find_block(client(), PipelineDefinition, UUID(str(definition_id)))
    if found is None:
        raise PipelineNotFoundException(f"the definition {definition_id} was deleted from Prefect")
    return found


def find_version(pipeline_name: str, version: int) -> tuple[UUID, PipelineDefinition] | None:
    """One version of a pipeline and its block's id, or None if there is none."""
    name = document_name(pipeline_name, version)
    status, document = call(
        "GET",
        f"/block_types/slug/{DEFINITION_TYPE}/block_documents/name/{name}?include_secrets=true",
        expected=(404,),
    )
    return None if status == 404 else _parse(document)


def pipeline_names() -> list[str]:
    """The names of all pipelines that have a definition."""
    firsts = call_all("/block_documents/filter", _name_filter(like_="-v1"))
    return sorted({document["data"]["pipeline_name"] for document in firsts})


def definition_documents(pipeline_name: str) -> list[dict[str, Any]]:
    """The block documents of all versions of a pipeline, as returned by Prefect's API."""
    found = call_all("/block_documents/filter", _name_filter(like_=f"{slug(pipeline_name)}-v"))
    versions = re.compile(re.escape(slug(pipeline_name)) + r"-v\d+")
    return [document for document in found if versions.fullmatch(document["name"])]


def updated_since(versions: Mapping[str, int]) -> list[str]:
    """The names of the pipelines that have a newer definition than the given version."""
    following = {document_name(name, version + 1): name for name, version in versions.items()}
    found = call_all("/block_documents/filter", _name_filter(any_=sorted(following))) if following else []
    return sorted(following[document["name"]] for document in found)


def _name_filter(**name: Any) -> dict[str, Any]:
    return {
        "block_types": {"slug": {"any_": [DEFINITION_TYPE]}},
        "block_documents": {"is_anonymous": {"eq_": False}, "name": name},
    }


def newest_version(pipeline_name: str, at_least: int = 1) -> tuple[UUID, PipelineDefinition]:
    """The newest version of a pipeline and its block's id.

    Args:
        pipeline_name: the name in the definition.
        at_least: a version that is known to exist; the search starts there.

    Raises:
        PipelineNotFoundException: there is no such pipeline.
    """
    newest = find_version(pipeline_name, at_least)
    if newest is None:
        raise PipelineNotFoundException(
            f"there is no pipeline {pipeline_name!r}; deployed pipelines are listed by `codepipeline list`"
        )
    while following := find_version(pipeline_name, newest[1].version + 1):
        newest = following
    return newest


def read_definitions(versions: Mapping[str, int]) -> list[PipelineDefinition]:
    """The given versions of pipelines, secrets included; `versions` is by pipeline name. Takes only a few requests."""
    names = [document_name(name, version) for name, version in sorted(versions.items())]
    found: dict[str, PipelineDefinition] = {}
    for start in range(0, len(names), PAGE):
        body = {**_name_filter(any_=names[start : start + PAGE]), "include_secrets": True}
        for document in call_all("/block_documents/filter", body):
            found[document["name"]] = PipelineDefinition.model_validate(document["data"])
    return [found[name] for name in names if name in found]


def settings_of(pipeline_name: str, settings_id: str | None = None) -> PipelineSettings:
    """The block with that id if one is given, else the pipeline's own block, else `default`, else default values.

    Raises:
        MissingBlock: the block is invalid; the message names the fields.
    """
    by_name = "/block_types/slug/pipeline-settings/block_documents/name"
    paths = [f"{by_name}/{slug(pipeline_name)}", f"{by_name}/default"]
    for path in [f"/block_documents/{settings_id}"] if settings_id else paths:
        status, document = call("GET", f"{path}?include_secrets=true", expected=(404,))
        if status == 200:
            return _settings(document)
    return PipelineSettings()


def _settings(document: dict[str, Any]) -> PipelineSettings:
    try:
        return PipelineSettings.model_validate(document["data"])
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise MissingBlock(f"PipelineSettings block {document['name']!r} cannot be used: {wrong}") from None


def _block(declaration: PipelineDeclaration) -> PipelineDefinition:
    secret_keys = {str(kind): provider.secrets for kind, provider in providers().items()}
    return PipelineDefinition.of(declaration, secret_keys)


def _parse(document: dict[str, Any]) -> tuple[UUID, PipelineDefinition]:
    return UUID(document["id"]), PipelineDefinition.model_validate(document["data"])
