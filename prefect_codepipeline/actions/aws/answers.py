"""What answers in place of AWS is recognized: a web page, or an answer without anything that AWS lists.

botocore takes both for an answer without content. A wrong endpoint, or a proxy, is the cause.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

# Their answers may be empty, or nothing is read from them.
_MAY_BE_EMPTY = ("Abort", "Cancel", "Delete", "HeadBucket", "Stop")
_PAGE = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*|<!--.*?-->\s*)*<(?:!doctype\s+html|html)", re.I | re.S
)
_SHOWN = 100
# How an answer with content begins, by the protocol. That of the protocol `query` botocore checks itself.
_BEGINNINGS = {"json": b"{", "rest-json": b"{", "rest-xml": b"<"}


def refuse_what_is_not_aws(client: Any) -> None:
    """Let each request of a boto3 client fail with `ResponseParserError` if what answers is not AWS."""
    events, url = client.meta.events, client.meta.endpoint_url
    # By this name it is called first of all: whatever is no XML, botocore takes for the answer of an S3 out of order.
    events.register("before-parse.*.*", partial(_refuse_other_content, url))
    events.register("after-call", partial(_refuse_empty, url))


def _refuse_other_content(url: str, operation_model: Any, response_dict: dict[str, Any], **_: Any) -> None:
    """With a page and a status of 500 or more, a proxy says that AWS is away: only the page is dropped."""
    status, body = response_dict["status_code"], response_dict["body"]
    if _is_page(response_dict):
        if status < 500:
            raise _not_aws(
                f"{url} answered with a web page" + (f" and status {status}" if status >= 300 else "")
            )
        response_dict["body"] = b""
    elif status < 300 and not _has_begun_well(operation_model, body):
        raise _not_aws(f"{url} answered with {body[:_SHOWN].decode(errors='replace')!r}")


def _has_begun_well(operation_model: Any, body: Any) -> bool:
    """Whether this may be an answer in the protocol; a stream, or content that is one value, may be anything."""
    output = operation_model.output_shape
    if not isinstance(body, bytes) or not body.strip() or (output and "payload" in output.serialization):
        return True
    return body.lstrip().startswith(_BEGINNINGS.get(operation_model.service_model.protocol, b""))


def _refuse_empty(url: str, http_response: Any, parsed: Mapping[str, Any], model: Any, **_: Any) -> None:
    if http_response.status_code >= 300 or model.service_model.protocol not in _BEGINNINGS:
        return
    listed = model.output_shape.members if model.output_shape else {}
    if listed and not any(name in listed for name in parsed) and not model.name.startswith(_MAY_BE_EMPTY):
        service = model.service_model.service_id
        raise _not_aws(
            f"{url} does not answer as {service} does: nothing that {model.name} answers is in its answer"
        )


def _is_page(response: Mapping[str, Any]) -> bool:
    body = response["body"]
    if isinstance(body, bytes) and _PAGE.match(body[:1000]):
        return True
    headers = {name.lower(): value for name, value in response["headers"].items()}
    is_html = headers.get("content-type", "").startswith("text/html")
    # Objects in S3 may be web pages too, and have the headers of S3.
    return is_html and not any(name == "etag" or name.startswith("x-amz") for name in headers)


def _not_aws(message: str) -> Exception:
    from botocore.parsers import ResponseParserError

    error: Exception = ResponseParserError(message)
    return error
