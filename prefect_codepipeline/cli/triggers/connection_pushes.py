"""`codepipeline connection pushes`: receive pushes and pull requests from a git host."""

from __future__ import annotations

import secrets
from typing import Annotated, Literal

from cyclopts import Parameter

from prefect_codepipeline.cli.output import answer, print_json, print_line
from prefect_codepipeline.cli.parameters import AsJson
from prefect_codepipeline.cli.session import connect, read_secret
from prefect_codepipeline.errors import CodePipelineError

ConnectionName = Annotated[str, Parameter(help="Name of the connection.")]
HostKind = Literal["github", "gitlab", "bitbucket", "gitea"]
# Where to set up a webhook at each host, and the host's names of the settings.
_STEPS: dict[str, tuple[str, ...]] = {
    "github": (
        "Repository or organisation: Settings, Webhooks, Add webhook",
        "Content type: application/json",
        "Events: Pushes, and Pull requests if a trigger uses them",
    ),
    "gitlab": (
        "Project or group: Settings, Webhooks, Add new webhook; the secret is its Secret token",
        "Trigger: Push events, Tag push events, Merge request events",
    ),
    "bitbucket": (
        "Repository settings, Webhooks, Add webhook",
        "Triggers: Repository push; Pull request created, updated, merged, declined",
    ),
    "gitea": (
        "Repository or organisation: Settings, Webhooks, Add Webhook, Gitea (or Forgejo)",
        "POST, application/json; Trigger On: Push, Create, Pull Request, Pull Request Synchronized",
    ),
    "plain": (
        "Send the event format of docs/triggers.md, signed or with the secret in X-Codepipeline-Token",
    ),
}


def set_pushes(
    name: ConnectionName,
    *,
    host: HostKind | None = None,
    secret_stdin: bool = False,
    off: Annotated[bool, Parameter(negative=())] = False,
    json: AsJson = False,
) -> int:
    """Let the git host of a connection send pushes and pull requests: create the secret, print what to enter there.

    From then on its repositories are no longer polled each minute.

    Parameters
    ----------
    host:
        The kind of the git host; derived from the host's name by default.
    secret_stdin:
        Read the secret from the standard input instead of creating one.
    off:
        Delete the secret; the repositories are polled each minute again.
    """
    connect()
    from pydantic import SecretStr, ValidationError

    from prefect_codepipeline.actions.git.source import find_named_connection
    from prefect_codepipeline.blocks.git_connection import kind_of_host
    from prefect_codepipeline.engine.approvals.links import load_gateway
    from prefect_codepipeline.prefect_api.block_documents import save_block

    connection = find_named_connection(name)
    secret = None if off else read_secret("secret", True) if secret_stdin else secrets.token_urlsafe(32)
    changes = {"webhook_secret": secret and SecretStr(secret), "host_kind": host or connection.host_kind}
    try:
        changed = type(connection)(**{**dict(connection), **changes})
    except ValidationError as error:
        raise CodePipelineError(f"connection {name!r}: {error.errors()[0]['msg']}") from None
    save_block(changed, name)
    if secret is None:
        said = f"connection {name!r} receives no pushes; its repositories are polled each minute"
        answer(json, {"name": name, "receivesPushes": False}, said)
        return 0
    gateway = load_gateway()
    base = gateway.url if gateway and gateway.url else "https://ADDRESS-OF-THE-GATEWAY"
    url, created = f"{base}/webhooks/{name}", None if secret_stdin else secret
    steps = _STEPS[kind_of_host(changed) or "plain"]
    if json:
        print_json(
            {"name": name, "receivesPushes": True, "url": url, "createdSecret": created, "steps": steps}
        )
        return 0
    print_line(("URL     ", "dim"), url)
    if created:
        print_line(("Secret  ", "dim"), f"{created}  ", ("(displayed only now)", "dim"))
    for step in steps:
        print_line(("        ", "dim"), step)
    return 0
