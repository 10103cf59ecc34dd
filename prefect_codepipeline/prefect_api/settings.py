"""The settings by which Prefect's own client reaches the API: URL, credentials, headers, TLS.

A process that has imported Prefect takes them from Prefect. Otherwise they are read here from the same places in the same
order: importing Prefect takes two seconds, which `codepipeline status` does not need. What cannot be read here in the
plain way is left to Prefect, whose message about it users know.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from prefect_codepipeline.errors import CodePipelineError, NotLetIn

if TYPE_CHECKING:
    from prefect.settings.models.root import Settings

_CLOUD_URL = "https://api.prefect.cloud/api"
_TEST_MODES = ("TEST_MODE", "UNIT_TEST_MODE", "TESTING_UNIT_TEST_MODE", "TESTING_TEST_MODE")
_BOOLEANS = {
    **dict.fromkeys(("true", "t", "yes", "y", "on", "1"), True),
    **dict.fromkeys(("false", "f", "no", "n", "off", "0"), False),
}


@dataclass(frozen=True)
class ApiSettings:
    """How to reach the API. `request_timeout` is None if the user has not set it."""

    url: str | None = None
    ui_url: str | None = None
    key: str | None = field(default=None, repr=False)
    auth_string: str | None = field(default=None, repr=False)
    custom_headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    skip_tls_check: bool = False
    certificates: str | None = None
    http2: bool = False
    request_timeout: float | None = None
    csrf_support: bool = True
    is_cloud: bool = False


def api_settings() -> ApiSettings:
    """The settings that count now, in this context. Raises what `check_api_url` raises."""
    settings = _settings()
    if settings.url:
        check_api_url(settings.url)
    return settings


def check_api_url(url: str) -> None:
    """Check the URL of an API.

    Raises:
        NotLetIn: a user or a password may be in it, and messages, logs and links name the URL.
        CodePipelineError: it is no URL.
    """
    if "@" in url:
        raise NotLetIn(
            "PREFECT_API_URL has a user or a password in it (what is before the @), which would be shown in messages: remove "
            "it from the URL, and set PREFECT_API_AUTH_STRING (USER:PASSWORD of the server)"
        )
    if not _is_url(url):
        raise CodePipelineError(
            f"PREFECT_API_URL is {url!r}, which is no URL; set it to one like http://HOST:4200/api"
        )


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that are not closed, or a port that is no number
        return False


def _settings() -> ApiSettings:
    if "prefect.context" not in sys.modules:
        try:
            return read_without_prefect()
        except _LeftToPrefect:
            pass
    from prefect.settings import get_current_settings

    try:
        return _converted(get_current_settings())
    except ValueError as error:  # of pydantic: its text may have the value, which may be secret
        raise CodePipelineError(
            f"Prefect's settings cannot be read: {_why_unreadable(error)}; correct the variable, or the profile"
        ) from None


def _why_unreadable(error: ValueError) -> str:
    """What is wrong with which settings, without their values."""
    if not isinstance(error, ValidationError):
        return str(error)
    found = error.errors(include_input=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in found)


class _LeftToPrefect(Exception):  # noqa: N818  # no error: Prefect reads the settings instead
    """A setting that is not written in the plain way."""


_last_converted: tuple[Settings, ApiSettings] | None = None


def _converted(settings: Settings) -> ApiSettings:
    """The settings that Prefect has read. The last result is kept: each request asks for it."""
    global _last_converted
    if _last_converted and _last_converted[0] is settings:
        return _last_converted[1]
    api = settings.api
    converted = ApiSettings(
        url=api.url or None,
        ui_url=settings.ui_url or None,
        key=api.key.get_secret_value() if api.key else None,
        auth_string=api.auth_string.get_secret_value() if api.auth_string else None,
        custom_headers=tuple(settings.client.custom_headers.items()),
        skip_tls_check=api.tls_insecure_skip_verify,
        certificates=api.ssl_cert_file or None,
        http2=api.enable_http2,
        request_timeout=api.request_timeout if "request_timeout" in api.model_fields_set else None,
        csrf_support=settings.client.csrf_support_enabled,
        is_cloud=bool(api.url and api.url.startswith(settings.cloud.api_url)),
    )
    _last_converted = (settings, converted)
    return converted


def read_without_prefect() -> ApiSettings:
    """The settings in the environment, `.env`, `prefect.toml`, `pyproject.toml` and the active profile."""
    environment = {name.lower(): value for name, value in os.environ.items()}
    if any(environment.get(f"prefect_{mode.lower()}") for mode in _TEST_MODES):
        raise _LeftToPrefect
    files = _files(
        os.getcwd(), *map(os.environ.get, ("PREFECT_PROFILES_PATH", "PREFECT_HOME", "PREFECT_PROFILE"))
    )

    def find(name: str, read: Callable[[Any], Any] = _text) -> Any:
        value = environment.get(f"prefect_{name}", files.get(name))
        return None if value is None else read(value)

    url, cloud_url = find("api_url") or None, find("cloud_api_url") or _CLOUD_URL
    is_cloud = bool(url and url.startswith(cloud_url))
    skip, http2, csrf = (
        find(name, _boolean)
        for name in ("api_tls_insecure_skip_verify", "api_enable_http2", "client_csrf_support_enabled")
    )
    return ApiSettings(
        url=url,
        ui_url=find("ui_url") or _ui_url(url, cloud_url if is_cloud else None, find("cloud_ui_url")),
        key=find("api_key") or None,
        auth_string=find("api_auth_string") or None,
        custom_headers=find("client_custom_headers", _headers) or (),
        skip_tls_check=bool(skip),
        certificates=find("api_ssl_cert_file") or os.environ.get("SSL_CERT_FILE") or None,
        http2=bool(http2),
        request_timeout=find("api_request_timeout", _number),
        csrf_support=csrf is not False,
        is_cloud=is_cloud,
    )


@cache
def _files(folder: str, profiles_path: str | None, home: str | None, profile: str | None) -> dict[str, Any]:
    """The values in the files that count in this folder, by name without `prefect_`; read once, as Prefect does."""
    dotenv = _dotenv(Path(folder, ".env"))
    prefect_toml = _toml(Path(folder, "prefect.toml"))
    pyproject = _table(_toml(Path(folder, "pyproject.toml"), "prefect"), "tool", "prefect")
    path = profiles_path or dotenv.get("PREFECT_PROFILES_PATH") or prefect_toml.get("profiles_path")
    path = path or pyproject.get("profiles_path")
    found = _profile(Path(folder, path) if path else None, home, profile)
    for table in (pyproject, prefect_toml):
        found |= _flattened(table)
    return found | {
        name.lower().removeprefix("prefect_"): value
        for name, value in dotenv.items()
        if value is not None and name.lower().startswith("prefect_")
    }


def forget_files() -> None:
    """Read the files again the next time: this process has changed one."""
    _files.cache_clear()


def _profile(path: Path | None, home: str | None, profile: str | None) -> dict[str, Any]:
    own = path or Path(home or Path.home() / ".prefect", "profiles.toml")
    if not own.exists():
        if profile and not path and not home:
            raise _LeftToPrefect  # one of the profiles that Prefect brings along
        return {}
    content = _toml(own)
    values = _table(content, "profiles").get(profile or content.get("active") or "", {})
    return {
        name.removeprefix("PREFECT_").lower(): value for name, value in values.items() if name == name.upper()
    }


def _dotenv(path: Path) -> dict[str, str | None]:
    if not path.is_file():
        return {}
    from dotenv import dotenv_values

    return dotenv_values(path, encoding="utf8")


def _toml(path: Path, mark: str = "") -> dict[str, Any]:
    """The content of a file, empty without the file or if it does not contain the mark."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    if mark not in text:
        return {}
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise _LeftToPrefect from None


def _table(content: dict[str, Any], *keys: str) -> dict[str, Any]:
    for key in keys:
        content = content.get(key, {})
        if not isinstance(content, dict):
            raise _LeftToPrefect
    return content


def _flattened(content: dict[str, Any]) -> dict[str, Any]:
    """`{"api": {"url": ...}}` as `{"api_url": ...}`."""
    return dict(_flat_items(content))


def _flat_items(content: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, dict) and key in ("api", "client", "cloud"):
            yield from ((f"{key}_{below}", each) for below, each in value.items())
        elif key == "ui_url":
            yield key, value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _LeftToPrefect
    return value


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    try:
        return _BOOLEANS[_text(value).lower()]
    except KeyError:
        raise _LeftToPrefect from None


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise _LeftToPrefect from None


def _headers(value: Any) -> tuple[tuple[str, str], ...]:
    try:
        headers = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        headers = None
    if not isinstance(headers, dict) or not all(isinstance(each, str) for each in headers.values()):
        # Not left to Prefect, whose message has the value.
        raise CodePipelineError(
            'PREFECT_CLIENT_CUSTOM_HEADERS is no JSON object of texts; set it to one, such as {"X-Name": "value"}'
        )
    return tuple(headers.items())


def _ui_url(url: str | None, cloud_url: str | None, cloud_ui_url: str | None) -> str | None:
    """The URL of the UI that belongs to an API, as Prefect derives it."""
    if not url:
        return None
    ui_url = url
    if cloud_url:
        ui_url = url.replace(cloud_url, cloud_ui_url or _cloud_ui_url(cloud_url))
    ui_url = ui_url.removesuffix("/api").replace("/api/", "/")
    return ui_url.replace("/accounts/", "/account/").replace("/workspaces/", "/workspace/")


def _cloud_ui_url(cloud_url: str) -> str:
    if re.match(r"^https://api[\.\w]*.prefect.[^\.]+/", cloud_url):
        cloud_url = cloud_url.replace("https://api", "https://app", 1)
    return cloud_url.removesuffix("/api")
