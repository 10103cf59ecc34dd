"""The HTTP client of this package for Prefect's API: credentials, headers, TLS and CSRF tokens as Prefect's client has them."""

from __future__ import annotations

import logging
import ssl
import threading
from typing import Any
from uuid import uuid4

import httpx

from prefect_codepipeline import __version__
from prefect_codepipeline.errors import NotLetIn
from prefect_codepipeline.prefect_api.credentials import authorization
from prefect_codepipeline.prefect_api.settings import ApiSettings

TIMEOUT = 30.0
# Prefect's client does not let these be replaced either.
_OWN_HEADERS = {"user-agent", "prefect-csrf-token", "prefect-csrf-client"}
_CHANGES = {"POST", "PUT", "PATCH", "DELETE"}
_logger = logging.getLogger(__name__)


def http_client(settings: ApiSettings) -> httpx.Client:
    """A new client for the API with these settings."""
    return httpx.Client(
        base_url=settings.url or "",
        headers=_headers(settings),
        verify=_tls(settings),
        timeout=settings.request_timeout or TIMEOUT,
        http2=settings.http2,
        follow_redirects=True,
        # Prefect Cloud closes a connection after 30 s without a request.
        limits=httpx.Limits(max_connections=16, max_keepalive_connections=8, keepalive_expiry=25),
    )


def _headers(settings: ApiSettings) -> httpx.Headers:
    headers = httpx.Headers()  # of several spellings of a name, the last counts
    if value := authorization(settings):
        headers["Authorization"] = value
    for name, value in settings.custom_headers:
        if name.lower() in _OWN_HEADERS:
            _logger.warning(
                "PREFECT_CLIENT_CUSTOM_HEADERS: header %r is ignored; it cannot be replaced", name
            )
        else:
            headers[name] = value
    headers["User-Agent"] = f"prefect-codepipeline/{__version__}"
    return headers


def _tls(settings: ApiSettings) -> ssl.SSLContext:
    if settings.skip_tls_check:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    import certifi

    try:
        return ssl.create_default_context(cafile=settings.certificates or certifi.where())
    except OSError as error:  # among them those of the content
        raise NotLetIn(
            f"PREFECT_API_SSL_CERT_FILE {settings.certificates}: cannot be read ({error}); name a file with certificates (PEM)"
        ) from error


class CsrfToken:
    """The token that a server with CSRF protection demands with each change. It is requested at the first refusal."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self._headers: dict[str, str] = {}
        self._renewing = threading.Lock()

    def send(self, method: str, path: str, json: Any) -> httpx.Response:
        """Send a request; after a refusal for its token, once more with a new token."""
        used = self._headers
        response = self._http.request(method, path, json=json, headers=used if method in _CHANGES else None)
        if response.status_code != 403 or "CSRF token" not in response.text:
            return response
        if not self._renew(used):
            return response
        return self._http.request(method, path, json=json, headers=self._headers)

    def _renew(self, used: dict[str, str]) -> bool:
        """Get a new token, unless another thread has got one; False if the server has none."""
        with self._renewing:
            if self._headers is used:
                client = str(uuid4())
                response = self._http.get("/csrf-token", params={"client": client})
                if response.status_code >= 400:
                    return False
                token = response.json()["token"]
                self._headers = {"Prefect-Csrf-Token": token, "Prefect-Csrf-Client": client}
            return True
