"""The output of scripts: its end is kept for people, most of it in a file, and none of it in memory."""

import os
import re
from typing import Dict

from prefect_codepipeline.actions.deploying.host_program.places import private

KEPT_CHARACTERS = 2048
# How the output of each event begins.
FIRST_LINE = "LifecycleEvent - "
_KEPT_BYTES = 4 * KEPT_CHARACTERS + 4
_LONGEST_HELD = 4096
_LARGEST_FILE = 5 * 1024 * 1024
# Controls of terminals, marks of direction, and halves of characters, which no file can have in UTF-8.
_MISLEADING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def harmless(text: str) -> str:
    """The text with control characters written out, as \\x1b."""
    return _MISLEADING.sub(_written_out, text.replace("\r\n", "\n"))


def _written_out(match: "re.Match[str]") -> str:
    code = ord(match.group())
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a name that is not UTF-8
        return "\\x%02x" % (code - 0xDC00)
    return "\\x%02x" % code if code < 256 else "\\u%04x" % code


def _kept(data: bytes) -> str:
    return harmless(data.decode("utf-8", "replace"))[-KEPT_CHARACTERS:]


def end_of_log(path: str, event: str) -> str:
    """What the file of an Output has of an event whose program was ended."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.path.getsize(path) - _KEPT_BYTES))
            data = file.read()
    except OSError:
        return ""
    start = data.rfind(FIRST_LINE.encode())
    of_event = data.startswith((FIRST_LINE + event + "\n").encode(), max(start, 0))
    return _kept(data[start:] if of_event else data if start < 0 else b"")


class Output:
    """Takes what the scripts of one event print; each line gets the name of its stream, as the agent of AWS writes it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._end = b""
        self._held: Dict[str, bytes] = {}
        self._inside: Dict[str, bool] = {}

    def say(self, text: str) -> None:
        """Add a line of our own."""
        self._add(text.encode("utf-8", "surrogateescape") + b"\n")

    def feed(self, stream: str, data: bytes) -> None:
        data = self._held.get(stream, b"") + data
        cut = data.rfind(b"\n") + 1
        if len(data) - cut > _LONGEST_HELD:
            cut = len(data)
        self._held[stream] = data[cut:]
        if cut:
            self._add_tagged(stream, data[:cut])

    def close(self, stream: str) -> None:
        rest = self._held.pop(stream, b"")
        if rest:
            self._add_tagged(stream, rest)
        if self._inside.pop(stream, False):
            self._add(b"\n")

    def end(self) -> str:
        """The last 2,048 characters, harmless."""
        return _kept(self._end)

    def _add_tagged(self, stream: str, data: bytes) -> None:
        tag = b"[%s]" % stream.encode()
        first = b"" if self._inside.get(stream) else tag
        self._inside[stream] = not data.endswith(b"\n")
        self._add(first + data[:-1].replace(b"\n", b"\n" + tag) + data[-1:])

    def _add(self, data: bytes) -> None:
        self._end = (self._end + data)[-_KEPT_BYTES:]
        try:
            with open(self._path, "ab", opener=private) as file:
                file.write(data)
                size = file.tell()
            if size > _LARGEST_FILE:
                os.rename(self._path, "%s.1" % self._path)
        except OSError:
            pass  # a full disk fails no script that does not need it
