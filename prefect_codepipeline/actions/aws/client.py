"""boto3 clients, and the translation of their errors.

https://boto3.amazonaws.com/v1/documentation/api/latest/guide/credentials.html
"""

from __future__ import annotations

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
_DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthFailure")
# What to do about credentials that AWS does not accept.
_CREDENTIALS = {
    "InvalidClientTokenId": "correct the access key",
    "UnrecognizedClientException": "correct the access key; it may belong to another partition of AWS",
    "SignatureDoesNotMatch": "correct the secret key, and the clock of the worker",
    "RequestTimeTooSkewed": "correct the clock of the worker",
    "RequestExpired": "correct the clock of the worker",
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

    def client(self, service: str) -> Any:
        """A boto3 client.

        Raises:
            ActionFailed: with code `ConfigurationError`, boto3 is not installed.
        """
        try:
            import boto3
        except ImportError:
            raise ActionFailed(
                "boto3 is not installed on the worker; install it: pip install 'prefect-codepipeline[aws]'",
                code="ConfigurationError",
            ) from None
        session = boto3.session.Session(
            botocore_session=_new_session(self.profile), region_name=self.region, **self.keys
        )
        for role in self.roles:
            session = self._assumed(session, role)
        return self._client(session, service)

    def _client(self, session: Any, service: str, **credentials: Any) -> Any:
        from botocore.config import Config

        config = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"mode": "standard", "max_attempts": ATTEMPTS},
        )
        client = session.client(
            service,
            config=config,
            endpoint_url=self.endpoint_urls.get(service, self.endpoint_url),
            verify=self.verify,
            **credentials,
        )
        client.meta.events.register("before-parse", _drop_error_page)
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


def _drop_error_page(response_dict: dict[str, Any], **_: Any) -> None:
    """Drop the page with which a proxy says that AWS is away: botocore takes only some of these for an error."""
    if response_dict["status_code"] >= 500 and b"<html" in response_dict["body"][:1000].lower():
        response_dict["body"] = b""


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


def aws_client(
    service: str, region: str | None = None, role_arn: str | None = None, profile: str | None = None
) -> Any:
    """A boto3 client with the worker's usual credentials; if `role_arn` is given, with those of that role.

    Raises:
        ActionFailed: with code `ConfigurationError`, boto3 is not installed.
    """
    return Account(region=region, profile=profile, roles=(role_arn,) if role_arn else ()).client(service)


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
        advice = f"; {_CREDENTIALS[code]}" if code in _CREDENTIALS else ""
        raise ActionFailed(f"{doing}: AWS refused: {error}{advice}", code=_code_of(code, status)) from error
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
