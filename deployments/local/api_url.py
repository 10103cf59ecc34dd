"""Which Prefect API this process talks to."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# The files of the current folder that Prefect reads, and what is in one that may name an API.
_SETTINGS_FILES = {"prefect.toml": "api", "pyproject.toml": "tool.prefect", ".env": "prefect_api"}


def configured_api_url() -> str | None:
    """The API that the user has configured, by `PREFECT_API_URL` or an active Prefect profile."""
    if url := os.environ.get("PREFECT_API_URL"):
        return url
    profiles = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect") / "profiles.toml"
    places = ((profiles, "api"), *((Path(name), text) for name, text in _SETTINGS_FILES.items()))
    if not os.environ.get("PREFECT_PROFILE") and not any(_mentions(*place) for place in places):
        return None  # without importing Prefect, which takes two seconds
    from prefect.settings import PREFECT_API_URL

    return PREFECT_API_URL.value() or None


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


def _mentions(file: Path, text: str) -> bool:
    try:
        return text in file.read_text(errors="replace").lower()
    except OSError:
        return False
