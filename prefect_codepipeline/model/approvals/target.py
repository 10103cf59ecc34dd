"""The approval that a link or a button decides: one approval of one execution, for one purpose, until it expires.

The packed form is short enough for a message, and cannot be guessed: execution id and token are random.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Literal
from uuid import UUID

# A signature for one purpose is not valid for another.
Purpose = Literal["approval-link", "personal-link", "slack-button", "form"]

_FORMAT = struct.Struct(">16s16sQ")


@dataclass(frozen=True)
class ApprovalTarget:
    """An approval, by its execution and token; `recipient`: the e-mail address of the person a link was created for."""

    execution_id: str
    token: str
    expires_at: datetime
    recipient: str = ""


def pack(target: ApprovalTarget) -> bytes:
    """The target as bytes. Raises `ValueError` for ids that are not UUIDs."""
    ids = (UUID(target.execution_id).bytes, UUID(target.token).bytes)
    # Rounded up, so that the link does not expire before the approval.
    return _FORMAT.pack(*ids, int(target.expires_at.timestamp()) + 1) + target.recipient.encode()


def unpack(data: bytes) -> ApprovalTarget:
    """The target from the bytes of `pack`. Raises `ValueError` for all other bytes."""
    try:
        execution_id, token, expires = _FORMAT.unpack(data[: _FORMAT.size])
        return ApprovalTarget(
            str(UUID(bytes=execution_id)),
            str(UUID(bytes=token)),
            datetime.fromtimestamp(expires, timezone.utc),
            data[_FORMAT.size :].decode(),
        )
    except (struct.error, OverflowError, OSError) as error:
        raise ValueError(f"not a packed approval: {error}") from None
