"""Texts of strangers for people: commits, branches, user names and files may contain characters that mislead a reader."""

from __future__ import annotations

import re

# Controls of terminals, also those of one byte beyond ASCII; marks of direction and of lines; tags.
_MISLEADING = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)


def printable(text: str, kept: str = "", instead: str = "") -> str:
    """The text without control characters, direction marks, and other characters that are not visible.

    Direction marks such as U+202E make a text read differently than it is stored; terminals obey control characters.

    Args:
        text: from anywhere.
        kept: the characters to keep, such as line breaks; every other kind of space becomes a space.
        instead: the replacement of a removed character.

    Example:
        >>> printable("main\\u202egpj\\u200b.exe"), printable("a\\nb\\tc", kept="\\n")
        ('maingpj.exe', 'a\\nb c')
    """
    if text.isprintable():
        return text  # the usual case
    return "".join(c if c in kept or c.isprintable() else " " if c.isspace() else instead for c in text)


def without_controls(text: str, instead: str = "\N{REPLACEMENT CHARACTER}") -> str:
    """The output of a program for a log: line breaks, tabs, icons and joined emoji stay, unlike in `printable`.

    Args:
        text: without escape sequences, of which only the first character would be replaced.
        instead: the replacement of a control character or a direction mark.

    Example:
        >>> without_controls("a\\tb\\u202ec\\x9b31m", "?")
        'a\\tb?c?31m'
    """
    return _MISLEADING.sub(instead, text)
