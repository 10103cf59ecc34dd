"""What a link or a button decides: one approval of one execution, for one purpose, until it expires.

Packed it is short enough for a message, and holds nothing that could be guessed: execution and token are random.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Literal
from uuid import UUID

# A signature for one of these is worth nothing for another.
Purpose = Literal["approval-link", "personal-link", "slack-button", "form"]

_FORMAT = struct.Struct(">16s16sQ")


@dataclass(frozen=True)
class ApprovalTarget:
    """An approval by its execution and its token; `recipient`: the e-mail address of the one whom a link was made for."""

    execution_id: str
    token: str
    expires_at: datetime
    recipient: str = ""


def pack(target: ApprovalTarget) -> bytes:
    """The target as bytes. Raises `ValueError` for ids that are no UUIDs."""
    ids = (UUID(target.execution_id).bytes, UUID(target.token).bytes)
    # Rounded up: the link lives as long as the approval.
    return _FORMAT.pack(*ids, int(target.expires_at.timestamp()) + 1) + target.recipient.encode()


def unpack(data: bytes) -> ApprovalTarget:
    """What `pack` made. Raises `ValueError` for anything else."""
    try:
        execution_id, token, expires = _FORMAT.unpack(data[: _FORMAT.size])
        return ApprovalTarget(
            str(UUID(bytes=execution_id)),
            str(UUID(bytes=token)),
            datetime.fromtimestamp(expires, timezone.utc),
            data[_FORMAT.size :].decode(),
        )
    except (struct.error, OverflowError, OSError) as error:
        raise ValueError(f"no packed approval: {error}") from None
