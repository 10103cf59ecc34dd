"""What lets this process into Prefect's API, and what to do when the API, or a proxy before it, refuses it."""

from __future__ import annotations

import base64

import httpx

from prefect_codepipeline.prefect_api.settings import ApiSettings

HEADER = "Authorization"
_AUTH_STRING = "PREFECT_API_AUTH_STRING"
_KEY = "PREFECT_API_KEY"
_HEADERS = "PREFECT_CLIENT_CUSTOM_HEADERS"
_MEANING = {
    _AUTH_STRING: "USER:PASSWORD of the server",
    _KEY: "a key of Prefect Cloud, or of the proxy before the server",
    _HEADERS: "JSON, the headers that a proxy before the server asks for",
}


def authorization(settings: ApiSettings) -> str | None:
    """The header `Authorization` of requests, as Prefect's client makes it; custom headers may replace it."""
    if settings.auth_string:
        return f"Basic {base64.b64encode(settings.auth_string.encode()).decode()}"
    return f"Bearer {settings.key}" if settings.key else None


def refusal(response: httpx.Response, settings: ApiSettings, url: str) -> str | None:
    """What to do about a response with the status 401 or 403; None for any other, and for what Prefect itself forbids.

    It names variables, never what is in them. The response must have been read.
    """
    if response.status_code not in (401, 403) or _is_of_prefects_rules(response, settings):
        return None
    do = _remedy(_wanted(response, settings), _sent(settings))
    return (
        f"Prefect's API at {url} refused a request without valid credentials ({response.status_code}): {do}"
    )


def _is_of_prefects_rules(response: httpx.Response, settings: ApiSettings) -> bool:
    """Whether the server knows who asks and refuses nevertheless: it says in `detail` what it forbids."""
    return response.status_code == 403 and not settings.is_cloud and '"detail"' in response.text


def _wanted(response: httpx.Response, settings: ApiSettings) -> str | None:
    """The variable that the server asks for, if the response shows it."""
    scheme = response.headers.get("WWW-Authenticate", "").partition(" ")[0].lower()
    if settings.is_cloud or scheme == "bearer":
        return _KEY
    # Prefect's own server names no scheme.
    if scheme == "basic" or '"exception_message"' in response.text:
        return _AUTH_STRING
    return None


def _sent(settings: ApiSettings) -> list[str]:
    """The variables that the request had its credentials from; the one of its header `Authorization` comes first."""
    custom = [_HEADERS] if _own_headers(settings) else []
    if has_own_authorization(settings):
        return custom
    if settings.auth_string:
        return [_AUTH_STRING, *custom]
    return [_KEY, *custom] if settings.key else custom


def has_own_authorization(settings: ApiSettings) -> bool:
    """Whether the custom headers have an `Authorization` that is not made of another variable."""
    return any(name.lower() == HEADER.lower() for name, _ in _own_headers(settings))


def _own_headers(settings: ApiSettings) -> list[tuple[str, str]]:
    """The custom headers without the one that a worker adds for sockets."""
    added = (HEADER, authorization(settings))
    return [header for header in settings.custom_headers if header != added]


def _remedy(wanted: str | None, sent: list[str]) -> str:
    if wanted is None:
        others = [name for name in _MEANING if name not in sent]
        choice = " or ".join(f"{name} ({_MEANING[name]})" for name in others)
        if not sent:
            return f"set what the server, or the proxy before it, asks for: {choice}"
        verb = "is" if len(sent) == 1 else "are"
        return f"{' and '.join(sent)} {verb} not accepted; correct it, or set what is asked for: {choice}"
    meaning = f"({_MEANING[wanted]})"
    if not sent:
        return f"set {wanted} {meaning}"
    if wanted in sent:
        return f"{wanted} is not accepted; correct it {meaning}"
    if sent == [_HEADERS]:
        return f"{_HEADERS} is not accepted; correct its {HEADER}, or set {wanted} {meaning} instead"
    return f"{sent[0]} is sent, but {wanted} {meaning} is asked for; set that, and unset {sent[0]}"
