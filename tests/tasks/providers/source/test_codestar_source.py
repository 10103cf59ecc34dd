"""Source/AWS/CodeStarSourceConnection/1."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from prefect_codepipeline.actions.git.source import MAX_MESSAGE_BYTES, GitSource, read_source
from prefect_codepipeline.actions.registry import ActionResult
from prefect_codepipeline.blocks.git_connection import GitConnection
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.tasks.providers.source.codestar_source import (
    CodeStarSourceConfiguration,
    output_variables,
)

ARN = "arn:aws:codeconnections:eu-west-1:111122223333:connection/aEXAMPLE"
CONFIGURATION = {"ConnectionArn": ARN, "FullRepositoryId": "me/app", "BranchName": "main"}


@pytest.fixture
def read(repository, make_source_context):
    """Run the action on the test's own repository, or through another connection."""

    def run(connection: GitConnection | None = None, **changes: str) -> ActionResult:
        configuration = CodeStarSourceConfiguration.model_validate(CONFIGURATION | changes)
        connection = connection or GitConnection(url_template=str(repository.path.parent / "{Repo}"))
        source = GitSource(
            connection,
            configuration.full_repository_id,
            configuration.branch_name,
            configuration.output_artifact_format,
        )
        return read_source(
            source, make_source_context(), lambda commit: output_variables(configuration, commit)
        )

    return run


def test_output_variables(read, repository):
    assert read().output_variables == {
        "AuthorDate": "2019-10-29T03:32:21Z",
        "AuthorDisplayName": "Ada Byron",
        "AuthorEmail": "ada@example.com",
        "AuthorId": "ada@example.com",
        "BranchName": "main",
        "CommitId": repository.git("rev-parse", "main"),
        "CommitMessage": "First commit\n\nwith a body",
        "ConnectionArn": ARN,
        "FullRepositoryName": "me/app",
    }


def test_a_clone_reference_holds_no_secret_and_no_files(read, repository):
    connection = GitConnection(url_template=str(repository.path.parent / "{Repo}"), token="t0ken")
    tree = read(connection, OutputArtifactFormat="CODEBUILD_CLONE_REF").output_artifacts["SourceOutput"]

    assert tree.format == "CODEBUILD_CLONE_REF"
    assert [path.name for path in tree.directory.iterdir()] == ["codebuild-clone-ref.json"]
    assert list(tree.files) == ["codebuild-clone-ref.json"]
    assert json.loads((tree.directory / "codebuild-clone-ref.json").read_text()) == {
        "provider": "CodeStarSourceConnection",
        "fullRepositoryId": "me/app",
        "branch": "main",
        "commitId": repository.git("rev-parse", "main"),
        "cloneUrl": str(repository.path),
    }


def test_a_message_of_100_kib_is_cut_between_characters(read, repository):
    repository.git("commit", "--quiet", "--allow-empty", "-F", "-", input="Ü" * MAX_MESSAGE_BYTES)
    result = read()

    assert len(result.output_variables["CommitMessage"].encode()) == MAX_MESSAGE_BYTES
    assert set(result.output_variables["CommitMessage"]) == {"Ü"}
    assert len(result.summary) == 2048


def test_an_old_encoding_of_a_message_is_read(read, repository):
    repository.git(
        "-c",
        "i18n.commitEncoding=ISO-8859-1",
        "commit",
        "-q",
        "--allow-empty",
        "-F",
        "-",
        input=b"Gr\xfc\xdfe",
    )

    assert read().summary == "Grüße"


def test_a_date_that_is_none_is_left_out(read, repository):
    tree = repository.git("rev-parse", "HEAD^{tree}")
    raw = f"tree {tree}\nauthor A <a@example.com>\ncommitter A <a@example.com> 1 +0000\n\nNo date\n"
    commit = repository.git("hash-object", "-w", "--literally", "-t", "commit", "--stdin", input=raw)
    repository.git("update-ref", "refs/heads/main", commit)
    result = read()

    assert result.output_variables["AuthorDate"] == ""
    assert result.source_revision.created is None


@pytest.mark.parametrize("repository_id", ["../../etc", "me/../../etc", "-x/y", "me/app\n"])
def test_a_repository_id_that_leaves_its_place_fails_the_action(repository_id, read):
    with pytest.raises(ActionFailed, match=r"cannot be used: .* is not a repository name") as failure:
        read(FullRepositoryId=repository_id)
    assert failure.value.code == "ConfigurationError"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"DetectChanges": "yes"}, "'true' or 'false'"),
        ({"DetectChanges": True}, "'true' or 'false'"),
        ({"OutputArtifactFormat": "ZIP"}, "'CODE_ZIP' or 'CODEBUILD_CLONE_REF'"),
        ({"Branch": "main"}, "Extra inputs"),
        ({"BranchName": None}, "valid string"),
    ],
)
def test_rejects_configuration(change, message):
    with pytest.raises(ValidationError, match=message):
        CodeStarSourceConfiguration.model_validate(CONFIGURATION | change)
