"""Source/ThirdParty/GitHub/1: a branch of a repository on GitHub, with the token in the action itself.

https://docs.aws.amazon.com/codepipeline/latest/userguide/appendix-github-oauth.html
"""

from __future__ import annotations

from prefect_codepipeline.actions.git.connections import GitHubSourceConfiguration, connection_for
from prefect_codepipeline.actions.git.mirror import Commit
from prefect_codepipeline.actions.git.source import (
    GitSource,
    as_date,
    commit_url,
    commit_variables,
    read_source,
)
from prefect_codepipeline.actions.registry import ActionContext, ActionResult, action_provider


@action_provider(
    category="Source",
    owner="ThirdParty",
    provider="GitHub",
    inputs=(0, 0),
    outputs=(1, 1),
    restartable=True,
    secrets=("OAuthToken",),
)
def read_from_github(configuration: GitHubSourceConfiguration, context: ActionContext) -> ActionResult:
    """Pin the branch's newest commit, or the overriding revision, and return its files."""
    source = GitSource(
        connection=connection_for(configuration),
        repository=f"{configuration.owner}/{configuration.repo}",
        branch=configuration.branch,
    )
    return read_source(source, context, lambda commit: output_variables(configuration, source, commit))


def output_variables(
    configuration: GitHubSourceConfiguration, source: GitSource, commit: Commit
) -> dict[str, str]:
    """The output variables that AWS documents for this action type."""
    return {
        **commit_variables(commit),
        "BranchName": configuration.branch,
        "CommitterDate": as_date(commit.committed),
        "CommitUrl": commit_url(source, commit) or "",
        "RepositoryName": configuration.repo,
    }
