"""Files become plain data that knows its lines, and no file takes long, fills the memory or ends in a traceback."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_codepipeline.documents.document import Document, Place
from prefect_codepipeline.documents.reading import parse_document, read_document
from prefect_codepipeline.errors import UnreadableDefinition

YAML = """\
name: p
stages:
  - name: Source
    actions:
      - {name: Checkout, runOrder: 1}
      - name: Second
        configuration:
          Branch: main
"""
JSON = """\
{"name": "p",
 "stages": [
   {"name": "Source", "actions": [
     {"name": "Checkout", "runOrder": 1},
     {"name": "Second",
      "configuration": {"Bra\\u006ech": "{[,:]}\\""}}]}]}
"""


@pytest.mark.parametrize(
    ("text", "path", "place"),
    [
        pytest.param(YAML, "", (1, 1), id="YAML: the root"),
        pytest.param(YAML, "name", (1, 1), id="YAML: a key"),
        pytest.param(YAML, "stages[0]", (3, 5), id="YAML: an item"),
        pytest.param(YAML, "stages[0].actions[0].runOrder", (5, 26), id="YAML: a key in braces"),
        pytest.param(YAML, "stages[0].actions[1].configuration.Branch", (8, 11), id="YAML: deep"),
        pytest.param(YAML, "stages[0].actions[1].runOrder", (6, 9), id="YAML: missing, its parent"),
        pytest.param(YAML, "nothing[3].here", (1, 1), id="YAML: missing, the root"),
        pytest.param(YAML.replace("\n", "\r\n"), "stages[0].actions[0].runOrder", (5, 26), id="YAML: CRLF"),
        pytest.param(JSON, "", (1, 1), id="JSON: the root"),
        pytest.param(JSON, "name", (1, 2), id="JSON: a key"),
        pytest.param(JSON, "stages[0]", (3, 4), id="JSON: an item"),
        pytest.param(JSON, "stages[0].actions[0].runOrder", (4, 27), id="JSON: deep"),
        pytest.param(JSON, "stages[0].actions[1].configuration.Branch", (6, 25), id="JSON: an escaped key"),
        pytest.param(JSON, "stages[0].actions[1].runOrder", (5, 6), id="JSON: missing, its parent"),
        pytest.param(JSON.replace("\n", "\r\n"), "stages[0].actions[0].runOrder", (4, 27), id="JSON: CRLF"),
    ],
)
def test_each_part_knows_its_line_and_column(text: str, path: str, place: tuple[int, int]) -> None:
    assert parse_document(text, "p").place_of(path) == Place(*place)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("text", ["name: Straße", '{"name": "Straße"}'])
def test_the_encodings_editors_save_in_are_read(text: str, encoding: str) -> None:
    assert read_document(text.encode(encoding), "p").content == {"name": "Straße"}


@pytest.mark.parametrize(
    ("text", "content"),
    [
        pytest.param("a: True", {"a": "true"}, id="a boolean as AWS spells it"),
        pytest.param("a: 'True'", {"a": "True"}, id="a text that looks like one"),
        pytest.param(
            "a: 0123\nb: 1_000\nc: 12:30:00", {"a": "0123", "b": "1_000", "c": "12:30:00"}, id="digits"
        ),
        pytest.param("a: ~\nb:\nc: ''", {"a": None, "b": None, "c": ""}, id="nothing, and an empty text"),
        pytest.param("1: a\ntrue: b", {"1": "a", "true": "b"}, id="keys that look like numbers"),
        pytest.param("a: &x {b: c}\nd: *x", {"a": {"b": "c"}, "d": {"b": "c"}}, id="an alias"),
        pytest.param(
            "a: &x {b: 1, c: 1}\nd: {<<: *x, b: 2}",
            {"a": {"b": "1", "c": "1"}, "d": {"b": "2", "c": "1"}},
            id="a merge",
        ),
        pytest.param("a: {'<<': b}", {"a": {"<<": "b"}}, id="a text that looks like a merge"),
        pytest.param("!Ref A", {"Ref": "A"}, id="!Ref"),
        pytest.param("!GetAtt A.B.C", {"Fn::GetAtt": ["A", "B.C"]}, id="!GetAtt of a text"),
        pytest.param("!GetAtt [A, B]", {"Fn::GetAtt": ["A", "B"]}, id="!GetAtt of a list"),
        pytest.param("!Sub '${A}'", {"Fn::Sub": "${A}"}, id="!Sub"),
        pytest.param(
            "!If [C, !Join ['', [a, !Ref B]], d]",
            {"Fn::If": ["C", {"Fn::Join": ["", ["a", {"Ref": "B"}]]}, "d"]},
            id="tags in tags",
        ),
        pytest.param("a: !Condition C", {"a": {"Condition": "C"}}, id="!Condition"),
        pytest.param("a: !!str 1", {"a": "1"}, id="a tag of YAML's own"),
        pytest.param('{"a": 1, "b": true}', {"a": 1, "b": True}, id="JSON keeps its types"),
        pytest.param(
            '{"Resources": {"A": [1,],},}', {"Resources": {"A": ["1"]}}, id="a template's extra commas"
        ),
        pytest.param("{name: p}", {"name": "p"}, id="YAML in braces"),
    ],
)
def test_what_is_written_is_read_as_aws_reads_it(text: str, content: Any) -> None:
    assert parse_document(text, "p").content == content


@pytest.mark.parametrize(
    ("text", "path", "lines"),
    [
        pytest.param("a:\n  b: 1\n  c: 2\n  b: 3", "a.b", (2, 4), id="YAML"),
        pytest.param('{"a": [{"b": 1,\n "c": 2,\n "b": 3}]}', "a[0].b", (1, 3), id="JSON"),
        pytest.param("!If [C, {b: 1,\n b: 2}, d]", "Fn::If[1].b", (1, 2), id="below a tag"),
    ],
)
def test_a_key_that_stands_twice_is_known_with_both_lines(
    text: str, path: str, lines: tuple[int, int]
) -> None:
    (repeated,) = parse_document(text, "p").repeated

    assert (repeated.path, (repeated.first.line, repeated.again.line)) == (path, lines)
    assert str(repeated) == f"key 'b' is in line {lines[0]} and again in line {lines[1]}"


BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"\xff\xfea", "not UTF-16 at byte 2", id="half of UTF-16"),
        pytest.param("a: b".encode("utf-16-le"), "line 1, column 2: not YAML: control char", id="no mark"),
        pytest.param(b"a: \x07", "line 1, column 4: not YAML: control characters", id="a bell"),
        pytest.param(b"a:\n\t- b", "line 2, column 1: not YAML: found character that cannot", id="a tab"),
        pytest.param(b'{"a": NaN}', "NaN is not a number in JSON", id="not a number"),
        pytest.param(b'{"a": ' + b"9" * 5000 + b"}", "not JSON: Exceeds the limit", id="a number too long"),
        pytest.param(
            b'{"a":\n "\\ud800"}',
            "line 2, column 3: \\ud800 is only the first half of a surrogate pair",
            id="surrogate",
        ),
        pytest.param(b"a: 1\n---\nb: 2", "line 2, column 1: a second document", id="two documents"),
        pytest.param(
            b"a: &x [*x]", "line 1, column 8: *x is inside of the part that it repeats", id="a cycle"
        ),
        pytest.param(b"a: *x", "there is no anchor &x before", id="an alias of nothing"),
        pytest.param(b"a: {<<: [b]}", "'<<' can merge only mappings", id="a merge of texts"),
        pytest.param(
            b"? {a: b}\n: c", "line 1, column 3: a key must be a text", id="a key that is a mapping"
        ),
        pytest.param(BOMB.encode(), "more than 75000 values", id="a billion laughs"),
        pytest.param(b"a: &x [1,2,3]\nb: [" + b"*x," * 100_000 + b"]", "more than 75000", id="aliases"),
        pytest.param(b"[" * 2_000_000, "more than 100 levels", id="deep JSON"),
        pytest.param(b"a: " + b"{b: " * 200_000, "more than 100 levels", id="deep YAML in braces"),
        pytest.param(b"a: " + b"- " * 500_000, "", id="deep YAML on a line"),
        pytest.param(
            "\n".join(" " * n + "a:" for n in range(1400)).encode(), "line 101, column 101", id="deep YAML"
        ),
        pytest.param(b"[" + b"[]," * 900_000 + b"[]]", "more than 75000 values", id="wide JSON"),
        pytest.param(b"- a: b\n" * 149_000, "more than 75000 values", id="wide YAML"),
        pytest.param(b"a" * 50_000_000, "larger than 3000000 bytes", id="50 MB"),
        pytest.param(b"a: " + b"b" * 2_000_000, "larger than 1048576 bytes", id="YAML of 2 MB"),
    ],
)
def test_what_cannot_be_read_is_refused_at_once(content: bytes, message: str) -> None:
    start = time.process_time()
    with pytest.raises(UnreadableDefinition, match="file") as caught:
        read_document(content, "file")

    assert message in str(caught.value)
    assert len(str(caught.value)) < 400
    assert time.process_time() - start < 10  # 1 s where nothing else runs


def _paths(value: Any, path: str = "") -> list[str]:
    if isinstance(value, dict):
        inner = [(f"{path}.{key}".removeprefix("."), child) for key, child in value.items()]
    else:
        inner = (
            [(f"{path}[{index}]", child) for index, child in enumerate(value)]
            if isinstance(value, list)
            else []
        )
    return [path, *(found for end, child in inner for found in _paths(child, end))]


KEYS = st.sampled_from(["name", "stages", "Fn::If", "a b", "ü", '"'])
DATA = st.recursive(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(KEYS, DATA, min_size=1))
def test_json_and_yaml_say_the_same_and_every_path_has_its_place(data: dict[str, Any]) -> None:
    documents: list[Document] = [
        parse_document(json.dumps(data, indent=1), "p"),
        parse_document(yaml.safe_dump(data, allow_unicode=True), "p"),
    ]

    for document in documents:
        assert document.content == data
        assert set(document.places) == set(_paths(data))
        lines = document.lines
        assert all(place.line <= len(lines) for place in document.places.values())


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | st.text("{}[]:,-!&*<'\"\n\t ab#|>%@`", max_size=60).map(str.encode))
def test_whatever_bytes_there_are_give_a_document_or_a_message(content: bytes) -> None:
    document = None
    with contextlib.suppress(UnreadableDefinition):
        document = read_document(content, "file")

    assert document is None or document.place_of("a.b[0]")
