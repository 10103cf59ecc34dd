"""Read a report file that a build wrote, which may be anything: bounded in bytes, parts, depth and memory."""

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
    """The file is no report of that format; says why, without the file's name."""


class UnfitFileError(UnreadableReportError):
    """It is not even a file that can be kept."""


@dataclass
class Node:
    """An element by its local name; children are only there below an element that was asked for."""

    name: str
    attributes: dict[str, str]
    parent: Node | None = None
    children: list[Node] = field(default_factory=list)
    text: str = ""

    def get(self, *names: str) -> str:
        """The first of these attributes that says something."""
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
        UnfitFileError: it is none, or too large.
        UnreadableReportError: it is empty.
    """
    try:
        # Opening a named pipe would wait for a writer.
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
        problem = UnfitFileError(
            f"has {about.st_size / 2**20:.0f} MiB, and no more than {limit >> 20} MiB are read"
        )
    if problem:
        os.close(descriptor)
        raise problem
    return os.fdopen(descriptor, "rb")


def nodes(path: Path, roots: tuple[str, ...], wanted: tuple[str, ...]) -> Iterator[Node]:
    """The elements named in `wanted`, each when it ends, with all that is in it; the rest of the file is not held.

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
                # Older expat reads an unfinished tag from its beginning again with each piece.
                if taken - parser.parser.CurrentByteIndex > _MAX_TAG_BYTES:
                    raise UnreadableReportError(
                        f"has a single tag or comment of more than {_MAX_TAG_BYTES >> 20} MiB"
                    )
                # The parser remembers every name that it has seen.
                if len(getattr(parser, "_names", ())) > _MAX_NAMES:
                    raise UnreadableReportError(f"has more than {_MAX_NAMES:,} different names of elements")
                if time.monotonic() > deadline:
                    raise UnreadableReportError(f"takes more than {MAX_SECONDS:.0f} s to read")
            parser.close()
            yield from target.take()
        except DefusedXmlException:
            raise UnreadableReportError(
                "declares entities, which no report needs and attacks are made of"
            ) from None
        except ElementTree.ParseError as error:
            raise UnreadableReportError(f"is not well-formed XML: {error}") from None
        except (ValueError, LookupError) as error:  # an encoding that nobody knows
            raise UnreadableReportError(f"is not XML that can be read: {error}") from None
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
    # Each part takes some hundred bytes of memory, however short it is written.
    if raw.count(b",") + raw.count(b"[") + raw.count(b"{") > MAX_JSON_PARTS:
        raise UnreadableReportError(f"has more than {MAX_JSON_PARTS:,} parts")
    try:
        return json.loads(raw)
    except RecursionError:
        raise UnreadableReportError("is nested too deeply") from None
    except ValueError as error:
        raise UnreadableReportError(f"is not JSON: {error}") from None


class _Target:
    """What expat tells of, made into nodes."""

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
            raise UnreadableReportError(f"begins with <{name[:40]}> where {expected} is expected")
        self._elements += 1
        self._depth += 1
        if self._elements > MAX_ELEMENTS or self._depth > _MAX_DEPTH:
            raise UnreadableReportError(
                f"has more than {MAX_ELEMENTS:,} elements, or more than {_MAX_DEPTH} within one another"
            )
        node = Node(name, attributes, self._open)
        if self._inside and self._open and self._held < _MAX_HELD:
            self._held += 1
            self._open.children.append(node)
        self._inside += name in self._wanted
        self._open = node

    def data(self, text: str) -> None:
        # What a test printed may be without bound, so what is long is cut.
        held = self._inside and self._held < _MAX_HELD
        if held and self._open and (room := _MAX_TEXT - len(self._open.text)) > 0:
            self._open.text += text[:room]

    def end(self, tag: str) -> None:
        node = self._open
        assert node is not None  # expat pairs them
        self._open = node.parent
        self._depth -= 1
        if node.name in self._wanted:
            self._inside -= 1
            self._done.append(node)
            if not self._inside:
                self._held = 0

    def close(self) -> None:
        """Nothing is left to tell."""
