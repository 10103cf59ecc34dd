"""boto3 clients, and the translation of their errors.

https://boto3.amazonaws.com/v1/documentation/api/latest/guide/credentials.html
"""

from __future__ import annotations

import re
import sys
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

from prefect_codepipeline.actions.aws.answers import refuse_what_is_not_aws
from prefect_codepipeline.actions.aws.sessions import forget_sessions, session_of
from prefect_codepipeline.errors import ActionFailed

CONNECT_SECONDS = 10
READ_SECONDS = 20
ATTEMPTS = 3
# Of one client: so many actions may look at their work at once.
MOST_CONNECTIONS = 50
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
_HOST = re.compile(r"[./](?P<region>[a-z]{2,4}(?:-[a-z]+)+-\d+)\.amazonaws\.")
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

        It is shared by all who ask for the same. One that repeats nothing is new, and so is its connection: of an old
        one it may turn out only with the next request that it has ended.

        Raises:
            ActionFailed: with code `ConfigurationError`, boto3 is not installed.
        """
        repeats = ATTEMPTS if attempts is None else attempts
        return session_of(self._key).client(
            (service, repeats) if attempts is None else None,
            self._session,
            lambda session: self._client(session, service, repeats),
        )

    @property
    def _key(self) -> Hashable:
        """What of the account makes its clients different from others; without a role the session has no name."""
        return (
            *(self.region, self.profile, self.endpoint_url, self.verify),
            *(self.roles, self.session_name if self.roles else ""),
            *(tuple(sorted(each.items())) for each in (self.keys, self.endpoint_urls)),
        )

    def _session(self) -> Any:
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
        return session

    def _client(self, session: Any, service: str, repeats: int = ATTEMPTS, **credentials: Any) -> Any:
        from botocore.config import Config

        config = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"mode": "standard", "max_attempts": repeats},
            max_pool_connections=MOST_CONNECTIONS,
        )
        client = session.client(
            service,
            config=config,
            endpoint_url=self.endpoint_urls.get(service, self.endpoint_url),
            verify=self.verify,
            **credentials,
        )
        refuse_what_is_not_aws(client)
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
        if code in _CREDENTIALS:
            forget_sessions()
        # About a wrong signature AWS repeats the request, in many lines, one of which may be the session token.
        said = str(error).splitlines()[0] if code in _CREDENTIALS else str(error)
        advice = f"; {_CREDENTIALS[code]}" if code in _CREDENTIALS else ""
        cause = None if code in _CREDENTIALS else error  # a traceback shows the text of the cause
        raise ActionFailed(f"{doing}: AWS refused: {said}{advice}", code=_code_of(code, status)) from cause
    except (ConnectionError, HTTPClientError) as error:
        raise _unanswered(doing, error) from error
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
        forget_sessions()  # there may be credentials the next time
        in_one_line = " ".join(str(error).split())
        raise ActionFailed(f"{doing}: {in_one_line}", code="ConfigurationError") from error


def _unanswered(doing: str, error: Exception) -> ActionFailed:
    """Nothing answers for a while; but in a region that is none it stays so."""
    host = _HOST.search(str(error))
    if host and host["region"] not in _known_regions():
        return ActionFailed(
            f"{doing}: boto3 knows no region {host['region']!r}, and nothing answers there; correct the region: {error}",
            code="ConfigurationError",
        )
    return ActionFailed(f"{doing}: AWS did not answer: {error}", code="SystemUnavailable")


@cache
def _known_regions() -> frozenset[str]:
    session = _new_session(None)
    return frozenset(
        region
        for partition in session.get_available_partitions()
        for region in session.get_available_regions("ec2", partition)
    )


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
