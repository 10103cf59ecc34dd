"""Clients of AWS, with the usual credentials of the worker, and what their refusals mean.

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
    """A boto3 client; with `role_arn`, with the credentials of that role.

    Region and credentials are those of the profile, of the environment, of `~/.aws` or of the machine where none
    are given.

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
    """Turn what boto3 raises into an `ActionFailed` that says what was done and what to do.

    Raises:
        ActionFailed: with code `PermissionError` (refused), `ConfigurationError` (no credentials, no region, a
            request that AWS cannot read) or `SystemUnavailable` (no answer, throttled).
    """
    try:
        from botocore.exceptions import (
            BotoCoreError,
            ClientError,
            ConnectionError,
            HTTPClientError,
            NoRegionError,
        )
    except ImportError:  # `aws_client` says so
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
            f"{doing}: no region is known; set 'region', or AWS_DEFAULT_REGION of the worker",
            code="ConfigurationError",
        ) from error
    except BotoCoreError as error:
        raise ActionFailed(f"{doing}: {error}", code="ConfigurationError") from error


def _code_of(code: str, status: int) -> str:
    if code in _DENIED or code in _CREDENTIALS:
        return "PermissionError"
    return "SystemUnavailable" if status >= 500 or "Throttl" in code else "ConfigurationError"
