"""`list`, `show` and `remove` of connections, Slack channels, secrets and event webhooks. Secrets are never printed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from prefect_codepipeline.cli.output import answer, print_json, print_line, print_table
from prefect_codepipeline.cli.parameters import AsJson, BlockName
from prefect_codepipeline.cli.session import connect
from prefect_codepipeline.errors import MissingBlock
from prefect_codepipeline.model.problem import nearest

_SET = "(set)"


@dataclass(frozen=True)
class _Kind:
    """Blocks of one type: what people call them, their command, and the fields that `list` prints, with their heads."""

    slug: str
    word: str
    command: str
    columns: dict[str, str]
    # The URL of an event webhook often contains a key.
    hides_path_of: str | None = None


_CONNECTION = _Kind(
    "git-connection",
    "connection",
    "connection",
    {"url_template": "URL", "connection_arn": "ConnectionArn", "webhook_secret": "Pushes"},
)
_SLACK = _Kind(
    "slack-channel", "Slack channel", "slack", {"channel": "Channel", "signing_secret": "Signing secret"}
)
_SECRET = _Kind("secret", "secret", "secret", {})
_EVENTS = _Kind("event-webhook", "event webhook", "event-webhook", {"url": "URL"}, "url")


def list_connections(*, json: AsJson = False) -> int:
    """List the connections to git hosts."""
    return _list(_CONNECTION, json)


def show_connection(name: BlockName, *, json: AsJson = False) -> int:
    """Show a connection, without its secrets."""
    return _show(_CONNECTION, name, json)


def remove_connection(name: BlockName, *, json: AsJson = False) -> int:
    """Remove a connection with its secrets."""
    return _remove(_CONNECTION, name, json)


def list_slack(*, json: AsJson = False) -> int:
    """List the Slack channels."""
    return _list(_SLACK, json)


def show_slack(name: BlockName, *, json: AsJson = False) -> int:
    """Show a Slack channel, without its tokens."""
    return _show(_SLACK, name, json)


def remove_slack(name: BlockName, *, json: AsJson = False) -> int:
    """Remove a Slack channel with its tokens."""
    return _remove(_SLACK, name, json)


def list_secrets(*, json: AsJson = False) -> int:
    """List the names of the secrets."""
    return _list(_SECRET, json)


def show_secret(name: BlockName, *, json: AsJson = False) -> int:
    """Show whether a secret exists, not its value."""
    return _show(_SECRET, name, json)


def remove_secret(name: BlockName, *, json: AsJson = False) -> int:
    """Remove a secret."""
    return _remove(_SECRET, name, json)


def list_event_webhooks(*, json: AsJson = False) -> int:
    """List the URLs that receive events."""
    return _list(_EVENTS, json)


def show_event_webhook(name: BlockName, *, json: AsJson = False) -> int:
    """Show a URL that receives events: its host, and the settings, without the secret."""
    return _show(_EVENTS, name, json)


def remove_event_webhook(name: BlockName, *, json: AsJson = False) -> int:
    """Remove a URL that receives events."""
    return _remove(_EVENTS, name, json)


def _list(kind: _Kind, json: bool) -> int:
    found = {name: _shown(kind, data) for name, data in _read(kind).items()}
    if json:
        print_json([{"name": name, **data} for name, data in found.items()])
        return 0
    rows = [[name, *(_text(data.get(key)) for key in kind.columns)] for name, data in found.items()]
    print_table(["Name", *kind.columns.values()], rows)
    return 0


def _show(kind: _Kind, name: str, json: bool) -> int:
    found = _read(kind)
    if name not in found:
        raise _missing(kind, name, found)
    data = _shown(kind, found[name])
    if json:
        print_json({"name": name, **data})
        return 0
    print_line((name, "bold"))
    for key, value in data.items():
        print_line(f"  {key}: ", (_text(value), "dim"))
    return 0


def _remove(kind: _Kind, name: str, json: bool) -> int:
    connect()
    from prefect_codepipeline.prefect_api.block_documents import delete_block

    if not delete_block(kind.slug, name):
        raise _missing(kind, name, _read(kind))
    answer(json, {"name": name, "removed": True}, f"{kind.word} {name!r} removed")
    return 0


def _read(kind: _Kind) -> dict[str, dict[str, Any]]:
    connect()
    from prefect_codepipeline.prefect_api.block_documents import fields_by_name

    return fields_by_name(kind.slug)


def _missing(kind: _Kind, name: str, known: dict[str, Any]) -> MissingBlock:
    hint = nearest(name, known) or f"see: codepipeline {kind.command} list"
    return MissingBlock(f"{kind.word} {name!r} does not exist; {hint}")


def _shown(kind: _Kind, data: dict[str, Any]) -> dict[str, Any]:
    """The fields that have a value; of those that the server masked, only that they have one."""
    found = {key: _SET if _is_masked(value) else value for key, value in data.items() if value is not None}
    if kind.hides_path_of in found:
        parts = urlsplit(str(found[kind.hides_path_of]))
        found[kind.hides_path_of] = f"{parts.scheme}://{parts.hostname}/…"
    return found


def _is_masked(value: Any) -> bool:
    return isinstance(value, str) and value.strip("*") == "" and value != ""


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else "set" if value == _SET else str(value)
