"""Which operation of S3 a request asks for, and whether its sender may ask."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from prefect_codepipeline.gateway.aws.s3.asked import Asked
from prefect_codepipeline.gateway.aws.s3.errors import access_denied
from prefect_codepipeline.gateway.aws.s3.failures import error_for
from prefect_codepipeline.gateway.aws.s3.multipart import (
    abort_upload,
    complete_upload,
    create_upload,
    upload_part,
)
from prefect_codepipeline.gateway.aws.s3.reading import get_object
from prefect_codepipeline.gateway.aws.s3.writing import put_object
from prefect_codepipeline.gateway.aws.signing.identify import JobCaller, identify_for_s3
from prefect_codepipeline.gateway.guard import TooLarge, TooSlow
from prefect_codepipeline.gateway.threads import AWS, in_thread

LARGEST_REST = 1 << 20
_Operation: TypeAlias = Callable[[Asked], Awaitable[Response]]
# By method and the names in the query.
_OPERATIONS: Mapping[tuple[str, frozenset[str]], tuple[str, _Operation]] = {
    ("GET", frozenset()): ("GetObject", get_object),
    ("HEAD", frozenset()): ("HeadObject", get_object),
    ("PUT", frozenset()): ("PutObject", put_object),
    ("POST", frozenset({"uploads"})): ("CreateMultipartUpload", create_upload),
    ("PUT", frozenset({"partNumber", "uploadId"})): ("UploadPart", upload_part),
    ("POST", frozenset({"uploadId"})): ("CompleteMultipartUpload", complete_upload),
    ("DELETE", frozenset({"uploadId"})): ("AbortMultipartUpload", abort_upload),
}


async def answer(request: Request, request_id: str) -> Response:
    """Answer one request to S3. Nothing of its body is read before its sender is known."""
    headers = {"x-amz-request-id": request_id}
    try:
        response = await _answer(request)
    except ClientDisconnect:
        raise
    except Exception as failure:
        error = error_for(failure, request_id)
        if isinstance(failure, (TooLarge, TooSlow)) or not await _is_body_read(request):
            headers["connection"] = "close"
        return Response(error.body(request_id), error.status, headers, "application/xml")
    response.headers.update(headers)
    return response


async def _is_body_read(request: Request) -> bool:
    """Read the rest of a short body, so that the connection can be used again, and the client reads the answer."""
    if "expect" in request.headers:  # the client may wait for the answer, and then not send its body
        return False
    size = 0
    try:
        async for data in request.stream():
            size += len(data)
            if size > LARGEST_REST:
                return False
    except RuntimeError:  # it has been read
        return True
    except (TooLarge, TooSlow, ClientDisconnect):
        return False
    return True


async def _answer(request: Request) -> Response:
    caller = await in_thread(request, AWS, identify_for_s3, request.scope)
    if not isinstance(caller, JobCaller):
        raise access_denied()
    asked = Asked(request, caller)
    found = _OPERATIONS.get((request.method, frozenset(asked.query)))
    if found is None:
        raise access_denied()
    name, operation = found
    request.state.logged = f"{name} of job {caller.grant.job_id}"
    return await operation(asked)
