"""Source/ThirdParty/GitHub/1: a branch of a repository on GitHub, with the token in the action itself.

https://docs.aws.amazon.com/codepipeline/latest/userguide/appendix-github-oauth.html
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from prefect_codepipeline.blocks.git_connection import GitConnection
from prefect_codepipeline.blocks.pipeline_definition import MASK
from prefect_codepipeline.errors import ActionFailed, MissingBlock
from prefect_codepipeline.tasks.git_mirror import Commit
from prefect_codepipeline.tasks.git_source import (
    GitSource,
    as_date,
    commit_url,
    commit_variables,
    find_named_connection,
    read_source,
    with_token,
)
from prefect_codepipeline.tasks.registry import (
    ActionConfiguration,
    ActionContext,
    ActionResult,
    action_provider,
)

_URL_TEMPLATE = "https://github.com/{Owner}/{Repo}.git"


class GitHubSourceConfiguration(ActionConfiguration):
    """With the token `****`, the connection's own token is used. Only triggers use `PollForSourceChanges`."""

    owner: str = Field(pattern=r"^[^/]+$")
    repo: str = Field(pattern=r"^[^/]+$")
    branch: str
    o_auth_token: SecretStr
    poll_for_source_changes: Literal["true", "false"] = "true"

    @property
    def token(self) -> SecretStr | None:
        """The token, or None if it is only a mask."""
        return None if self.o_auth_token.get_secret_value() == MASK else self.o_auth_token


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


def connection_for(configuration: GitHubSourceConfiguration) -> GitConnection:
    """The block `github`, else `default`, with the action's token. Without a block, github.com with the token.

    Raises:
        ActionFailed: with code `ConfigurationError`, there is neither a block nor a token.
    """
    try:
        connection = find_named_connection("github", "default", url=_URL_TEMPLATE)
    except MissingBlock as error:
        if not configuration.token:
            raise ActionFailed(str(error), code="ConfigurationError") from None
        connection = GitConnection(url_template=_URL_TEMPLATE)
    return with_token(connection, configuration.token) if configuration.token else connection


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
