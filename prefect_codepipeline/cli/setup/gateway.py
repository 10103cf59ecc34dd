"""`codepipeline gateway`: serve approval links, Slack buttons and webhooks."""

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
    """Serve approval links, Slack buttons and webhooks, until Ctrl-C. Several gateways may run at once.

    Parameters
    ----------
    host:
        The address to listen on; 0.0.0.0 for all addresses of this machine.
    port:
        The port to listen on.
    url:
        The gateway's URL for people, Slack and git hosts; stored, and used in the messages of all executions.
    new_key:
        First replace the key that signs links and buttons. The previous key stays valid until the next replacement.
    trusted_proxies:
        Comma-separated addresses of the proxies whose X-Forwarded-For header is trusted.
    """
    from prefect_codepipeline.actions.commands.hidden_environment import hide_environment

    hide_environment()
    connect()
    from prefect_codepipeline.gateway.serve import LOCAL_HOSTS, prepare_gateway, serve

    is_local = host in LOCAL_HOSTS
    prepared = prepare_gateway(url, f"http://{host}:{port}" if is_local else None, has_new_key=new_key)
    console.print(
        Text(f"Listening on http://{host}:{port}; URL in links: {prepared.url or 'none (pass --url)'}")
    )
    serve(host, port, trusted_proxies)
    return 0
