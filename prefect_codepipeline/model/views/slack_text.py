"""Escape external texts for Slack: they must not notify users or imitate messages of this package."""

from __future__ import annotations

import re
import unicodedata

from prefect_codepipeline.model.printable import printable
from prefect_codepipeline.model.web_links import SLACK_TOKEN, web_link

_LINK_URL = 2000
# An invisible character: inserted into a text, it stops Slack from parsing a mention or markup.
_JOINER = "\u2060"
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_COLOURS = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_GROUP_MENTION = re.compile(r"@(?=channel|here|everyone)", re.IGNORECASE)
_ANY_MENTION = re.compile(r"@(?=\w)")
_MARKUP = re.compile(r"[`*~]|(?<!\w)_|_(?!\w)")


def defuse(text: str, length: int = 500) -> str:
    """External text for `mrkdwn`: no mention, no link, no markup, no control characters.

    At most `length` characters after escaping, as Slack counts them; an escape sequence is never split.
    """
    clean = _MARKUP.sub(lambda match: f"{_JOINER}{match[0]}", _ANY_MENTION.sub(f"@{_JOINER}", _clean(text)))
    return _cut(clean, length)


def plain(text: str, length: int = 500) -> str:
    """External text for `plain_text`; like `defuse`, but text can be copied from Slack unchanged."""
    return _cut(_GROUP_MENTION.sub(f"@{_JOINER}", _clean(text)), length)


def link_to(url: str | None, label: str) -> str | None:
    """A link with that label, or None if the URL must not be displayed as a link."""
    escaped = _escaped(web_link(url) or "")
    return f"<{escaped}|{label}>" if 0 < len(escaped) <= _LINK_URL else None


def _clean(text: str) -> str:
    text = _COLOURS.sub("", text).replace("\r\n", "\n")
    return SLACK_TOKEN.sub("[token]", printable(text, kept="\n\t"))


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(character, character) for character in text)


def _cut(text: str, length: int) -> str:
    """The text, escaped, and shortened between characters if it is too long."""
    sizes = [len(_ESCAPES.get(character, character)) for character in text[: length + 1]]
    if len(text) <= length and sum(sizes) <= length:
        return _escaped(text)
    kept = total = 0
    while total + sizes[kept] <= length - 1:
        total += sizes[kept]
        kept += 1
    while kept and unicodedata.combining(text[kept]):  # an accent stays with its letter
        kept -= 1
    return _escaped(text[:kept]) + "…"
