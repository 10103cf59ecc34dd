"""Read JSON and YAML from anywhere as plain data that knows in which line each part stands.

Nothing a file holds can take long or fill the memory: its bytes, its depth and its nodes, counted with every alias
written out, are bounded. YAML's scalars stay the text that was written, as AWS reads them; JSON keeps its types.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

import yaml

from prefect_codepipeline.errors import UnreadableDefinition

MAX_BYTES = (
    3_000_000  # CloudFormation takes 1 MB; a definition at every limit printed with indents is below 2 MB
)
MAX_YAML_BYTES = 1_048_576  # as much as CloudFormation takes
MAX_DEPTH = 100
MAX_NODES = 75_000  # the largest definition has about 40,000
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_JSON_START = re.compile(r'\s*(?:\{\s*(?:["}]|\Z)|\[)')
_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+', re.DOTALL)
_HALF_CHARACTER = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])")
_BYTE_ORDER_MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_NULLS = {"", "~", "null", "Null", "NULL"}
_BOOLEANS = {"true", "True", "TRUE", "false", "False", "FALSE"}
_MERGE = "<<"


class Place(NamedTuple):
    """Line and column in a file, both counted from 1."""

    line: int
    column: int


class Repeated(NamedTuple):
    """A key that stands twice in one mapping; the later one counts."""

    path: str
    first: Place
    again: Place

    def __str__(self) -> str:
        key = re.split(r"[.\]]", self.path)[-1]
        return f"key {key!r} stands in line {self.first.line} and again in line {self.again.line}"


@dataclass(frozen=True)
class Document:
    """What a file holds, as plain data, with the place of each part.

    Paths are spelled as `Problem.path` spells them: `stages[1].actions[0].runOrder`; the root's is empty. The place
    of a mapping's value is that of its key.
    """

    name: str
    text: str = field(repr=False)
    format: Literal["json", "yaml"]
    content: Any = field(repr=False)
    repeated: tuple[Repeated, ...] = ()
    _root: _Node | None = field(default=None, repr=False)

    @cached_property
    def places(self) -> Mapping[str, Place]:
        """The place of each path. Found when the first one is asked for, since most files are right."""
        if self._root is None:
            return _json_places(self.text)[0]
        found = {"": self._root.place}
        _yaml_places(self._root, "", found)
        return found

    @cached_property
    def lines(self) -> list[str]:
        """The lines of the text, for showing what is wrong."""
        return _lines(self.text)

    def place_of(self, path: str) -> Place:
        """The place of a path, or of the nearest part around it that is there."""
        while path and path not in self.places:
            path = _parent(path)
        return self.places[path]


@dataclass
class _Node:
    """A part of a YAML file while it is read; `size` counts all below it, aliases written out."""

    place: Place
    value: Any
    size: int = 1
    children: dict[str, _Node] = field(default_factory=dict)  # by their end of the path
    tag: str | None = None
    is_bare: bool = False
    anchor: str | None = None
    key: _Node | None = None  # of a mapping: what waits for its value
    repeats: list[tuple[str, Place, Place]] = field(default_factory=list)
    merged: list[_Node] = field(default_factory=list)


def read_document(content: bytes, name: str) -> Document:
    """The document in some bytes.

    Args:
        content: JSON or YAML in UTF-8, or in UTF-16 or UTF-32 with a byte order mark.
        name: of the file, for messages.

    Raises:
        UnreadableDefinition: it is neither, too large or nested too deeply; with the place.
    """
    if len(content) > MAX_BYTES:
        raise UnreadableDefinition(f"{name}: larger than {MAX_BYTES} bytes, which no definition is")
    return parse_document(_decode(content, name), name)


def parse_document(text: str, name: str) -> Document:
    """The document in a text. Raises as `read_document` does."""
    if half := _HALF_CHARACTER.search(text):
        raise unreadable(name, _place_in(text, half.start()), f"{half[0]} is half of a character", text)
    if _JSON_START.match(text):
        return _read_json(text, name)
    return _read_yaml(text, name)


def _read_yaml(text: str, name: str) -> Document:
    if len(text) > MAX_YAML_BYTES:
        raise UnreadableDefinition(
            f"{name}: larger than {MAX_YAML_BYTES} bytes, which no definition in YAML is"
        )
    reader = _YamlReader(name, text)
    root = reader.read()
    return Document(
        name, text, "yaml", root.value, tuple(_repeats_below(root, "")) if reader.repeats else (), root
    )


def _decode(content: bytes, name: str) -> str:
    encoding = next((found for mark, found in _BYTE_ORDER_MARKS if content.startswith(mark)), "utf-8-sig")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        spelled = encoding.removesuffix("-sig").upper()
        raise UnreadableDefinition(f"{name}: not {spelled} at byte {error.start}") from None


def _parent(path: str) -> str:
    if path.endswith("]"):
        return path.rpartition("[")[0]
    return path.rpartition(".")[0]


def _lines(text: str) -> list[str]:
    # Not `splitlines`: it also cuts at form feeds and the like, which editors do not count.
    return re.split(r"\r\n|\r|\n", text)


def _place_in(text: str, index: int) -> Place:
    before = _lines(text[:index])
    return Place(len(before), len(before[-1]) + 1)


def unreadable(name: str, place: Place, what: str, text: str) -> UnreadableDefinition:
    """The error for what stands at a place, with its line."""
    line = _lines(text)[place.line - 1 : place.line]
    shown = f"\n    {line[0].strip()[:120]}" if line and line[0].strip() else ""
    return UnreadableDefinition(
        f"{name}, line {place.line}, column {place.column}: {what}{shown}",
        line=place.line,
        column=place.column,
    )


# --- JSON ---------------------------------------------------------------------------------------------------------


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
        place = _place_in(text, error.pos)
        raise unreadable(name, place, f"not JSON: {error.msg}", text) from None
    except RecursionError:
        raise _too_deep(name) from None
    except ValueError as error:  # NaN, and numbers of thousands of digits
        raise UnreadableDefinition(f"{name}: not JSON: {error}") from None
    _check_bounds(content, name)
    return Document(name, text, "json", content, tuple(_json_places(text)[1]) if repeats else ())


def _loose_template(text: str, name: str) -> Document | None:
    """A template in JSON with a comma too many and the like, which CloudFormation takes since it is YAML."""
    try:
        document = _read_yaml(text, name)
    except UnreadableDefinition:
        return None
    return document if isinstance(document.content, dict) and "Resources" in document.content else None


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")


def _check_bounds(content: Any, name: str) -> None:
    level, nodes = [content], 0
    for _ in range(MAX_DEPTH):
        level = [inner for part in level for inner in _inside(part)]
        nodes += len(level)
        if nodes > MAX_NODES:
            raise _too_many(name)
        if not level:
            return
    raise _too_deep(name)


def _inside(part: Any) -> Any:
    if isinstance(part, dict):
        return part.values()
    return part if isinstance(part, list) else ()


def _json_places(text: str) -> tuple[dict[str, Place], list[Repeated]]:
    """The place of each path of a text that is JSON, and the keys that stand twice."""
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
    """An object or a list of JSON that is not closed yet."""

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
        """Take a key; where it stood before, when it did."""
        self.key_path = f"{self.path}.{key}" if self.path else key
        self.expects_key = False
        first = self.keys.get(key)
        self.keys[key] = at
        return first


# --- YAML ---------------------------------------------------------------------------------------------------------


class _YamlReader:
    """Builds plain data of YAML's events, so that depth and size are checked before anything is made."""

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
            raise self._unreadable(_place_in(self.text, at), f"not YAML: {error.reason}") from None
        if self.root is None:
            raise UnreadableDefinition(f"{self.name}: empty")
        return self.root

    def _unreadable(self, place: Place, what: str) -> UnreadableDefinition:
        return unreadable(self.name, place, what, self.text)

    def _take(self, event: Any) -> None:
        self.count += 1
        if self.count > 2 * MAX_NODES:  # each mapping and list comes as two events
            raise _too_many(self.name)
        place = Place(event.start_mark.line + 1, event.start_mark.column + 1)
        if isinstance(event, yaml.DocumentStartEvent) and self.root is not None:
            raise self._unreadable(place, "a second document begins here; one is expected")
        if isinstance(event, yaml.AliasEvent):
            self._add(self._of_anchor(str(event.anchor), place))
        elif isinstance(event, yaml.ScalarEvent):
            node = _Node(place, _scalar(event), tag=event.tag, is_bare=not event.style, anchor=event.anchor)
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
            raise self._unreadable(place, f"not YAML: no anchor &{anchor} stands before *{anchor}")
        node = self.anchors[anchor]
        if node is None:
            raise self._unreadable(place, f"*{anchor} stands inside of what it repeats")
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
            raise self._unreadable(key.place, "a key is a text")
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
                raise self._unreadable(key.place, "'<<' merges mappings only")
            parent.merged += parts
            return
        parent.children[f".{key.value}"] = _at(node, key.place)
        parent.value[key.value] = node.value

    def _grow(self, parent: _Node, node: _Node) -> None:
        parent.size += node.size
        if parent.size > MAX_NODES:
            raise _too_many(self.name)


def _at(node: _Node, place: Place) -> _Node:
    return _Node(place, node.value, node.size, node.children, repeats=node.repeats)


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
    # AWS spells booleans in lower case, whatever YAML allows; everything else stays as it was written.
    return text.lower() if is_bare and text in _BOOLEANS else text


def _long_form(node: _Node) -> _Node:
    """`!Sub x` as `{"Fn::Sub": x}`, as CloudFormation reads it; YAML's own tags say nothing here."""
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


def _yaml_places(node: _Node, path: str, found: dict[str, Place]) -> None:
    for end, child in node.children.items():
        inner = (path + end).removeprefix(".")
        found[inner] = child.place
        _yaml_places(child, inner, found)


def _too_deep(name: str) -> UnreadableDefinition:
    return UnreadableDefinition(f"{name}: nested more than {MAX_DEPTH} levels deep")


def _too_many(name: str) -> UnreadableDefinition:
    return UnreadableDefinition(
        f"{name}: more than {MAX_NODES} values, those that aliases repeat counted each time; no definition has as many"
    )
