"""Texts as AWS's API allows them: none that is empty, none that is too long."""

from __future__ import annotations

from prefect_codepipeline.model.records import ErrorDetails

# The longest texts of each kind, in characters.
SUMMARY = URL = 2048
REVISION = EXTERNAL_ID = 1500
CHANGE = 100
DETAIL = 1024
REASON = 200
MESSAGE = 5000


def text(value: str | None, most: int) -> str | None:
    """The text, cut to the length that AWS allows; None if it is empty, because AWS leaves such members out.

    Example:
        >>> text("release", 3), text("", 3), text(None, 3)
        ('re…', None, None)
    """
    if not value:
        return None
    return value if len(value) <= most else f"{value[: most - 1]}…"


def address(value: str | None) -> str | None:
    """A URL, or None if it is longer than AWS allows: a part of one leads nowhere."""
    return value if value and len(value) <= URL else None


def error(details: ErrorDetails | None) -> dict[str, str | None] | None:
    """The error of an action or a rule."""
    return {"code": details.code, "message": text(details.message, MESSAGE)} if details else None
