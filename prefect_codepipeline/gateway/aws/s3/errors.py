"""What the S3 endpoint refuses, in S3's own names and its XML.

https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""

from __future__ import annotations

from xml.sax.saxutils import escape

_STATUS = {
    "AccessDenied": 403,
    "InvalidAccessKeyId": 403,
    "RequestTimeTooSkewed": 403,
    "SignatureDoesNotMatch": 403,
    "NoSuchKey": 404,
    "NoSuchUpload": 404,
    "MissingContentLength": 411,
    "PreconditionFailed": 412,
    "InvalidRange": 416,
    "InternalError": 500,
    "NotImplemented": 501,
    "ServiceUnavailable": 503,
    "SlowDown": 503,
}


class S3Error(Exception):
    """An answer that is an error: S3's name of it, and a message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def status(self) -> int:
        return _STATUS.get(self.code, 400)

    def body(self, request_id: str) -> bytes:
        """The body of the answer."""
        return xml(
            "Error",
            f"<Code>{self.code}</Code><Message>{escape(_printable(self.message))}</Message>"
            f"<RequestId>{request_id}</RequestId>",
        )


def xml(name: str, inner: str) -> bytes:
    """A document of S3 with one outer element; `inner` is XML."""
    namespace = "" if name == "Error" else ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{name}{namespace}>{inner}</{name}>'.encode()


def access_denied() -> S3Error:
    """The answer to everything that the credentials of a job do not allow."""
    return S3Error("AccessDenied", "Access Denied")


def _printable(text: str) -> str:
    """Without the characters that XML cannot hold: names in an archive may have any."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
