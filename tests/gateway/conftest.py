"""What the tests of the gateway share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from serving import serving

from prefect_codepipeline.gateway.app import create_app
from prefect_codepipeline.gateway.serve import prepare_gateway


@pytest.fixture
def gateway(prefect_server: str) -> Iterator[str]:
    """A gateway that serves on loopback; its address."""
    with serving(create_app()) as url:
        prepare_gateway(url)
        yield url
