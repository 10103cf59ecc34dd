"""What the tests of the AWS API share: the gateway, and clients that ask it as a user's tools do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from api_checks import checked_client


@pytest.fixture
def aws(gateway: str) -> Callable[..., Any]:
    """Make a boto3 client of the gateway, of `codepipeline` by default, whose every answer is checked."""
    return partial(checked_client, gateway)
