"""`codepipeline gateway`: serve approval links, Slack buttons, webhooks and the AWS API."""

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
    account: str | None = None,
    region: str | None = None,
    trusted_proxies: str = "127.0.0.1",
) -> int:
    """Serve approval links, Slack buttons, webhooks and the AWS API, until Ctrl-C. Several gateways may run at once.

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
    account:
        The account id of the AWS API, 12 digits; stored. 123456789012 if it was never given.
    region:
        The region of all pipelines in the AWS API; stored. us-east-1 if it was never given.
    trusted_proxies:
        Comma-separated addresses of the proxies whose X-Forwarded-For header is trusted.
    """
    from prefect_codepipeline.actions.commands.hidden_environment import hide_environment

    hide_environment()
    connect()
    from prefect_codepipeline.deployments.releases.record_format import check_record_format
    from prefect_codepipeline.gateway.aws.signing.anonymous import is_loopback, is_public
    from prefect_codepipeline.gateway.serve import LOCAL_HOSTS, prepare_gateway, serve
    from prefect_codepipeline.model.stored.api_key import StoredApiKey
    from prefect_codepipeline.prefect_api.block_documents import count_blocks

    check_record_format()
    fallback = f"http://{host}:{port}" if host in LOCAL_HOSTS else None
    prepared = prepare_gateway(url, fallback, has_new_key=new_key, account=account, region=region)
    console.print(
        Text(f"Listening on http://{host}:{port}; URL in links: {prepared.url or 'none (pass --url)'}")
    )
    if not count_blocks(StoredApiKey):
        served = "everybody on this machine" if is_loopback(host) and not is_public(prepared) else "no one"
        console.print(Text(f"AWS API: without keys, for {served}; add one with: codepipeline key add"))
    serve(host, port, trusted_proxies)
    return 0
