"""Read YAML as plain data that knows in which line each part stands; see `reading`, which calls it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

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

MAX_YAML_BYTES = 1_048_576  # CloudFormation's limit
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULLS = {"", "~", "null", "Null", "NULL"}
_BOOLEANS = {"true", "True", "TRUE", "false", "False", "FALSE"}
_MERGE = "<<"


def read_yaml(text: str, name: str) -> Document:
    """Parse a text as YAML. Raises `UnreadableDefinition`."""
    if len(text) > MAX_YAML_BYTES:
        raise UnreadableDefinition(
            f"{name}: larger than {MAX_YAML_BYTES} bytes, the limit for a definition in YAML"
        )
    reader = _YamlReader(name, text)
    root = reader.read()
    repeated = tuple(_repeats_below(root, "")) if reader.repeats else ()
    return Document(
        name,
        text,
        "yaml",
        root.value,
        repeated,
        lambda: _places(root),
        lambda: frozenset(_unquoted(root, "")),
    )


@dataclass
class _Node:
    """A part of a YAML file while it is read; `size` counts all parts below it, with aliases expanded."""

    place: Place
    value: Any
    size: int = 1
    children: dict[str, _Node] = field(default_factory=dict)  # by the last part of the path
    tag: str | None = None
    is_bare: bool = False
    anchor: str | None = None
    key: _Node | None = None  # of a mapping: the key whose value comes next
    repeats: list[tuple[str, Place, Place]] = field(default_factory=list)
    merged: list[_Node] = field(default_factory=list)


class _YamlReader:
    """Builds plain data from YAML's events, so that depth and size are checked before objects are created."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self.anchors: dict[str, _Node | None] = {}  # None while it is open
        self.open: list[_Node] = []
        self.root: _Node | None = None
        self.count = 0
        self.repeats = False

    def read(self) -> _Node:
        try:
            for event in yaml.parse(self.text, Loader=_LOADER):
                self._take(event)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
            raise self._unreadable(place, f"not YAML: {error.problem or error.context or ''}") from None
        except yaml.reader.ReaderError as error:
            at = max(error.position, 0)
            raise self._unreadable(place_in(self.text, at), f"not YAML: {error.reason}") from None
        if self.root is None:
            raise UnreadableDefinition(f"{self.name}: empty")
        return self.root

    def _unreadable(self, place: Place, what: str) -> UnreadableDefinition:
        return unreadable(self.name, place, what, self.text)

    def _take(self, event: Any) -> None:
        self.count += 1
        if self.count > 2 * MAX_NODES:  # each mapping and list comes as two events
            raise too_many(self.name)
        place = Place(event.start_mark.line + 1, event.start_mark.column + 1)
        if isinstance(event, yaml.DocumentStartEvent) and self.root is not None:
            raise self._unreadable(place, "a second document starts here; only one is allowed")
        if isinstance(event, yaml.AliasEvent):
            self._add(self._of_anchor(str(event.anchor), place))
        elif isinstance(event, yaml.ScalarEvent):
            node = _Node(
                place,
                _scalar(event),
                tag=event.tag,
                is_bare=not event.style and event.tag is None,
                anchor=event.anchor,
            )
            self._finish(node)
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            value: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
            self._begin(_Node(place, value, tag=event.tag, anchor=event.anchor))
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            node = self.open.pop()
            _merge(node)
            self._finish(node)

    def _begin(self, node: _Node) -> None:
        if len(self.open) >= MAX_DEPTH:
            raise self._unreadable(node.place, f"nested more than {MAX_DEPTH} levels deep")
        if node.anchor:
            self.anchors[node.anchor] = None
        self.open.append(node)

    def _finish(self, node: _Node) -> None:
        anchor, node.anchor = node.anchor, None
        node = _long_form(node)
        if anchor:
            self.anchors[anchor] = node
        self._add(node)

    def _of_anchor(self, anchor: str, place: Place) -> _Node:
        if anchor not in self.anchors:
            raise self._unreadable(place, f"not YAML: there is no anchor &{anchor} before *{anchor}")
        node = self.anchors[anchor]
        if node is None:
            raise self._unreadable(place, f"*{anchor} is inside of the part that it repeats")
        return node

    def _add(self, node: _Node) -> None:
        if not self.open:
            self.root = node
            return
        parent = self.open[-1]
        if isinstance(parent.value, list):
            parent.children[f"[{len(parent.value)}]"] = node
            parent.value.append(node.value)
            self._grow(parent, node)
        elif parent.key is None:
            self._take_key(parent, node)
        else:
            self._take_value(parent, parent.key, node)

    def _take_key(self, parent: _Node, key: _Node) -> None:
        if not isinstance(key.value, str) and key.value is not None:
            raise self._unreadable(key.place, "a key must be a text")
        if key.value is None:
            key = _Node(key.place, "null")
        if before := parent.children.get(f".{key.value}"):
            parent.repeats.append((key.value, before.place, key.place))
            self.repeats = True
        parent.key = key

    def _take_value(self, parent: _Node, key: _Node, node: _Node) -> None:
        parent.key = None
        self._grow(parent, node)
        if key.value == _MERGE and key.is_bare:
            parts = list(node.children.values()) if isinstance(node.value, list) else [node]
            if not all(isinstance(part.value, dict) for part in parts):
                raise self._unreadable(key.place, "'<<' can merge only mappings")
            parent.merged += parts
            return
        parent.children[f".{key.value}"] = _at(node, key.place)
        parent.value[key.value] = node.value

    def _grow(self, parent: _Node, node: _Node) -> None:
        parent.size += node.size
        if parent.size > MAX_NODES:
            raise too_many(self.name)


def _at(node: _Node, place: Place) -> _Node:
    return _Node(place, node.value, node.size, node.children, is_bare=node.is_bare, repeats=node.repeats)


def _merge(node: _Node) -> None:
    for part in node.merged:
        for end, child in part.children.items():
            if end not in node.children:
                node.children[end] = child
                node.value[end[1:]] = child.value


def _scalar(event: yaml.ScalarEvent) -> str | None:
    text = str(event.value)
    is_bare = not event.style and event.tag in (None, "!")
    if is_bare and event.tag is None and text in _NULLS:
        return None
    # AWS writes booleans in lower case; everything else stays as it was written.
    return text.lower() if is_bare and text in _BOOLEANS else text


def _long_form(node: _Node) -> _Node:
    """`!Sub x` as `{"Fn::Sub": x}`, as in CloudFormation; YAML's own tags are ignored."""
    tag, node.tag = node.tag, None
    if tag is None or not tag.startswith("!") or tag == "!":
        return node
    function = tag[1:]
    key = function if function in ("Ref", "Condition") else f"Fn::{function}"
    if function == "GetAtt" and isinstance(node.value, str):
        resource, _, attribute = node.value.partition(".")
        node = _Node(node.place, [resource, attribute])
    if function in ("GetAZs", "Sub", "Ref", "ImportValue", "Base64") and node.value is None:
        node = _Node(node.place, "")
    return _Node(node.place, {key: node.value}, node.size + 1, {f".{key}": node})


def _repeats_below(node: _Node, path: str) -> Iterator[Repeated]:
    for key, first, again in node.repeats:
        yield Repeated(f"{path}.{key}".removeprefix("."), first, again)
    for end, child in node.children.items():
        yield from _repeats_below(child, (path + end).removeprefix("."))


def _places(root: _Node) -> Mapping[str, Place]:
    found = {"": root.place}
    _places_below(root, "", found)
    return found


def _places_below(node: _Node, path: str, found: dict[str, Place]) -> None:
    for end, child in node.children.items():
        inner = (path + end).removeprefix(".")
        found[inner] = child.place
        _places_below(child, inner, found)


def _unquoted(node: _Node, path: str) -> Iterator[str]:
    if node.is_bare and isinstance(node.value, str):
        yield path
    for end, child in node.children.items():
        yield from _unquoted(child, (path + end).removeprefix("."))
