"""The id of each request of the AWS API: in its answer, also a refusal of the guard, and in the log."""

from __future__ import annotations

from uuid import uuid4

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADER = b"x-amzn-requestid"


class RequestIds:
    """ASGI middleware that gives a request of the AWS API its id, before anything may refuse it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not _is_for_aws(scope):
            await self._app(scope, receive, send)
            return
        request_id = str(uuid4())
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (_HEADER, request_id.encode())]}
            await send(message)

        await self._app(scope, receive, send_with_id)


def _is_for_aws(scope: Scope) -> bool:
    headers = Request(scope).headers
    return (
        scope["path"] == "/"
        or "x-amz-target" in headers
        or headers.get("authorization", "").startswith("AWS4-HMAC-SHA256")
        or is_presigned(scope)
    )


def is_presigned(scope: Scope) -> bool:
    """Whether the signature of a request is in its URL, as only clients of S3 send it. Such requests are refused."""
    return b"X-Amz-Signature=" in scope["query_string"]


def request_id_of(request: Request) -> str:
    """The id of a request of the AWS API."""
    return str(request.state.request_id)
