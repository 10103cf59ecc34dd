"""Access to the repositories of source actions that name no connection: GitHub version 1 and CodeCommit."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from prefect_codepipeline.actions.git.source import find_named_connection, with_token
from prefect_codepipeline.actions.registry import ActionConfiguration
from prefect_codepipeline.blocks.git_connection import GitConnection
from prefect_codepipeline.errors import ActionFailed, MissingBlock
from prefect_codepipeline.model.stored.definition import MASK

CODECOMMIT_URL_TEMPLATE = "https://git-codecommit.us-east-1.amazonaws.com/v1/repos/{RepositoryName}"


GITHUB_URL_TEMPLATE = "https://github.com/{Owner}/{Repo}.git"


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


def connection_for(configuration: GitHubSourceConfiguration) -> GitConnection:
    """The block `github`, else `default`, with the action's token. Without a block, github.com with the token.

    Raises:
        ActionFailed: with code `ConfigurationError`, there is neither a block nor a token.
    """
    try:
        connection = find_named_connection("github", "default", url=GITHUB_URL_TEMPLATE)
    except MissingBlock as error:
        if not configuration.token:
            raise ActionFailed(str(error), code="ConfigurationError") from None
        connection = GitConnection(url_template=GITHUB_URL_TEMPLATE)
    return with_token(connection, configuration.token) if configuration.token else connection
