"""Read JSON and YAML from untrusted sources as plain data, with the line and column of each part.

The bytes, the depth and the nodes (with every alias expanded) of a file are limited, so no file can take long to read
or fill the memory. YAML scalars stay text, as in AWS; JSON keeps its types.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any

from prefect_codepipeline.documents.document import (
    MAX_DEPTH,
    MAX_NODES,
    Document,
    Place,
    Repeated,
    place_in,
    too_many,
    unreadable,
)
from prefect_codepipeline.errors import UnreadableDefinition

MAX_BYTES = (
    3_000_000  # CloudFormation takes 1 MB; a definition at every limit printed with indents is below 2 MB
)
_JSON_START = re.compile(r'\s*(?:\{\s*(?:["}]|\Z)|\[)')
_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+', re.DOTALL)
_HALF_CHARACTER = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])")
_BYTE_ORDER_MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)


def read_document(content: bytes, name: str) -> Document:
    """Parse a document from bytes.

    Args:
        content: JSON or YAML in UTF-8, or in UTF-16 or UTF-32 with a byte order mark.
        name: the name of the file, for messages.

    Raises:
        UnreadableDefinition: the content is not JSON or YAML, is too large or too deeply nested; with the place.
    """
    if len(content) > MAX_BYTES:
        raise UnreadableDefinition(f"{name}: larger than {MAX_BYTES} bytes, the limit for a definition")
    return parse_document(_decode(content, name), name)


def parse_document(text: str, name: str) -> Document:
    """Parse a document from a text. Raises the same errors as `read_document`."""
    if half := _HALF_CHARACTER.search(text):
        raise unreadable(
            name, place_in(text, half.start()), f"{half[0]} is only the first half of a surrogate pair", text
        )
    if _JSON_START.match(text):
        return _read_json(text, name)
    return _read_yaml(text, name)


def _read_yaml(text: str, name: str) -> Document:
    # Importing PyYAML is slow, and most definitions are JSON.
    from prefect_codepipeline.documents.yaml_reading import read_yaml

    return read_yaml(text, name)


def _decode(content: bytes, name: str) -> str:
    encoding = next((found for mark, found in _BYTE_ORDER_MARKS if content.startswith(mark)), "utf-8-sig")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        spelled = encoding.removesuffix("-sig").upper()
        raise UnreadableDefinition(f"{name}: not {spelled} at byte {error.start}") from None


def _read_json(text: str, name: str) -> Document:
    repeats: list[bool] = []

    def object_of(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) < len(items):
            repeats.append(True)
        return found

    try:
        content = json.loads(text, object_pairs_hook=object_of, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        if template := _loose_template(text, name):
            return template
        place = place_in(text, error.pos)
        raise unreadable(name, place, f"not JSON: {error.msg}", text) from None
    except RecursionError:
        raise _too_deep(name) from None
    except ValueError as error:  # NaN, and numbers of thousands of digits
        raise UnreadableDefinition(f"{name}: not JSON: {error}") from None
    _check_bounds(content, name)
    repeated = tuple(_json_places(text)[1]) if repeats else ()
    return Document(name, text, "json", content, repeated, lambda: _json_places(text)[0], frozenset)


def _loose_template(text: str, name: str) -> Document | None:
    """A template in almost valid JSON (such as a trailing comma), which CloudFormation accepts because it is YAML."""
    try:
        document = _read_yaml(text, name)
    except UnreadableDefinition:
        return None
    return document if isinstance(document.content, dict) and "Resources" in document.content else None


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not a number in JSON")


def _check_bounds(content: Any, name: str) -> None:
    level, nodes = [content], 0
    for _ in range(MAX_DEPTH):
        level = [inner for part in level for inner in _inside(part)]
        nodes += len(level)
        if nodes > MAX_NODES:
            raise too_many(name)
        if not level:
            return
    raise _too_deep(name)


def _inside(part: Any) -> Any:
    if isinstance(part, dict):
        return part.values()
    return part if isinstance(part, list) else ()


def _json_places(text: str) -> tuple[dict[str, Place], list[Repeated]]:
    """The place of each path in a JSON text, and the repeated keys."""
    starts = [0, *(match.end() for match in re.finditer(r"\r\n|\r|\n", text))]
    places: dict[str, Place] = {}
    repeated: list[Repeated] = []
    stack: list[_Open] = []
    for match in _JSON_TOKEN.finditer(text):
        token = match[0]
        line = bisect_right(starts, match.start())
        at = Place(line, match.start() - starts[line - 1] + 1)
        top = stack[-1] if stack else None
        if token in "}]":
            stack.pop()
        elif token == "," and top:
            top.expects_key = top.is_object
            top.index += 1
        elif token == ":":
            pass
        elif top and top.expects_key:
            if first := top.name_entry(json.loads(token), at):
                repeated.append(Repeated(top.entry, first, at))
            places[top.entry] = at
        else:
            path = top.entry if top else ""
            places.setdefault(path, at)
            if token in "{[":
                stack.append(_Open(path, token == "{"))
    return places, repeated


@dataclass
class _Open:
    """An object or a list in JSON that is still open while the text is scanned."""

    path: str
    is_object: bool
    index: int = 0
    expects_key: bool = False
    key_path: str = ""
    keys: dict[str, Place] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.expects_key = self.is_object

    @property
    def entry(self) -> str:
        return self.key_path if self.is_object else f"{self.path}[{self.index}]"

    def name_entry(self, key: str, at: Place) -> Place | None:
        """Add a key; returns its first place if the key is repeated."""
        self.key_path = f"{self.path}.{key}" if self.path else key
        self.expects_key = False
        first = self.keys.get(key)
        self.keys[key] = at
        return first


def _too_deep(name: str) -> UnreadableDefinition:
    return UnreadableDefinition(f"{name}: nested more than {MAX_DEPTH} levels deep")
