"""Mask secrets in the output of commands: plain, encoded, and split over several lines.

A piece of less than four characters is never masked: such pieces occur everywhere in a log.
"""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote, quote_plus

SHORTEST_PIECE = 4
MASK = "***"
# Encoded text may be wrapped at any column; this many matching characters at the end of a line are not a coincidence.
_FRAGMENT = 6
_BASE64 = "[A-Za-z0-9+/_-]"


def parts_of_secret(secret: str) -> Iterator[str]:
    """The parts of a secret to mask: the whole, its lines, and the texts in it if it is JSON."""
    yield secret
    pieces = secret.splitlines()
    with suppress(ValueError):
        pieces += _texts(json.loads(secret))
    yield from (piece for piece in map(str.strip, pieces) if len(piece) >= SHORTEST_PIECE)


class Masker:
    """Replaces secrets with `***`: also encoded as base64 (even inside a longer text), hexadecimal, URL, JSON, HTML or
    shell quoting, and where base64 or hexadecimal text is wrapped.

    Args:
        pieces: the secrets and their parts (`parts_of_secret`).
    """

    def __init__(self, pieces: Iterable[str]) -> None:
        pieces = {piece for piece in pieces if len(piece) >= SHORTEST_PIECE}
        self._patterns: dict[str, str] = {}
        for piece in pieces:
            for core, aligned in _in_base64(piece):
                before = "" if aligned else f"{_BASE64}?"
                # The neighbouring characters contain some bits of the piece.
                self._patterns.setdefault(core, f"{before}{re.escape(core)}{_BASE64}?={{0,2}}")
        self._wrapped = [*self._patterns, *(form for piece in pieces for form in _in_hex(piece))]
        for piece in pieces:
            for form in (piece, *_in_hex(piece), *_escaped(piece)):
                self._patterns[form] = re.escape(form)
        self._fragments = {
            core[start : start + _FRAGMENT]
            for core in self._wrapped
            for start in range(len(core) - _FRAGMENT + 1)
        }
        self._compiled: dict[tuple[str, ...], re.Pattern[str]] = {}
        self.longest = max(map(len, self._patterns), default=0)
        """The largest number of characters of output that can be one secret."""

    def mask(self, text: str) -> str:
        """The text without secrets. Parts of a wrapped secret are masked in each line separately."""
        # Searching each needle separately is several times faster than one pattern of all.
        found = tuple(needle for needle in self._patterns if needle in text)
        if found:
            text = self._pattern(found).sub(MASK, text)
        return self._mask_fragments(text) if self._fragments else text

    def _pattern(self, found: tuple[str, ...]) -> re.Pattern[str]:
        if found not in self._compiled:
            longest_first = sorted(found, key=len, reverse=True)
            self._compiled = {found: re.compile("|".join(self._patterns[needle] for needle in longest_first))}
        return self._compiled[found]

    def _mask_fragments(self, text: str) -> str:
        fragments, changed = self._fragments, False
        lines = text.split("\n")
        for number, line in enumerate(lines):
            if line[-_FRAGMENT:] in fragments or line[:_FRAGMENT] in fragments:
                lines[number] = self._without_fragments(line)
                changed = True
        return "\n".join(lines) if changed else text

    def _without_fragments(self, line: str) -> str:
        for core in self._wrapped:
            if len(line) >= _FRAGMENT and line in core:
                return MASK
            if size := _overlap(line, core):
                line = line[:-size] + MASK
            if size := _overlap(core, line):
                line = MASK + line[size:]
        return line


def _overlap(first: str, second: str) -> int:
    """How many of the last characters of `first` are the first ones of `second`; 0 if fewer than `_FRAGMENT`."""
    for size in range(min(len(first), len(second)), _FRAGMENT - 1, -1):
        if first.endswith(second[:size]):
            return size
    return 0


def _in_base64(piece: str) -> Iterator[tuple[str, bool]]:
    """The base64 characters that depend only on the piece, for each offset in a group of three bytes."""
    data = piece.encode(errors="surrogateescape")
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + data).decode()
        core = encoded[-(-8 * before // 6) : 8 * (before + len(data)) // 6]
        yield core, before == 0
        yield core.translate(str.maketrans("+/", "-_")), before == 0


def _in_hex(piece: str) -> tuple[str, str]:
    digits = piece.encode(errors="surrogateescape").hex()
    return digits, digits.upper()


def _escaped(piece: str) -> Iterator[str]:
    with suppress(UnicodeEncodeError):
        for encoded in (quote(piece), quote(piece, safe=""), quote_plus(piece)):
            yield encoded
            yield re.sub("%..", lambda match: match[0].lower(), encoded)
    for ascii_only in (True, False):
        yield json.dumps(piece, ensure_ascii=ascii_only)[1:-1]
    yield html.escape(piece)
    yield html.escape(piece, quote=False)
    yield shlex.quote(piece).strip("'")
    # As `set -x` prints a single quote.
    yield piece.replace("'", "'\\''")


def _texts(value: Any) -> list[str]:  # Any: whatever JSON can hold
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return [value] if isinstance(value, str) else []
