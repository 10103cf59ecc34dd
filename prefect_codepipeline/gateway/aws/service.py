"""The one address of the AWS API: which service a request belongs to, and what answers the requests of that service."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from prefect_codepipeline.gateway.aws.beside import sts, tagging
from prefect_codepipeline.gateway.aws.operations import operations
from prefect_codepipeline.gateway.aws.protocol.answer import JsonService
from prefect_codepipeline.gateway.aws.protocol.json import CONTENT_TYPE, ApiError
from prefect_codepipeline.gateway.aws.protocol.request_ids import is_presigned, request_id_of
from prefect_codepipeline.gateway.aws.protocol.service_model import has_models, operation_names
from prefect_codepipeline.gateway.aws.s3 import endpoint as s3

# Answers a request; the second argument is its id. It may raise `ApiError`.
Handler: TypeAlias = Callable[[Request, str], Awaitable[Response]]

# What answers the requests of a service, by the service's name in the credential scope of a signature.
HANDLERS: dict[str, Handler] = {
    "codepipeline": JsonService("codepipeline", operations).answer,
    "s3": s3.answer,
    "sts": sts.answer,
    "tagging": JsonService("resourcegroupstaggingapi", lambda: tagging.OPERATIONS).answer,
}
# Whose requests may come unsigned, and so be known by what they name.
_UNSIGNED = {"CodePipeline_20150709": "codepipeline", "ResourceGroupsTaggingAPI_20170126": "tagging"}
# Services whose requests come to other addresses than `POST /`.
_AT_ANY_ADDRESS = {"s3"}
_SCOPE = re.compile(r"AWS4-HMAC-SHA256\b.*?\bCredential=[^,\s]*/([a-z0-9-]+)/aws4_request(?![^,\s])")
# The scope is at the beginning of the header. To search 64 kB of a stranger's would hold up all others for a second.
_SEARCHED = 2000


def service_of(headers: Mapping[str, str]) -> str | None:
    """The service that a request belongs to, or None: as its signature has it, else as its `X-Amz-Target` has it.

    Example:
        >>> service_of({"x-amz-target": "CodePipeline_20150709.GetPipeline"})
        'codepipeline'
    """
    if signed := _SCOPE.match(headers.get("authorization", "")[:_SEARCHED]):
        return signed[1]
    return _UNSIGNED.get(headers.get("x-amz-target", "").partition(".")[0])


def prepare() -> None:
    """Load what the first answer needs, which takes half a second."""
    if has_models():
        operations()
        operation_names()


async def answer(request: Request) -> Response:
    """Answer one request of the AWS API."""
    try:
        _check(request)
        service = "s3" if is_presigned(request.scope) else service_of(request.headers)
        handler = HANDLERS.get(service or "")
        if handler is None:
            raise ApiError(
                "UnknownOperationException", "The request names no operation of a service that is here."
            )
        return await handler(request, request_id_of(request))
    except ApiError as error:
        return Response(error.body(), error.status, media_type=CONTENT_TYPE)


def _check(request: Request) -> None:
    if "origin" in request.headers:
        raise ApiError("AccessDeniedException", "Pages in a browser may not use this API.", 403)
    if not has_models():
        raise ApiError(
            "NotImplementedException",
            "The AWS API needs the extra `aws`: pip install 'prefect-codepipeline[aws]'.",
            501,
        )


class _SignedRoute(Route):
    """Requests to any address that are signed for a service whose requests come to many."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] == "http" and (
            is_presigned(scope) or service_of(Request(scope).headers) in _AT_ANY_ADDRESS
        ):
            return super().matches(scope)
        return Match.NONE, {}


ROUTES = [Route("/", answer, methods=["POST"])]
# After all others, which keep their addresses.
SIGNED_ROUTES = [
    _SignedRoute("/{path:path}", answer, methods=["GET", "PUT", "POST", "DELETE"], include_in_schema=False)
]
