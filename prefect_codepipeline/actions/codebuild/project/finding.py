"""Find the block of a CodeBuild project."""

from __future__ import annotations

from prefect_codepipeline.actions.work import required
from prefect_codepipeline.blocks.codebuild_project import CodeBuildProject
from prefect_codepipeline.model.names import project_block_names
from prefect_codepipeline.prefect_api.block_documents import find_block


def find_project(project_name: str) -> CodeBuildProject | None:
    """The block of a project, else the block `default`, or None if there is neither.

    Raises:
        ActionFailed: with code `ConfigurationError`, the block's values are invalid.
    """
    return required(lambda: find_block(CodeBuildProject, *project_block_names(project_name)))
