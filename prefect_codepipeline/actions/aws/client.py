"""boto3 clients, and the translation of their errors.

https://boto3.amazonaws.com/v1/documentation/api/latest/guide/credentials.html
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

from prefect_codepipeline.errors import ActionFailed

CONNECT_SECONDS = 10
READ_SECONDS = 20
ATTEMPTS = 3
SESSION_NAME = "prefect-codepipeline"
_DENIED = (
    "AccessDenied",
    "AccessDeniedException",
    "UnauthorizedOperation",
    "AuthFailure",
    "InsufficientPrivilegesException",
)
# What to do about credentials that AWS does not accept.
_CREDENTIALS = {
    "InvalidClientTokenId": "correct the access key",
    "UnrecognizedClientException": "correct the access key; it may belong to another partition of AWS",
    "SignatureDoesNotMatch": "correct the secret key, and the clock of the worker",
    "InvalidSignatureException": "correct the secret key, and the clock of the worker",
    "RequestTimeTooSkewed": "correct the clock of the worker",
    "RequestExpired": "correct the clock of the worker",
    "RequestInTheFuture": "correct the clock of the worker",
    "ExpiredToken": "renew the credentials of the worker",
    "ExpiredTokenException": "renew the credentials of the worker",
    "OptInRequired": "enable the region in the account, or correct the region",
}
_THROTTLED = ("Throttl", "RequestLimitExceeded", "TooManyRequests", "SlowDown", "BandwidthLimitExceeded")


@dataclass(frozen=True)
class Account:
    """Credentials, region and endpoints. What is empty, boto3 takes from the environment, `~/.aws` or the machine.

    `keys` are credentials by boto3's argument names. `roles` are assumed one after the other. `endpoint_urls` are
    those of single services; `verify` is boto3's: whether, or against which file, certificates are verified.
    """

    region: str | None = None
    profile: str | None = None
    keys: Mapping[str, str] = field(default_factory=dict)
    roles: tuple[str, ...] = ()
    session_name: str = SESSION_NAME
    endpoint_url: str | None = None
    endpoint_urls: Mapping[str, str] = field(default_factory=dict)
    verify: bool | str | None = None

    def client(self, service: str, attempts: int | None = None) -> Any:
        """A boto3 client, which repeats an unanswered request `attempts` times; None is a few times.

        Raises:
            ActionFailed: with code `ConfigurationError`, boto3 is not installed.
        """
        try:
            import boto3
        except ImportError:
            raise ActionFailed(
                f"boto3 is not installed in {sys.prefix}, where the worker runs; install prefect-codepipeline there "
                "with its extra `aws`: README.md, Install it",
                code="ConfigurationError",
            ) from None
        session = boto3.session.Session(
            botocore_session=_new_session(self.profile), region_name=self.region, **self.keys
        )
        for role in self.roles:
            session = self._assumed(session, role)
        return self._client(session, service, attempts)

    def _client(self, session: Any, service: str, attempts: int | None = None, **credentials: Any) -> Any:
        from botocore.config import Config

        config = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"mode": "standard", "max_attempts": ATTEMPTS if attempts is None else attempts},
        )
        client = session.client(
            service,
            config=config,
            endpoint_url=self.endpoint_urls.get(service, self.endpoint_url),
            verify=self.verify,
            **credentials,
        )
        client.meta.events.register("before-parse", partial(_refuse_page, client.meta.endpoint_url))
        return client

    def _assumed(self, session: Any, role: str) -> Any:
        """A session with the credentials of a role, which botocore renews before they expire."""
        import boto3
        from botocore.credentials import AssumeRoleCredentialFetcher, CredentialResolver

        fetcher = AssumeRoleCredentialFetcher(
            client_creator=partial(self._client, session),
            source_credentials=session.get_credentials(),
            role_arn=role,
            extra_args={"RoleSessionName": self.session_name},
        )
        assumed = _new_session(None)
        assumed.register_component("credential_provider", CredentialResolver([_RoleProvider(fetcher)]))
        return boto3.session.Session(botocore_session=assumed, region_name=session.region_name)


def _refuse_page(url: str, response_dict: dict[str, Any], **_: Any) -> None:
    """Refuse a web page in place of an answer of AWS, which botocore often takes for an answer without content.

    With a page and a status of 500 or more, a proxy says that AWS is away: only the page is dropped.
    """
    if not _is_page(response_dict):
        return
    if response_dict["status_code"] >= 500:
        response_dict["body"] = b""
    elif response_dict["status_code"] < 300:
        from botocore.parsers import ResponseParserError

        raise ResponseParserError(f"{url} answered with a web page")


def _is_page(response: Mapping[str, Any]) -> bool:
    headers = {name.lower(): value for name, value in response["headers"].items()}
    if isinstance(response["body"], bytes) and response["body"]:
        return response["body"][:1000].lstrip().lower().startswith((b"<!doctype html", b"<html"))
    # Without a body to look at: objects in S3 may be web pages too, and have the headers of S3.
    is_html = headers.get("content-type", "").startswith("text/html")
    return is_html and not any(name == "etag" or name.startswith("x-amz") for name in headers)


def _new_session(profile: str | None) -> Any:
    """A botocore session; all of them share AWS's service models, which take long to read."""
    from botocore.session import Session

    session = Session(profile=profile)
    session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
    return session


@cache
def _loader(data_path: str | None) -> Any:
    from botocore.loaders import create_loader

    return create_loader(data_path)


class _RoleProvider:
    """Credentials of a role as botocore looks for credentials: assumed at the first request."""

    METHOD = "assume-role"

    def __init__(self, fetcher: Any) -> None:
        self._fetcher = fetcher

    def load(self) -> Any:
        from botocore.credentials import DeferredRefreshableCredentials

        return DeferredRefreshableCredentials(
            refresh_using=self._fetcher.fetch_credentials, method=self.METHOD
        )


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn boto3's exceptions into an `ActionFailed` whose message starts with `doing`.

    Raises:
        ActionFailed: with code `PermissionError` (refused), `ConfigurationError` (no credentials, no region, an
            invalid request) or `SystemUnavailable` (no answer, throttled).
    """
    try:
        from botocore.exceptions import (
            BotoCoreError,
            ClientError,
            ConnectionError,
            HTTPClientError,
            NoRegionError,
        )
        from botocore.parsers import ResponseParserError
    except ImportError:  # `Account.client` reports it
        yield
        return
    try:
        yield
    except ClientError as error:
        code, status = error_code(error), error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        # About a wrong signature AWS repeats the request, in many lines, one of which may be the session token.
        said = str(error).splitlines()[0] if code in _CREDENTIALS else str(error)
        advice = f"; {_CREDENTIALS[code]}" if code in _CREDENTIALS else ""
        cause = None if code in _CREDENTIALS else error  # a traceback shows the text of the cause
        raise ActionFailed(f"{doing}: AWS refused: {said}{advice}", code=_code_of(code, status)) from cause
    except (ConnectionError, HTTPClientError) as error:
        raise ActionFailed(f"{doing}: AWS did not answer: {error}", code="SystemUnavailable") from error
    except ResponseParserError as error:
        raise ActionFailed(
            f"{doing}: what answered is not AWS; correct the endpoint_url: {str(error)[:500]}",
            code="ConfigurationError",
        ) from error
    except NoRegionError as error:
        raise ActionFailed(
            f"{doing}: no AWS region is set; set 'region' on the action or in the settings, or AWS_DEFAULT_REGION in "
            "the worker's environment",
            code="ConfigurationError",
        ) from error
    except BotoCoreError as error:
        in_one_line = " ".join(str(error).split())
        raise ActionFailed(f"{doing}: {in_one_line}", code="ConfigurationError") from error


@contextmanager
def transferring(doing: str) -> Iterator[None]:
    """Turn errors of S3 transfers into an `ActionFailed` whose message starts with `doing`."""
    from boto3.exceptions import Boto3Error

    try:
        with translated(doing):
            yield
    except Boto3Error as error:  # boto3's transfers wrap AWS's error into a text
        raise ActionFailed(f"{doing}: {error}", code="ConfigurationError") from error


def error_code(error: Any) -> str:
    """AWS's code in a botocore `ClientError`, such as `NoSuchBucket`."""
    return str(error.response.get("Error", {}).get("Code", ""))


def is_denied(code: str) -> bool:
    """Whether AWS's code says that the caller has no permission."""
    return code in _DENIED


def _code_of(code: str, status: int) -> str:
    if code in _DENIED or code in _CREDENTIALS:
        return "PermissionError"
    is_away = status >= 500 or any(code.startswith(each) for each in _THROTTLED)
    return "SystemUnavailable" if is_away else "ConfigurationError"
