"""Requests that transfer files: they are larger and take longer than all others, once their sender is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from starlette.types import Scope

# What the parts of the server that have limits put into a request's scope.
BODY, CONNECTION = "codepipeline.body", "codepipeline.connection"
# The credentials of a job are valid for an hour.
TRANSFER_SECONDS = 3600.0
SILENT_SECONDS = 30.0


@dataclass
class BodyLimit:
    """The limits of the body of one request.

    Attributes:
        largest: in bytes.
        seconds: the time for the whole body, or with `is_transfer` for each part of it.
        is_transfer: whether the sender may transfer a file.
    """

    largest: int
    seconds: float
    is_transfer: bool = False


class TransferringConnection(Protocol):
    """A connection with a time limit for each request."""

    def allow_transfer(self, seconds: float) -> None: ...


def allow_transfer(scope: Scope, largest: int = 0) -> None:
    """Lift the limits of a request. Call it only when it is known who sent the request, before the body is read.

    Args:
        scope: of the request.
        largest: the most bytes of its body.
    """
    limit: BodyLimit = scope[BODY]
    limit.largest = max(limit.largest, largest)
    limit.seconds, limit.is_transfer = SILENT_SECONDS, True
    connection: TransferringConnection | None = scope.get(CONNECTION)
    if connection:
        connection.allow_transfer(TRANSFER_SECONDS)
