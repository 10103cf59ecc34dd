"""`codepipeline gateway`: approve from Slack and from links."""

from __future__ import annotations

from rich.text import Text

from prefect_codepipeline.cli.session import connect, console

DEFAULT_PORT = 4290  # as in the embedded set-up


def gateway(
    *,
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    url: str | None = None,
    new_key: bool = False,
    trusted_proxies: str = "127.0.0.1",
) -> int:
    """Serve approval links and Slack's buttons, until Ctrl-C. Any number of copies may run.

    Parameters
    ----------
    host:
        The address to listen on; 0.0.0.0 for every one of this machine.
    port:
        The port to listen on.
    url:
        The address under which people and Slack reach it, kept for all executions to put into their messages.
    new_key:
        Change the key that signs links and buttons first; what the present one signed stays good until the next change.
    trusted_proxies:
        Addresses of the proxies in front of it, whose X-Forwarded-For is believed; separated by commas.
    """
    connect()
    from prefect_codepipeline.gateway.serve import prepare_gateway, serve

    is_local = host in ("127.0.0.1", "localhost", "::1")
    prepared = prepare_gateway(url, f"http://{host}:{port}" if is_local else None, has_new_key=new_key)
    console.print(
        Text(f"Listening on http://{host}:{port}; links lead to {prepared.url or 'nowhere (no --url)'}")
    )
    serve(host, port, trusted_proxies)
    return 0
