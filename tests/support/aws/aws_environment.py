"""Where the AWS clients of a test go. Their keys are those that the session gives all tests."""

from __future__ import annotations

import pytest


def use_endpoint(monkeypatch: pytest.MonkeyPatch, url: str, region: str) -> None:
    """All clients that are made from now on ask this server, for that region."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
