"""Which Prefect API this process talks to."""

from __future__ import annotations

import os
import sys

from prefect_codepipeline.prefect_api.settings import api_settings


def configured_api_url() -> str | None:
    """The API that the user has configured, by `PREFECT_API_URL` or an active Prefect profile."""
    return os.environ.get("PREFECT_API_URL") or api_settings().url


def point_at(api_url: str) -> None:
    """Have this process, whatever it has imported, talk to that API from now on."""
    os.environ["PREFECT_API_URL"] = api_url
    os.environ["NO_PROXY"] = no_proxy()
    if "prefect.context" in sys.modules:
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()


def no_proxy() -> str:
    """The hosts that are reached without a proxy, with this machine's own addresses among them."""
    before = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
    return ",".join(dict.fromkeys([*filter(None, before.split(",")), "127.0.0.1", "localhost"]))
