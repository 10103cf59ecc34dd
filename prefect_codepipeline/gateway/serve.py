"""Run the gateway: its block, its connections to Slack, and the server."""

from __future__ import annotations

import logging

import uvicorn
from pydantic import SecretStr

from prefect_codepipeline.blocks.gateway import Gateway
from prefect_codepipeline.engine.approvals.links import GATEWAY_BLOCK, load_gateway
from prefect_codepipeline.errors import CodePipelineError
from prefect_codepipeline.gateway.app import create_app
from prefect_codepipeline.gateway.slack.socket_mode import SocketModes

# Beyond these, requests are turned away rather than kept waiting.
_AT_ONCE = 500
_QUIET = ("httpx", "httpcore", "slack_sdk", "uvicorn.access")


def prepare_gateway(
    url: str | None, fallback_url: str | None = None, *, has_new_key: bool = False
) -> Gateway:
    """The gateway's block, made with a key of its own when there is none, and with that address when one is given.

    Args:
        url: the address under which people reach the gateway; what the block says when None.
        fallback_url: the address of a block that has to be made.
        has_new_key: change the key; what the present one signed stays good.

    Raises:
        CodePipelineError: the address is none.
    """
    known = load_gateway()
    if known and not has_new_key and (url is None or known.url == url.rstrip("/")):
        return known
    try:
        gateway = Gateway(url=url or (known.url if known else fallback_url), **_keys(known, has_new_key))
    except ValueError as error:
        raise CodePipelineError(f"--url {url!r} is not the address of a web page: {error}") from None
    try:
        gateway.save(GATEWAY_BLOCK, overwrite=known is not None)
    except ValueError:  # another copy, started at the same time, has made it
        return load_gateway() or gateway
    return gateway


def _keys(known: Gateway | None, has_new_key: bool) -> dict[str, SecretStr | None]:
    if known is None:
        return {}
    if has_new_key:
        return {"former_link_key": known.link_key}
    return {"link_key": known.link_key, "former_link_key": known.former_link_key}


def serve(host: str, port: int, trusted_proxies: str) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        host: the address to listen on.
        port: the port; 0 takes a free one.
        trusted_proxies: whose `X-Forwarded-For` is believed, as uvicorn's `forwarded_allow_ips`.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    for name in _QUIET:  # their lines hold addresses, and those hold tokens
        logging.getLogger(name).setLevel(logging.WARNING)
    uvicorn.run(
        create_app([SocketModes()]),
        host=host,
        port=port,
        access_log=False,
        log_config=None,
        server_header=False,
        forwarded_allow_ips=trusted_proxies,
        limit_concurrency=_AT_ONCE,
        timeout_graceful_shutdown=10,
    )
