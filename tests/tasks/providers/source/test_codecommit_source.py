"""Source/AWS/CodeCommit/1."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from prefect_codepipeline.actions.git.source import GitSource, read_source
from prefect_codepipeline.blocks.git_connection import GitConnection
from prefect_codepipeline.tasks.providers.source.codecommit_source import (
    CodeCommitSourceConfiguration,
    output_variables,
)

CONFIGURATION = {"RepositoryName": "app", "BranchName": "main"}


@pytest.mark.parametrize("artifact_format", ["CODE_ZIP", "CODEBUILD_CLONE_REF"])
def test_output_variables_and_formats(artifact_format, repository, make_source_context):
    configuration = CodeCommitSourceConfiguration.model_validate(
        CONFIGURATION | {"OutputArtifactFormat": artifact_format}
    )
    connection = GitConnection(url_template=str(repository.path.parent / "{RepositoryName}"))
    source = GitSource(connection, "app", "main", configuration.output_artifact_format)
    result = read_source(
        source, make_source_context("CodeCommit"), lambda commit: output_variables(configuration, commit)
    )

    assert result.output_variables == {
        "AuthorDate": "2019-10-29T03:32:21Z",
        "BranchName": "main",
        "CommitId": repository.git("rev-parse", "main"),
        "CommitMessage": "First commit\n\nwith a body",
        "CommitterDate": "2019-10-30T00:00:00Z",
        "RepositoryName": "app",
    }
    tree = result.output_artifacts["SourceOutput"]
    assert tree.format == artifact_format
    if artifact_format == "CODEBUILD_CLONE_REF":
        assert json.loads((tree.directory / tree.files[0]).read_text())["provider"] == "CodeCommit"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"PollForSourceChanges": "0"}, "'true' or 'false'"),
        ({"OutputArtifactFormat": ""}, "'CODE_ZIP' or 'CODEBUILD_CLONE_REF'"),
        ({"RepositoryName": "group/app"}, "RepositoryName"),
        ({"Branch": "main"}, "Extra inputs"),
    ],
)
def test_rejects_configuration(change, message):
    with pytest.raises(ValidationError, match=message):
        CodeCommitSourceConfiguration.model_validate(CONFIGURATION | change)
