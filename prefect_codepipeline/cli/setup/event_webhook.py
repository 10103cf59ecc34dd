"""`codepipeline event-webhook`: URLs that receive events."""

from __future__ import annotations

from prefect_codepipeline.cli.output import answer
from prefect_codepipeline.cli.parameters import AsJson
from prefect_codepipeline.cli.session import connect, read_secret
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
    json: AsJson = False,
) -> int:
    """Add or replace a URL that receives events, as an EventWebhook block. Prints a newly created secret.

    Parameters
    ----------
    name:
        Name of the block; use it as `event_webhook` in a notification rule.
    url:
        The URL that receives the events: https, or http with --allow-private-addresses.
    secret:
        Ask for the secret that the receiver has already. By default the block's secret is kept, or a new one created.
    secret_stdin:
        Read the receiver's secret from the standard input.
    new_secret:
        Replace the block's secret with a new one.
    allow_private_addresses:
        Allow URLs of the worker's own machine or network.
    timeout:
        Timeout of one request, in seconds.
    """
    connect()
    from prefect_codepipeline.blocks import event_webhook

    entered = read_secret("secret", secret_stdin) if secret or secret_stdin else None
    kept = None if entered or new_secret else _secret_of(name)
    created = None if entered or kept else event_webhook.new_secret()
    fields: dict[str, object] = {
        "url": url,
        "secret": entered or kept or created,
        "allows_private_addresses": allow_private_addresses,
        "timeout": timeout,
    }
    save_block(event_webhook.EventWebhook, name, fields)
    said = [f"give its receiver this secret: {created}"] if created else []
    answer(json, {"name": name, "createdSecret": created}, f"event webhook {name!r} saved", *said)
    return 0


def _secret_of(name: str) -> str | None:
    """The secret of the existing block, or None."""
    from prefect_codepipeline.engine.notifications.event_webhooks import load_event_webhook

    try:
        return load_event_webhook(name).secret.get_secret_value()
    except MissingBlock:
        return None
