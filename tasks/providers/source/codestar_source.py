"""Source/AWS/CodeStarSourceConnection/1: a branch of a repository on GitHub, GitLab, Bitbucket or elsewhere.

https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-CodestarConnectionSource.html
"""

from __future__ import annotations

from typing import Literal

from prefect_codepipeline.actions.git.mirror import Commit
from prefect_codepipeline.actions.git.source import (
    GitSource,
    commit_variables,
    find_connection,
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


class CodeStarSourceConfiguration(ActionConfiguration):
    """`ConnectionArn` is the ARN or the name of a GitConnection block. Only triggers use `DetectChanges`."""

    connection_arn: str
    full_repository_id: str
    branch_name: str
    output_artifact_format: ArtifactFormat = "CODE_ZIP"
    detect_changes: Literal["true", "false"] = "true"


@action_provider(
    category="Source", provider="CodeStarSourceConnection", inputs=(0, 0), outputs=(1, 1), restartable=True
)
def read_from_connection(configuration: CodeStarSourceConfiguration, context: ActionContext) -> ActionResult:
    """Pin the branch's newest commit, or the overriding revision, and return its files."""
    source = GitSource(
        connection=required(lambda: find_connection(configuration.connection_arn)),
        repository=configuration.full_repository_id,
        branch=configuration.branch_name,
        format=configuration.output_artifact_format,
    )
    return read_source(source, context, lambda commit: output_variables(configuration, commit))


def output_variables(configuration: CodeStarSourceConfiguration, commit: Commit) -> dict[str, str]:
    """The output variables that AWS documents for this action type, and three more that it gives.

    AuthorId is the account at the host on AWS; git knows only the address.
    """
    return {
        **commit_variables(commit),
        "AuthorDisplayName": commit.author,
        "AuthorEmail": commit.author_email,
        "AuthorId": commit.author_email,
        "BranchName": configuration.branch_name,
        "ConnectionArn": configuration.connection_arn,
        "FullRepositoryName": configuration.full_repository_id,
    }
