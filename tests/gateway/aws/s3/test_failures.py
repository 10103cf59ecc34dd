"""What a client is told of a failure, and what only the log has."""

from __future__ import annotations

import errno
import logging
import re

import pytest

from prefect_codepipeline.actions.artifacts.storing import as_action_failure
from prefect_codepipeline.blocks.artifact_store import ArtifactStore
from prefect_codepipeline.errors import ActionFailed, PrefectUnavailable
from prefect_codepipeline.gateway.aws.protocol.json import ApiError
from prefect_codepipeline.gateway.aws.s3.errors import S3Error
from prefect_codepipeline.gateway.aws.s3.failures import error_for
from prefect_codepipeline.gateway.guard import TooLarge, TooSlow


def disk_full() -> Exception:
    try:
        with as_action_failure("storing artifact 'App'", ArtifactStore(url="/store")):
            raise OSError(errno.ENOSPC, "No space left on device", "/store/incoming/x")
    except ActionFailed as error:
        return error


@pytest.mark.parametrize(
    ("failure", "code", "status", "message"),
    [
        (S3Error("NoSuchKey", "gone"), "NoSuchKey", 404, "gone"),
        (ApiError("UnrecognizedClientException", "who?"), "InvalidAccessKeyId", 403, "who?"),
        (ApiError("InvalidSignatureException", "wrong"), "SignatureDoesNotMatch", 403, "wrong"),
        (ApiError("InvalidSignatureException", "Signature expired: …"), "RequestTimeTooSkewed", 403, "expired"),
        (ApiError("ExpiredTokenException", "old"), "ExpiredToken", 400, "old"),
        (TooLarge(), "EntityTooLarge", 400, "exceeds"),
        (TooSlow(), "RequestTimeout", 400, "timeout"),
        (PrefectUnavailable("inside"), "ServiceUnavailable", 503, "try again"),
        (ActionFailed("inside"), "ServiceUnavailable", 503, "try again"),
        (OSError(errno.EIO, "inside"), "ServiceUnavailable", 503, "try again"),
        (OSError(errno.ENOSPC, "inside"), "ServiceUnavailable", 503, "is full"),
        (disk_full(), "ServiceUnavailable", 503, "is full"),
        (KeyError("inside"), "InternalError", 500, "internal error"),
    ],
)  # fmt: skip
def test_a_failure_has_s3s_name_and_nothing_of_the_inside(failure, code, status, message, caplog):
    with caplog.at_level(logging.WARNING, "codepipeline.gateway"):
        error = error_for(failure, "request-1")
    assert (error.code, error.status) == (code, status)
    assert message in error.message
    assert not re.search(rb"inside|/store", error.body("request-1"))
    assert "request-1" in caplog.text or status not in (500, 503)
