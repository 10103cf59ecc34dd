"""`codepipeline connection`, `slack` and `secret`: the blocks that pipelines lean on."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from rich.table import Table
from rich.text import Text

from prefect_codepipeline.cli.output import print_json
from prefect_codepipeline.cli.session import connect, console, read_secret
from prefect_codepipeline.errors import CodePipelineError


def add_connection(
    name: str,
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
) -> int:
    """Add or replace a connection to a git host, as the block GitConnection.

    Parameters
    ----------
    name:
        Name of the block.
    url:
        Template of the repositories' URLs, with {FullRepositoryId}, {Owner}, {Repo} or {RepositoryName};
        a local path works too.
    arn:
        The ConnectionArn in the definitions that this connection stands for.
    username:
        The user name that goes with the token, where the host wants one.
    token:
        Ask for an access token.
    token_stdin:
        Read the access token from the standard input.
    ssh_key:
        File with the private key for ssh:// and git@ URLs.
    known_hosts:
        File with the host keys to trust; the user's own when absent.
    host_kind:
        Whose API and webhooks the host speaks, where its name does not tell.
    api_url:
        Address of the host's API, where it does not lie at the usual path of the host.
    commit_statuses:
        Tell the host how pipelines fare with its commits, when the token may.
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
    console.print(Text(f"connection {name!r}: {url}" + (f" for {arn}" if arn else "")))
    return 0


def list_connections(*, json: bool = False) -> int:
    """The connections to git hosts.

    Parameters
    ----------
    json:
        Print JSON.
    """
    connect()
    from prefect_codepipeline.deployments.listing import list_blocks

    found = [
        {
            "name": name,
            "url": data.get("url_template"),
            "arn": data.get("connection_arn"),
            "webhook": bool(data.get("webhook_secret")),
        }
        for name, data in list_blocks("git-connection")
    ]
    if json:
        print_json(found)
        return 0
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("Name", "URL", "ConnectionArn", "Webhook"):
        table.add_column(column)
    for connection in found:
        texts = [str(connection[key] or "") for key in ("name", "url", "arn")]
        table.add_row(*map(Text, (*texts, "yes" if connection["webhook"] else "")))
    console.print(table)
    return 0


def add_slack(
    name: str,
    *,
    channel: str,
    signing_secret: bool = False,
    app_token: bool = False,
    token_stdin: bool = False,
    api_url: str | None = None,
) -> int:
    """Add or replace a Slack channel to report to, as the block SlackChannel. Asks for the bot token.

    Parameters
    ----------
    name:
        Name of the block; name it as `slack_channel` in a pipeline's settings.
    channel:
        The channel's id, such as C0123456789.
    signing_secret:
        Ask for the app's signing secret too: for Approve and Reject buttons, when Slack can reach the gateway.
    app_token:
        Ask for the app's token too, xapp-…: for buttons by Socket Mode, when Slack cannot reach it.
    token_stdin:
        Read them from the standard input, one a line, in this order.
    api_url:
        Another address than Slack's own, for tests and proxies.
    """
    connect()
    from prefect_codepipeline.blocks.slack_channel import SlackChannel

    fields: dict[str, object] = {"bot_token": read_secret("bot token", token_stdin), "channel": channel}
    if signing_secret:
        fields["signing_secret"] = read_secret("signing secret", token_stdin)
    if app_token:
        fields["app_token"] = read_secret("app token", token_stdin)
    save_block(SlackChannel, name, {**fields, **({"api_url": api_url} if api_url else {})})
    console.print(Text(f"Slack channel {name!r}: {channel}"))
    return 0


def add_secret(name: str, *, value_stdin: bool = False) -> int:
    """Add or replace a secret, as Prefect's own block Secret. Asks for its value.

    Parameters
    ----------
    name:
        Name of the block; environment variables of type SECRETS_MANAGER name it.
    value_stdin:
        Read the value from the standard input.
    """
    connect()
    from prefect.blocks.system import Secret

    save_block(Secret, name, {"value": read_secret("value", value_stdin)})
    console.print(Text(f"secret {name!r} kept"))
    return 0


def save_block(kind: type, name: str, fields: dict[str, object]) -> None:
    """Save a block of that kind in place of the one there is. Raises `CodePipelineError`; quotes no secret."""
    try:
        kind(**fields).save(name, overwrite=True)
    except ValueError as error:  # pydantic's and Prefect's own complaints about fields and names
        raise CodePipelineError(f"block {name!r} was not saved: {_message(error)}") from None


def _message(error: ValueError) -> str:
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
    return str(error)


def _read(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text()
    except OSError as error:
        raise CodePipelineError(f"{path} could not be read: {error.strerror}") from None
