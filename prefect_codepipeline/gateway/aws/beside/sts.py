"""GetCallerIdentity of STS, which tools ask first: the account, and who asks. STS speaks the Query protocol and XML.

https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from starlette.requests import Request
from starlette.responses import Response

from prefect_codepipeline.errors import PrefectUnavailable
from prefect_codepipeline.gateway.aws.protocol.answer import REQUEST_SECONDS, unavailable, whole_body
from prefect_codepipeline.gateway.aws.protocol.call import Caller
from prefect_codepipeline.gateway.aws.protocol.json import ApiError
from prefect_codepipeline.gateway.aws.signing.identify import identify
from prefect_codepipeline.gateway.threads import AWS, in_thread
from prefect_codepipeline.prefect_api.client import within

_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"
_CONTENT_TYPE = "text/xml"
_MOST_FIELDS = 20


async def answer(request: Request, request_id: str) -> Response:
    """Answer one request of STS; its errors are XML, too."""
    try:
        body = await whole_body(request)
        caller = await in_thread(request, AWS, _caller, request.scope, body)
        action = _action(body)
        request.state.logged = action
        if action != "GetCallerIdentity":
            raise ApiError("InvalidAction", "Only GetCallerIdentity of STS is here.")
        content = _identity(caller, request_id)
    except ApiError as error:
        return Response(_error(error, request_id), error.status, media_type=_CONTENT_TYPE)
    return Response(content, 200, media_type=_CONTENT_TYPE)


def _caller(scope: Any, body: bytes) -> Caller:
    try:
        with within(REQUEST_SECONDS):
            return identify(scope, "sts", hashlib.sha256(body).hexdigest())
    except PrefectUnavailable:
        raise unavailable() from None


def _action(body: bytes) -> str:
    try:
        fields = parse_qs(body.decode(), max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise ApiError("MalformedQueryString", "The body is not a form in UTF-8.") from None
    return fields.get("Action", [""])[0]


def _identity(caller: Caller, request_id: str) -> str:
    return (
        f'<GetCallerIdentityResponse xmlns="{_NAMESPACE}"><GetCallerIdentityResult>'
        f"<Arn>{escape(caller.arn)}</Arn><UserId>{_user_id(caller)}</UserId>"
        f"<Account>{caller.account.id}</Account></GetCallerIdentityResult>"
        f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
    )


def _user_id(caller: Caller) -> str:
    """An id in the form of AWS's, which is the same each time."""
    digest = hashlib.sha256(caller.arn.encode()).digest()
    return "AIDA" + base64.b32encode(digest).decode()[:17]


def _error(error: ApiError, request_id: str) -> str:
    side = "Sender" if error.status < 500 else "Receiver"
    return (
        f'<ErrorResponse xmlns="{_NAMESPACE}"><Error><Type>{side}</Type><Code>{escape(error.code)}</Code>'
        f"<Message>{escape(error.message)}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>"
    )
