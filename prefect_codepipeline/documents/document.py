"""A document: the plain data of a file in JSON or YAML, and the line of each part."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

from prefect_codepipeline.errors import UnreadableDefinition

MAX_DEPTH = 100
MAX_NODES = 75_000  # the largest definition has about 40,000


class Place(NamedTuple):
    """Line and column in a file, both counted from 1."""

    line: int
    column: int


class Repeated(NamedTuple):
    """A key that occurs twice in one mapping; the later one counts."""

    path: str
    first: Place
    again: Place

    def __str__(self) -> str:
        key = re.split(r"[.\]]", self.path)[-1]
        return f"key {key!r} is in line {self.first.line} and again in line {self.again.line}"


@dataclass(frozen=True)
class Document:
    """The content of a file as plain data, with the place of each part.

    Paths have the format of `Problem.path`: `stages[1].actions[0].runOrder`; the path of the root is empty. The place
    of a value in a mapping is the place of its key.
    """

    name: str
    text: str = field(repr=False)
    format: Literal["json", "yaml"]
    content: Any = field(repr=False)
    repeated: tuple[Repeated, ...]
    find_places: Callable[[], Mapping[str, Place]] = field(repr=False)
    find_unquoted: Callable[[], frozenset[str]] = field(repr=False)

    @cached_property
    def places(self) -> Mapping[str, Place]:
        """The place of each path; computed on first use, since most files have no problems to locate."""
        return self.find_places()

    @cached_property
    def unquoted(self) -> frozenset[str]:
        """The paths of texts without quotes in YAML: they are text here, but others may read numbers."""
        return self.find_unquoted()

    @cached_property
    def lines(self) -> list[str]:
        """The lines of the text, to display problems."""
        return _lines(self.text)

    def place_of(self, path: str) -> Place:
        """The place of a path, or of its nearest parent that exists."""
        while path and path not in self.places:
            path = _parent(path)
        return self.places[path]


def _parent(path: str) -> str:
    if path.endswith("]"):
        return path.rpartition("[")[0]
    return path.rpartition(".")[0]


def _lines(text: str) -> list[str]:
    # Not `splitlines`: it also cuts at form feeds and the like, which editors do not count.
    return re.split(r"\r\n|\r|\n", text)


def place_in(text: str, index: int) -> Place:
    """The place of the character at an index."""
    before = _lines(text[:index])
    return Place(len(before), len(before[-1]) + 1)


def unreadable(name: str, place: Place, what: str, text: str) -> UnreadableDefinition:
    """The error for a problem at a place, with the text of its line."""
    line = _lines(text)[place.line - 1 : place.line]
    excerpt = f"\n    {line[0].strip()[:120]}" if line and line[0].strip() else ""
    return UnreadableDefinition(
        f"{name}, line {place.line}, column {place.column}: {what}{excerpt}",
        line=place.line,
        column=place.column,
    )


# --- JSON ---------------------------------------------------------------------------------------------------------


def too_many(name: str) -> UnreadableDefinition:
    """The error for a file with more values than a definition can have."""
    return UnreadableDefinition(
        f"{name}: more than {MAX_NODES} values (with aliases expanded), the limit for a definition"
    )
