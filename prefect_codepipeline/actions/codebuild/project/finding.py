"""Find the block of a CodeBuild project."""

from __future__ import annotations

from urllib.parse import quote

from pydantic import ValidationError

from prefect_codepipeline.blocks.codebuild_project import CodeBuildProject
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.names import project_block_names
from prefect_codepipeline.prefect_api.client import call


def find_project(project_name: str) -> CodeBuildProject | None:
    """The block of a project, else the block `default`, or None if there is neither.

    Raises:
        ActionFailed: with code `ConfigurationError`, the block's values are invalid.
    """
    for name in project_block_names(project_name):
        path = f"/block_types/slug/codebuild-project/block_documents/name/{quote(name, safe='')}"
        status, document = call("GET", f"{path}?include_secrets=true", expected=(404, 422))
        if status == 200:
            return _from_document(name, document["data"])
    return None


def _from_document(name: str, data: object) -> CodeBuildProject:
    try:
        return CodeBuildProject.model_validate(data)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise ActionFailed(
            f"CodeBuildProject block {name!r} cannot be used: {problems}; correct it in Prefect's UI",
            code="ConfigurationError",
        ) from None
