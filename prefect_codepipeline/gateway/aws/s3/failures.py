"""What went wrong, as S3 says it. Nothing of the inside is in it."""

from __future__ import annotations

import logging
import traceback

from prefect_codepipeline.actions.artifacts.places import FULL_DISK
from prefect_codepipeline.errors import ActionFailed, MissingBlock, PrefectUnavailable
from prefect_codepipeline.gateway.aws.protocol.json import ApiError
from prefect_codepipeline.gateway.aws.s3.errors import S3Error
from prefect_codepipeline.gateway.guard import TooLarge, TooSlow

_logger = logging.getLogger("codepipeline.gateway")
_IN_S3 = {
    "MissingAuthenticationTokenException": "AccessDenied",
    "IncompleteSignatureException": "AuthorizationHeaderMalformed",
    "UnrecognizedClientException": "InvalidAccessKeyId",
    "InvalidSignatureException": "SignatureDoesNotMatch",
    "ExpiredTokenException": "ExpiredToken",
    "ServiceUnavailable": "ServiceUnavailable",
}
_TRY_AGAIN = "Please reduce your request rate, or try again later."
_FULL = "The disk of the artifact store or of the gateway is full."


def error_for(error: Exception, request_id: str) -> S3Error:
    """The answer to a request that failed with an exception; what it says of the inside is logged."""
    if isinstance(error, S3Error):
        return error
    if isinstance(error, ApiError):
        return S3Error(_code(error), error.message)
    if isinstance(error, TooLarge):
        return S3Error("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
    if isinstance(error, TooSlow):
        return S3Error(
            "RequestTimeout",
            "Your socket connection to the server was not read from or written to within the timeout period.",
        )
    if isinstance(error, (PrefectUnavailable, MissingBlock, ActionFailed, OSError)):
        _logger.warning("s3 %s: %s", request_id, error)
        return S3Error("ServiceUnavailable", _FULL if _is_disk_full(error) else _TRY_AGAIN)
    # Without the message, which may have a part of the request, and so a secret.
    place = "".join(traceback.format_tb(error.__traceback__))
    _logger.error("s3 %s failed with %s:\n%s", request_id, type(error).__name__, place)
    return S3Error("InternalError", "We encountered an internal error. Please try again.")


def _is_disk_full(error: Exception) -> bool:
    cause = error.__cause__ or error
    return isinstance(cause, OSError) and cause.errno in FULL_DISK


def _code(error: ApiError) -> str:
    if error.message.startswith(("Signature expired", "Signature not yet current")):
        return "RequestTimeTooSkewed"
    return _IN_S3.get(error.code, "AccessDenied")
