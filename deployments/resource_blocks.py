"""Create blocks for the resources beside a definition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from prefect_codepipeline.blocks.codebuild_project import CodeBuildProject
from prefect_codepipeline.blocks.codedeploy_application import CodeDeployApplication
from prefect_codepipeline.blocks.git_connection import GitConnection
from prefect_codepipeline.deployments.checking.inline_buildspecs import PROJECT, problems_of_blocks
from prefect_codepipeline.deployments.files.resource_kinds import BlockOf, blocks_of
from prefect_codepipeline.errors import CodePipelineError
from prefect_codepipeline.model.codedeploy.applications import application_block
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.prefect_api.block_documents import create_block, field_problems, fields_by_name


def make_blocks(resources: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Create a block for each supported resource, unless it exists.

    An existing block is never changed: it may contain a token.

    Returns:
        A sentence for each resource.

    Raises:
        CodePipelineError: a block's name or URL is not valid.
    """
    return [_create(block) for block in blocks_of(resources)]


def problems_of_project_blocks(declaration: PipelineDeclaration) -> list[str]:
    """A sentence for each problem of the buildspecs in the blocks of a pipeline's projects."""
    blocks = {PROJECT: fields_by_name(CodeBuildProject)}
    return [str(problem) for problem in problems_of_blocks(declaration.to_wire(), blocks)]


def present(block: BlockOf) -> str | None:
    """The name of the existing connection with the same ConnectionArn or name, or None."""
    for name, data in fields_by_name(GitConnection).items():
        if name == block.name or (
            block.connection_arn and data.get("connection_arn") == block.connection_arn
        ):
            return name
    return None


def _create(block: BlockOf) -> str:
    if block.fields is not None:
        return _create_of_fields(block, block.fields)
    if not block.url_template:
        return f"{block.logical_id} ({block.type}): {block.reason}"
    if existing := present(block):
        return f"{block.logical_id} ({block.type}): connection {existing!r} exists"
    try:
        connection = GitConnection(url_template=block.url_template, connection_arn=block.connection_arn)
        if create_block(connection, block.name) is None:  # another process has created it just now
            return f"{block.logical_id} ({block.type}): connection {block.name!r} exists"
    except ValueError as error:  # from Prefect, for an invalid name
        raise CodePipelineError(f"{block.logical_id}: block {block.name!r} was not saved: {error}") from None
    return (
        f"{block.logical_id} ({block.type}): created connection {block.name!r} for {block.url_template}; a private "
        f"repository needs a token: codepipeline connection add {block.name} --url '{block.url_template}'"
        + (f" --arn {block.connection_arn}" if block.connection_arn else "")
        + " --token"
    )


def _create_of_fields(block: BlockOf, fields: Mapping[str, Any]) -> str:
    what, noun = f"{block.logical_id} ({block.type})", block.noun
    kind = CodeBuildProject if block.kind == "codebuild-project" else CodeDeployApplication
    if existing := _existing(block, kind):
        return f"{what}: {noun} {existing!r} exists"
    try:
        new = kind(**fields)
    except ValidationError as error:
        return f"{what}: kept as data: {field_problems(error)}"
    try:
        if create_block(new, block.name) is None:
            return f"{what}: {noun} {block.name!r} exists"
    except ValueError as error:  # from Prefect, for an invalid name
        raise CodePipelineError(f"{block.logical_id}: block {block.name!r} was not saved: {error}") from None
    return f"{what}: created {noun} {block.name!r}" + (f"; {block.reason}" if block.reason else "")


def _existing(block: BlockOf, kind: type[CodeBuildProject | CodeDeployApplication]) -> str | None:
    """The name of the block that exists already: an application's may have any name."""
    names = fields_by_name(kind)
    if kind is CodeDeployApplication and block.fields:
        return application_block(str(block.fields["application_name"]), names)
    return block.name if block.name in names else None
