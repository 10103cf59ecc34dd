"""Make blocks of the resources beside a definition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from prefect_codepipeline.blocks.codebuild_project import CodeBuildProject
from prefect_codepipeline.blocks.git_connection import GitConnection
from prefect_codepipeline.deployments.files.resource_kinds import BlockOf, blocks_of
from prefect_codepipeline.deployments.listing import list_blocks
from prefect_codepipeline.errors import CodePipelineError


def make_blocks(resources: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Make a block of each resource that there is a kind of block for, unless it is there already.

    A block that is there is never changed: it may hold a token by now.

    Returns:
        A sentence for each resource.

    Raises:
        CodePipelineError: a block has no valid name or address.
    """
    return [_make(block) for block in blocks_of(resources)]


def present(block: BlockOf) -> str | None:
    """The name of the block that serves already, by its ConnectionArn or by its name."""
    for name, data in list_blocks("git-connection"):
        if name == block.name or (
            block.connection_arn and data.get("connection_arn") == block.connection_arn
        ):
            return name
    return None


def _make(block: BlockOf) -> str:
    if block.fields is not None:
        return _make_project(block, block.fields)
    if not block.url_template:
        return f"{block.logical_id} ({block.type}): {block.reason}"
    if there := present(block):
        return f"{block.logical_id} ({block.type}): connection {there!r} is there"
    try:
        connection = GitConnection(url_template=block.url_template, connection_arn=block.connection_arn)
        connection.save(block.name)
    except ValueError as error:  # of Prefect, for names
        raise CodePipelineError(f"{block.logical_id}: block {block.name!r} was not saved: {error}") from None
    return (
        f"{block.logical_id} ({block.type}): made connection {block.name!r} for {block.url_template}; a private "
        f"repository needs a token: codepipeline connection add {block.name} --url '{block.url_template}'"
        + (f" --arn {block.connection_arn}" if block.connection_arn else "")
        + " --token"
    )


def _make_project(block: BlockOf, fields: Mapping[str, Any]) -> str:
    what = f"{block.logical_id} ({block.type})"
    if block.name in dict(list_blocks("codebuild-project")):
        return f"{what}: project {block.name!r} is there"
    try:
        project = CodeBuildProject(**fields)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        return f"{what}: kept as data: {problems}"
    try:
        project.save(block.name)
    except ValueError as error:  # of Prefect, for names
        raise CodePipelineError(f"{block.logical_id}: block {block.name!r} was not saved: {error}") from None
    return f"{what}: made project {block.name!r}" + (f"; {block.reason}" if block.reason else "")
