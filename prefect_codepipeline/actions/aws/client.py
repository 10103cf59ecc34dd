"""boto3 clients with the worker's usual credentials, and the translation of their errors.

https://boto3.amazonaws.com/v1/documentation/api/latest/guide/credentials.html
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect_codepipeline.errors import ActionFailed

CONNECT_SECONDS = 10
READ_SECONDS = 20
ATTEMPTS = 3
_DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthFailure")
_CREDENTIALS = (
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "ExpiredTokenException",
)


def aws_client(
    service: str, region: str | None = None, role_arn: str | None = None, profile: str | None = None
) -> Any:
    """A boto3 client; if `role_arn` is given, with the credentials of that role.

    Without arguments, boto3 takes region and credentials from the environment, `~/.aws` or the machine.

    Raises:
        ActionFailed: with code `ConfigurationError`, boto3 is not installed.
    """
    try:
        import boto3
        from botocore.config import Config
    except ImportError:
        raise ActionFailed(
            "boto3 is not installed on the worker; install it: pip install 'prefect-codepipeline[aws]'",
            code="ConfigurationError",
        ) from None
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"mode": "standard", "max_attempts": ATTEMPTS},
    )
    session = boto3.session.Session(region_name=region, profile_name=profile)
    if not role_arn:
        return session.client(service, config=config)
    assumed = session.client("sts", config=config).assume_role(
        RoleArn=role_arn, RoleSessionName="prefect-codepipeline"
    )["Credentials"]
    return session.client(
        service,
        config=config,
        aws_access_key_id=assumed["AccessKeyId"],
        aws_secret_access_key=assumed["SecretAccessKey"],
        aws_session_token=assumed["SessionToken"],
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
    except ImportError:  # `aws_client` reports it
        yield
        return
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        raise ActionFailed(f"{doing}: AWS refused: {error}", code=_code_of(code, status)) from error
    except (ConnectionError, HTTPClientError) as error:
        raise ActionFailed(f"{doing}: AWS did not answer: {error}", code="SystemUnavailable") from error
    except NoRegionError as error:
        raise ActionFailed(
            f"{doing}: no AWS region is set; set 'region' on the action, or AWS_DEFAULT_REGION in the worker's "
            "environment",
            code="ConfigurationError",
        ) from error
    except BotoCoreError as error:
        raise ActionFailed(f"{doing}: {error}", code="ConfigurationError") from error


def _code_of(code: str, status: int) -> str:
    if code in _DENIED or code in _CREDENTIALS:
        return "PermissionError"
    return "SystemUnavailable" if status >= 500 or "Throttl" in code else "ConfigurationError"
