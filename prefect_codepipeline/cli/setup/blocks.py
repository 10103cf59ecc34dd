"""`codepipeline connection`, `slack` and `secret`: the blocks that pipelines depend on."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from prefect_codepipeline.cli.output import answer
from prefect_codepipeline.cli.parameters import AsJson, BlockName
from prefect_codepipeline.cli.session import connect, read_secret
from prefect_codepipeline.errors import CodePipelineError


def add_connection(
    name: BlockName,
    *,
    url: str,
    arn: str | None = None,
    username: str | None = None,
    token: bool = False,
    token_stdin: bool = False,
    ssh_key: Path | None = None,
    known_hosts: Path | None = None,
    host_kind: Literal["github", "gitlab", "bitbucket", "gitea"] | None = None,
    api_url: str | None = None,
    commit_statuses: bool = True,
    json: AsJson = False,
) -> int:
    """Add or replace a connection to a git host, as a GitConnection block.

    Parameters
    ----------
    url:
        URL or path of repositories, with {FullRepositoryId}, {Owner}, {Repo} or {RepositoryName}.
    arn:
        The ConnectionArn in the definitions for which this connection is used.
    username:
        The user name for the token, if the host requires one.
    token:
        Ask for an access token.
    token_stdin:
        Read the access token from the standard input.
    ssh_key:
        File with the private key for ssh:// and git@ URLs.
    known_hosts:
        File with the only trusted host keys; by default the worker's known_hosts file, and new hosts are trusted.
    host_kind:
        The kind of the git host, if it cannot be derived from the host's name.
    api_url:
        URL of the host's API, if it is not at the usual path.
    commit_statuses:
        Report the status of pipelines on the commits at the host, if the token allows it.
    """
    connect()
    from prefect_codepipeline.blocks.git_connection import GitConnection

    secret = read_secret("token", token_stdin) if token or token_stdin else None
    fields = {
        "url_template": url,
        "connection_arn": arn,
        "username": username,
        "token": secret,
        "ssh_key": _read(ssh_key),
        "known_hosts": _read(known_hosts),
        "host_kind": host_kind,
        "api_url": api_url,
        "commit_statuses": commit_statuses,
    }
    save_block(GitConnection, name, {key: value for key, value in fields.items() if value is not None})
    said = f"connection {name!r}: {url}" + (f" for {arn}" if arn else "")
    answer(json, {"name": name, "url": url, "arn": arn}, said)
    return 0


def add_slack(
    name: str,
    *,
    channel: str,
    signing_secret: bool = False,
    app_token: bool = False,
    token_stdin: bool = False,
    api_url: str | None = None,
    json: AsJson = False,
) -> int:
    """Add or replace a Slack channel for notifications, as a SlackChannel block. Asks for the bot token.

    Parameters
    ----------
    name:
        Name of the block; use it as `slack_channel` in a pipeline's settings.
    channel:
        The channel's id, such as C0123456789.
    signing_secret:
        Also ask for the app's signing secret, for Approve and Reject buttons if Slack can reach the gateway.
    app_token:
        Also ask for the app token xapp-…, for buttons by Socket Mode if Slack cannot reach the gateway.
    token_stdin:
        Read these values from the standard input, one per line: bot token, signing secret, app token.
    api_url:
        URL of Slack's API, for tests and proxies.
    """
    connect()
    from prefect_codepipeline.blocks.slack_channel import SlackChannel

    fields: dict[str, object] = {"bot_token": read_secret("bot token", token_stdin), "channel": channel}
    if signing_secret:
        fields["signing_secret"] = read_secret("signing secret", token_stdin)
    if app_token:
        fields["app_token"] = read_secret("app token", token_stdin)
    save_block(SlackChannel, name, {**fields, **({"api_url": api_url} if api_url else {})})
    answer(json, {"name": name, "channel": channel}, f"Slack channel {name!r}: {channel}")
    return 0


def add_secret(name: str, *, value_stdin: bool = False, json: AsJson = False) -> int:
    """Add or replace a secret, as Prefect's Secret block. Asks for its value.

    Parameters
    ----------
    name:
        Name of the block; use it in environment variables of type SECRETS_MANAGER.
    value_stdin:
        Read the value from the standard input, with all its lines.
    """
    connect()
    from prefect.blocks.system import Secret

    save_block(Secret, name, {"value": read_secret("value", value_stdin, all_lines=True)})
    answer(json, {"name": name}, f"secret {name!r} saved")
    return 0


def save_block(kind: type, name: str, fields: dict[str, object]) -> None:
    """Save a block, replacing an existing one. Raises `CodePipelineError`, whose message contains no secret."""
    from pydantic import ValidationError

    from prefect_codepipeline.prefect_api import block_documents

    try:
        block_documents.save_block(kind(**fields), name)
    except ValueError as error:  # pydantic's and Prefect's errors for fields and names
        wrong = block_documents.field_problems(error) if isinstance(error, ValidationError) else error
        raise CodePipelineError(f"block {name!r} was not saved: {wrong}") from None


def _read(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text()
    except OSError as error:
        raise CodePipelineError(f"{path} could not be read: {error.strerror}") from None
