"""One request of a service that speaks JSON 1.1: read, checked, handed to its operation, and answered."""

from __future__ import annotations

import hashlib
import logging
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

import anyio
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from prefect_codepipeline.errors import NewerRecord, PipelineServiceError, PrefectUnavailable
from prefect_codepipeline.gateway.aws.operations.elsewhere import answer_elsewhere
from prefect_codepipeline.gateway.aws.protocol.call import Call, Members, Operations
from prefect_codepipeline.gateway.aws.protocol.constraints import check_constraints
from prefect_codepipeline.gateway.aws.protocol.json import (
    CONTENT_TYPE,
    ApiError,
    operation_of,
    read_members,
    write_members,
)
from prefect_codepipeline.gateway.aws.protocol.service_model import service_model
from prefect_codepipeline.gateway.aws.signing.identify import identify, is_elsewhere
from prefect_codepipeline.gateway.aws.signing.permissions import authorize
from prefect_codepipeline.gateway.guard import TooLarge, TooSlow
from prefect_codepipeline.gateway.threads import AWS, in_thread
from prefect_codepipeline.prefect_api.client import within

# While Prefect is away, 503 is answered within ten seconds, whatever the request waits for first.
WAIT_SECONDS, REQUEST_SECONDS = 8.0, 4.0
_logger = logging.getLogger("codepipeline.gateway")


@dataclass(frozen=True)
class JsonService:
    """A service of AWS.

    Attributes:
        model: botocore's name of its model.
        operations: finds what answers its operations.
    """

    model: str
    operations: Callable[[], Operations]

    async def answer(self, request: Request, request_id: str) -> Response:
        """Answer one request. Raises `ApiError`."""
        operation = operation_of(request.headers.get("x-amz-target", ""), self.model)
        request.state.logged = operation
        body = await whole_body(request)
        until = time.monotonic() + WAIT_SECONDS
        content: bytes | None = None
        with anyio.move_on_after(WAIT_SECONDS):  # ends only the wait for a thread
            call = (operation, body, request.scope, request_id, until)
            content = await in_thread(request, AWS, self._content, *call)
        if content is None:
            raise unavailable()
        return Response(content, 200, media_type=CONTENT_TYPE)

    def _content(self, operation: str, body: bytes, scope: Scope, request_id: str, until: float) -> bytes:
        """The body of the answer. Raises `ApiError`."""
        try:
            with within(REQUEST_SECONDS, until=until):
                found = self._found(operation, body, scope, request_id)
            return write_members(operation, found, self.model)
        except ApiError:
            raise
        except PipelineServiceError as error:
            code = type(error).__name__
            raise ApiError(code, str(error), 409 if code == "ConflictException" else 400) from None
        except NewerRecord as error:  # another gateway, of that release, can do it
            raise ApiError("ConflictException", str(error), 409) from None
        except PrefectUnavailable as error:
            _logger.warning("%s %s: %s", operation, request_id, error)
            raise unavailable() from None
        except Exception as error:
            # Without the message, which may have a part of the request, and so a secret.
            place = "".join(traceback.format_tb(error.__traceback__))
            _logger.error("%s %s failed with %s:\n%s", operation, request_id, type(error).__name__, place)
            raise ApiError("InternalFailure", "An internal error occurred.", 500) from None

    def _found(self, operation: str, body: bytes, scope: Scope, request_id: str) -> Members | None:
        service = service_model(self.model).signing_name
        caller = identify(scope, service, hashlib.sha256(body).hexdigest())
        if operation not in self.operations():
            raise ApiError("UnknownOperationException", f"The operation {operation} is not here.")
        members = read_members(operation, body, self.model)
        authorize(caller, operation, members, service)
        check_constraints(operation, members, self.model)
        call = Call(operation, members, caller, request_id, invocation_of(scope))
        if is_elsewhere(caller):
            return answer_elsewhere(call, self.model)
        return self.operations()[operation](call)


def invocation_of(scope: Scope) -> str | None:
    """What a client of AWS sends unchanged with every repetition of a request."""
    return Headers(scope=scope).get("amz-sdk-invocation-id", "")[:64] or None


def unavailable() -> ApiError:
    """The answer while Prefect is away."""
    return ApiError("ServiceUnavailable", "The service is unavailable. Try again.", 503)


async def whole_body(request: Request) -> bytes:
    """The body of a request. Raises `ApiError`: it is too large, or takes too long."""
    try:
        return await request.body()
    except TooLarge:
        raise ApiError("RequestEntityTooLargeException", "The request is larger than 1 MB.", 413) from None
    except TooSlow:
        raise ApiError("RequestTimeoutException", "The body of the request took too long.", 408) from None
