"""Which Prefect API this process talks to."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from prefect_codepipeline.deployments.local.access import auth_string, profiles_file
from prefect_codepipeline.deployments.local.ports import hold_port_of
from prefect_codepipeline.deployments.local.state import home_folder, read_state
from prefect_codepipeline.prefect_api.settings import api_settings, check_api_url, forget_files

PROFILES_VARIABLE = "PREFECT_PROFILES_PATH"


def configured_api_url() -> str | None:
    """The API that the user has configured, by `PREFECT_API_URL` or an active profile; None for the embedded one.

    Raises `NotLetIn` if a password is in its URL, and `CodePipelineError` if that is no URL.
    """
    if url := os.environ.get("PREFECT_API_URL"):
        check_api_url(url)
        return None if _lacks_secret(url) else url
    return None if _has_embedded_profile() else api_settings().url


def _lacks_secret(url: str) -> bool:
    """Whether a shell names the embedded server without its secret, as it did for servers of earlier versions."""
    if not url.startswith("http://127.0.0.1:") or _has_embedded_profile() or api_settings().auth_string:
        return False
    port = read_state(home_folder(create=False)).get("port", {}).get("number")
    return url == f"http://127.0.0.1:{port}/api"


def embedded_secret() -> str | None:
    """The secret of the embedded server if this process talks to that one; `user:password`."""
    return auth_string(home_folder(create=False)) if _has_embedded_profile() else None


def _has_embedded_profile() -> bool:
    return os.environ.get(PROFILES_VARIABLE) == str(profiles_file(home_folder(create=False)))


def point_at(api_url: str, profiles: Path | None = None) -> None:
    """Have this process, whatever it has imported, talk to that API from now on.

    Args:
        api_url: the URL of the API.
        profiles: the file with the secret of an embedded server; None for another server.
    """
    os.environ["PREFECT_API_URL"] = api_url
    os.environ["NO_PROXY"] = no_proxy()
    if profiles:
        os.environ[PROFILES_VARIABLE] = str(profiles)
        os.environ.pop("PREFECT_PROFILE", None)  # the file has its own
        forget_files()
        hold_port_of(api_url)
    if "prefect.context" in sys.modules:
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()


def no_proxy() -> str:
    """The hosts that are reached without a proxy, with this machine's own addresses among them."""
    before = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
    return ",".join(dict.fromkeys([*filter(None, before.split(",")), "127.0.0.1", "localhost"]))
