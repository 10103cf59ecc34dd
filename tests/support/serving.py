"""The gateway on loopback, in a thread of the test's process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import uvicorn
from pydantic import SecretStr
from starlette.types import ASGIApp

from prefect_codepipeline.blocks.git_connection import GitConnection
from prefect_codepipeline.engine.triggers.webhook_inbox import waiting
from prefect_codepipeline.gateway.app import LARGEST_BODY, create_app
from prefect_codepipeline.gateway.connections import serving_options
from prefect_codepipeline.gateway.guard import Limits
from prefect_codepipeline.gateway.rate import RateLimit
from prefect_codepipeline.gateway.serve import prepare_gateway


@contextmanager
def serving(app: ASGIApp, **options: Any) -> Iterator[str]:
    """Serve an app until the end of the block; yield its address. `options` replace those of the gateway."""
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            port=0,
            access_log=False,
            log_config=None,
            server_header=False,
            **{**serving_options("127.0.0.1"), **options},
        )
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < until
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)


@contextmanager
def taking_webhooks(secret: str) -> Iterator[tuple[str, str]]:
    """Serve a gateway without rate limits; yield its address and the name of a connection whose webhooks it accepts.

    At the end of the block all accepted deliveries are processed.
    """
    name = f"taking-{uuid4().hex[:8]}"
    url = "https://github.com/{FullRepositoryId}.git"
    GitConnection(url_template=url, webhook_secret=SecretStr(secret)).save(name)
    no_limits = {"": Limits(RateLimit(1e9, 1e9), LARGEST_BODY)}
    try:
        with serving(create_app(limits=no_limits)) as address:
            prepare_gateway(address)
            yield address, name
            until = time.monotonic() + 300
            while waiting():
                assert time.monotonic() < until
                time.sleep(0.1)
    finally:
        GitConnection.delete(name)
