"""Texts of strangers for people: commits, branches, user names and files may contain characters that mislead a reader."""

from __future__ import annotations


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
