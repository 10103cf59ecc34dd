"""Source/AWS/CodeCommit/1: a branch of a CodeCommit repository, or of any other repository with a name without owner.

https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-CodeCommit.html
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from prefect_codepipeline.actions.git.connections import CODECOMMIT_URL_TEMPLATE
from prefect_codepipeline.actions.git.mirror import Commit
from prefect_codepipeline.actions.git.source import (
    GitSource,
    as_date,
    commit_variables,
    find_named_connection,
    read_source,
)
from prefect_codepipeline.actions.registry import (
    ActionConfiguration,
    ActionContext,
    ActionResult,
    action_provider,
)
from prefect_codepipeline.actions.work import required
from prefect_codepipeline.model.record.artifacts import ArtifactFormat


class CodeCommitSourceConfiguration(ActionConfiguration):
    """The configuration of an action. Only triggers use `PollForSourceChanges`."""

    repository_name: str = Field(pattern=r"^[^/]+$")
    branch_name: str
    output_artifact_format: ArtifactFormat = "CODE_ZIP"
    poll_for_source_changes: Literal["true", "false"] = "true"


@action_provider(category="Source", provider="CodeCommit", inputs=(0, 0), outputs=(1, 1), restartable=True)
def read_from_codecommit(
    configuration: CodeCommitSourceConfiguration, context: ActionContext
) -> ActionResult:
    """Pin the branch's newest commit, or the overriding revision, and return its files.

    The GitConnection block `codecommit` is used, else `default`. For https it must have the user name and password of
    CodeCommit's Git credentials.
    """
    source = GitSource(
        connection=required(
            lambda: find_named_connection("codecommit", "default", url=CODECOMMIT_URL_TEMPLATE)
        ),
        repository=configuration.repository_name,
        branch=configuration.branch_name,
        format=configuration.output_artifact_format,
    )
    return read_source(source, context, lambda commit: output_variables(configuration, commit))


def output_variables(configuration: CodeCommitSourceConfiguration, commit: Commit) -> dict[str, str]:
    """The output variables that AWS documents for this action type."""
    return {
        **commit_variables(commit),
        "BranchName": configuration.branch_name,
        "CommitterDate": as_date(commit.committed),
        "RepositoryName": configuration.repository_name,
    }
