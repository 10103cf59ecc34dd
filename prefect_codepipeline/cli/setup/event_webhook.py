"""`codepipeline event-webhook`: the URLs that are told events."""

from __future__ import annotations

from rich.text import Text

from prefect_codepipeline.cli.session import connect, console, read_secret
from prefect_codepipeline.cli.setup.blocks import save_block
from prefect_codepipeline.errors import MissingBlock


def add_event_webhook(
    name: str,
    *,
    url: str,
    secret: bool = False,
    secret_stdin: bool = False,
    new_secret: bool = False,
    allow_private_addresses: bool = False,
    timeout: float = 10.0,
) -> int:
    """Add or replace a URL that is told events, as the block EventWebhook. Prints its secret when it makes one.

    Parameters
    ----------
    name:
        Name of the block; name it as `event_webhook` in a notification rule.
    url:
        Where the events go; https, or http together with --allow-private-addresses.
    secret:
        Ask for the secret that the receiver has already; otherwise the block's own stays, or one is made.
    secret_stdin:
        Read that secret from the standard input.
    new_secret:
        Make another secret in place of the block's own.
    allow_private_addresses:
        Let the URL lead to the worker's own machine or network.
    timeout:
        So many seconds one request may take.
    """
    connect()
    from prefect_codepipeline.blocks import event_webhook

    given = read_secret("secret", secret_stdin) if secret or secret_stdin else None
    kept = None if given or new_secret else _secret_of(name)
    made = None if given or kept else event_webhook.new_secret()
    fields: dict[str, object] = {
        "url": url,
        "secret": given or kept or made,
        "allows_private_addresses": allow_private_addresses,
        "timeout": timeout,
    }
    save_block(event_webhook.EventWebhook, name, fields)
    console.print(Text(f"event webhook {name!r} kept"))
    if made:
        console.print(Text(f"give its receiver this secret: {made}"), soft_wrap=True)
    return 0


def _secret_of(name: str) -> str | None:
    """The secret of the block that is there already."""
    from prefect_codepipeline.engine.notifications.event_webhooks import load_event_webhook

    try:
        return load_event_webhook(name).secret.get_secret_value()
    except MissingBlock:
        return None
