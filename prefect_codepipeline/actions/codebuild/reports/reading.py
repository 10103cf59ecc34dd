"""Read an untrusted report file of a build, with limits for bytes, parts, depth, time and memory."""

from __future__ import annotations

import json
import os
import stat
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

MAX_XML_BYTES = 100 << 20
MAX_JSON_BYTES = 50 << 20
MAX_SECONDS = 20.0
MAX_ELEMENTS = 3_000_000
MAX_JSON_PARTS = 2_000_000
_MAX_DEPTH = 200
_MAX_TEXT = 8000
_MAX_HELD = 10_000
_MAX_NAMES = 100_000
_MAX_TAG_BYTES = 4 << 20
_CHUNK = 1 << 16


class UnreadableReportError(Exception):
    """The file is not a report of that format; says why, without the file's name."""


class UnfitFileError(UnreadableReportError):
    """It is not a file that can be stored either."""


@dataclass
class Node:
    """An element by its local name; only wanted elements and those below them have children."""

    name: str
    attributes: dict[str, str]
    parent: Node | None = None
    children: list[Node] = field(default_factory=list)
    text: str = ""

    def get(self, *names: str) -> str:
        """The value of the first of these attributes that is not blank."""
        return next((value for name in names if (value := self.attributes.get(name, "").strip())), "")

    def child(self, *path: str) -> Node | None:
        """The first element at that path."""
        node: Node | None = self
        for name in path:
            node = next((child for child in node.children if child.name == name), None) if node else None
        return node

    def text_of(self, *path: str) -> str:
        node = self.child(*path)
        return node.text.strip() if node else ""

    def above(self, *names: str) -> Node | None:
        """The nearest element around it that has one of these names."""
        node = self.parent
        while node and node.name not in names:
            node = node.parent
        return node


def open_report(path: Path, limit: int) -> IO[bytes]:
    """Open a regular file of at most `limit` bytes.

    Raises:
        UnfitFileError: it is not a regular file, or too large.
        UnreadableReportError: it is empty.
    """
    try:
        # Without O_NONBLOCK, opening a named pipe would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        raise UnfitFileError(f"cannot be opened: {error.strerror}") from None
    about = os.fstat(descriptor)
    problem: UnreadableReportError | None = None
    if not stat.S_ISREG(about.st_mode):
        problem = UnfitFileError("is not a regular file")
    elif about.st_size == 0:
        problem = UnreadableReportError("is empty")
    elif about.st_size > limit:
        problem = UnfitFileError(f"has {about.st_size / 2**20:.0f} MiB; the limit is {limit >> 20} MiB")
    if problem:
        os.close(descriptor)
        raise problem
    return os.fdopen(descriptor, "rb")


def nodes(path: Path, roots: tuple[str, ...], wanted: tuple[str, ...]) -> Iterator[Node]:
    """The elements named in `wanted`, each with its content when it ends; the rest of the file is not kept in memory.

    Raises:
        UnreadableReportError: not XML, not of that format, hostile, or too large.
    """
    target = _Target(roots, wanted)
    parser = DefusedXMLParser(target=target)
    with open_report(path, MAX_XML_BYTES) as file:
        try:
            taken = 0
            deadline = time.monotonic() + MAX_SECONDS
            while (chunk := file.read(_CHUNK)) and taken <= MAX_XML_BYTES:  # it may grow while it is read
                taken += len(chunk)
                parser.feed(chunk)
                yield from target.take()
                # Older versions of expat parse an unfinished tag again from its start with each chunk.
                if taken - parser.parser.CurrentByteIndex > _MAX_TAG_BYTES:
                    raise UnreadableReportError(
                        f"has a single tag or comment of more than {_MAX_TAG_BYTES >> 20} MiB"
                    )
                # The parser keeps every name of an element in memory.
                if len(getattr(parser, "_names", ())) > _MAX_NAMES:
                    raise UnreadableReportError(f"has more than {_MAX_NAMES:,} different names of elements")
                if time.monotonic() > deadline:
                    raise UnreadableReportError(f"takes more than {MAX_SECONDS:.0f} s to read")
            parser.close()
            yield from target.take()
        except DefusedXmlException:
            raise UnreadableReportError(
                "declares entities, which are not allowed because attacks use them"
            ) from None
        except ElementTree.ParseError as error:
            raise UnreadableReportError(f"is not well-formed XML: {error}") from None
        except (ValueError, LookupError) as error:  # an unknown encoding
            raise UnreadableReportError(f"is not readable XML: {error}") from None
        except OSError as error:
            raise UnreadableReportError(f"cannot be read: {error.strerror}") from None


def read_json(path: Path) -> Any:
    """The file's JSON value.

    Raises:
        UnreadableReportError: not JSON, or too large.
    """
    with open_report(path, MAX_JSON_BYTES) as file:
        try:
            raw = file.read(MAX_JSON_BYTES)
        except OSError as error:
            raise UnreadableReportError(f"cannot be read: {error.strerror}") from None
    # Each part takes about a hundred bytes of memory, even if its text is short.
    if raw.count(b",") + raw.count(b"[") + raw.count(b"{") > MAX_JSON_PARTS:
        raise UnreadableReportError(f"has more than {MAX_JSON_PARTS:,} parts")
    try:
        return json.loads(raw)
    except RecursionError:
        raise UnreadableReportError("is nested too deeply") from None
    except ValueError as error:
        raise UnreadableReportError(f"is not JSON: {error}") from None


class _Target:
    """Builds nodes from expat's events."""

    def __init__(self, roots: tuple[str, ...], wanted: tuple[str, ...]) -> None:
        self._roots = roots
        self._wanted = wanted
        self._open: Node | None = None
        self._inside = 0
        self._depth = 0
        self._elements = 0
        self._held = 0
        self._done: list[Node] = []

    def take(self) -> list[Node]:
        done, self._done = self._done, []
        return done

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition("}")[2]
        if self._open is None and name not in self._roots:
            expected = " or ".join(f"<{root}>" for root in self._roots)
            raise UnreadableReportError(f"starts with <{name[:40]}>, not with {expected}")
        self._elements += 1
        self._depth += 1
        if self._elements > MAX_ELEMENTS or self._depth > _MAX_DEPTH:
            raise UnreadableReportError(
                f"has more than {MAX_ELEMENTS:,} elements, or more than {_MAX_DEPTH} levels of them"
            )
        node = Node(name, attributes, self._open)
        if self._inside and self._open and self._held < _MAX_HELD:
            self._held += 1
            self._open.children.append(node)
        self._inside += name in self._wanted
        self._open = node

    def data(self, text: str) -> None:
        # The output of a test may be very long, so it is cut.
        held = self._inside and self._held < _MAX_HELD
        if held and self._open and (room := _MAX_TEXT - len(self._open.text)) > 0:
            self._open.text += text[:room]

    def end(self, tag: str) -> None:
        node = self._open
        assert node is not None  # expat checks that tags match
        self._open = node.parent
        self._depth -= 1
        if node.name in self._wanted:
            self._inside -= 1
            self._done.append(node)
            if not self._inside:
                self._held = 0

    def close(self) -> None:
        """Required by the parser; there is nothing to return."""
