"""Ids of deployments and deployment groups, made from the names of what they belong to."""

from __future__ import annotations

import hashlib
import string
from uuid import UUID, uuid5

_DIGITS = string.ascii_uppercase + string.digits
_LENGTH = 9
_GROUPS = UUID("5b0c9d53-6a0b-5d0c-9a86-3c2f1b1c7f0e")


def deployment_id(action_execution_id: str) -> str:
    """The id of the deployment of an action execution: `d-` and nine capitals and digits, always the same.

    Example:
        >>> deployment_id("8a5e9a2c-0d0e-4a0b-9a53-b1a2c7f0d9e1")
        'd-MNHI28VAP'
    """
    number = int.from_bytes(hashlib.sha256(action_execution_id.encode()).digest())
    digits = []
    for _ in range(_LENGTH):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return f"d-{''.join(digits)}"


def rollback_id(deployment: str) -> str:
    """The id of the deployment that rolls this one back, always the same."""
    return deployment_id(f"rollback of {deployment}")


def group_id(application: str, group: str) -> str:
    """The id of a deployment group: DEPLOYMENT_GROUP_ID of scripts, and the name of its folder on hosts."""
    return str(uuid5(_GROUPS, f"{application}\x00{group}"))
