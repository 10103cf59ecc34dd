"""Run the gateway: its block, its Slack connections, and the server."""

from __future__ import annotations

import logging
import os
from urllib.parse import urlsplit

import uvicorn
from pydantic import SecretStr, ValidationError

from prefect_codepipeline.blocks.gateway import Gateway
from prefect_codepipeline.deployments.local.ports import HELD_VARIABLE, listener_at
from prefect_codepipeline.deployments.observing.pages import serving_pages
from prefect_codepipeline.engine.approvals.links import GATEWAY_BLOCK, load_gateway
from prefect_codepipeline.errors import CodePipelineError
from prefect_codepipeline.gateway.app import create_app
from prefect_codepipeline.gateway.aws.signing.anonymous import is_loopback
from prefect_codepipeline.gateway.connections import serving_options
from prefect_codepipeline.gateway.slack.socket_mode import SocketModes
from prefect_codepipeline.model.stored.gateway import StoredGateway
from prefect_codepipeline.prefect_api.block_documents import create_block, field_problems, save_block

LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
_QUIET = ("httpx", "httpcore", "slack_sdk", "uvicorn.access", "botocore")


def prepare_gateway(
    url: str | None,
    fallback_url: str | None = None,
    *,
    has_new_key: bool = False,
    account: str | None = None,
    region: str | None = None,
) -> StoredGateway:
    """The gateway's block. Creates it with a new key if it does not exist, and updates its URL if one is passed.

    Args:
        url: the gateway's public URL; None keeps the public URL of the block.
        fallback_url: the URL on this machine, for a block without a public URL.
        has_new_key: replace the key; links signed with the previous key stay valid.
        account: the account id that the AWS API shows; None keeps that of the block.
        region: the same of the region.

    Raises:
        CodePipelineError: the URL, the account or the region is not valid.
    """
    known = load_gateway()
    if url is None and fallback_url and not (known and _is_public(known.url)):
        url = fallback_url
    wanted = {
        "url": (url and url.rstrip("/")) or (known and known.url),
        "account": account or (known and known.account),
        "region": region or (known and known.region),
    }
    if known and not has_new_key and all(getattr(known, key) == value for key, value in wanted.items()):
        return known
    try:
        gateway = Gateway(**wanted, **_keys(known, has_new_key))
    except ValidationError as error:
        given = {"url": url, "account": account, "region": region}
        options = " ".join(f"--{key} {value!r}" for key, value in given.items() if value is not None)
        raise CodePipelineError(f"{options} is not valid: {field_problems(error)}") from None
    if known:
        save_block(gateway, GATEWAY_BLOCK)
    elif create_block(gateway, GATEWAY_BLOCK) is None:  # by another gateway, started at the same time
        return load_gateway() or gateway
    return gateway


def _is_public(url: str | None) -> bool:
    """Whether an address may lead to this gateway from elsewhere, whatever port it has here."""
    return bool(url) and urlsplit(url).hostname not in LOCAL_HOSTS


def _keys(known: StoredGateway | None, has_new_key: bool) -> dict[str, SecretStr | None]:
    if known is None:
        return {}
    if has_new_key:
        return {"former_link_key": known.link_key}
    return {"link_key": known.link_key, "former_link_key": known.former_link_key}


def serve(host: str, port: int, trusted_proxies: str) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        host: the address to listen on.
        port: the port; 0 selects a free one.
        trusted_proxies: the proxies whose `X-Forwarded-For` is trusted, as in uvicorn's `forwarded_allow_ips`.
    """
    # `force`, because Prefect has given the root logger a handler of its own that drops everything below WARNING.
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", force=True)
    for name in _QUIET:  # their log lines contain URLs with tokens, and signatures
        logging.getLogger(name).setLevel(logging.WARNING)
    options = {
        "host": host,
        "port": port,
        "access_log": False,
        "log_config": None,
        "server_header": False,
        "timeout_graceful_shutdown": 10,
        **serving_options(trusted_proxies),
    }
    app = create_app([SocketModes()], is_local=is_loopback(host))
    with serving_pages(lambda: (True, "serves")):
        if os.environ.get(HELD_VARIABLE) == str(port):
            uvicorn.Server(uvicorn.Config(app, **options)).run([listener_at(port)])
        else:
            uvicorn.run(app, **options)
