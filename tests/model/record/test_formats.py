"""The versions of the format of facts: what old releases cannot read is marked, and every change of a fact is noticed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from prefect_codepipeline.errors import NewerRecord
from prefect_codepipeline.model.record.facts import AnyFact
from prefect_codepipeline.model.record.format import FORMAT, RELEASES, check_stamp, stamp

FORMATS = Path(__file__).parents[2] / "data" / "records" / "formats"
KINDS = get_args(get_args(AnyFact)[0])


def shape(kind: Any) -> dict[str, Any]:
    """What can be in a fact of a kind, without what is only said about it."""

    def plain(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: plain(each) for key, each in part.items() if key not in ("description", "title")}
        return [plain(each) for each in part] if isinstance(part, list) else part

    return {"format": kind.format, "schema": plain(kind.model_json_schema())}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_no_kind_of_fact_changes_without_a_new_format(kind: Any) -> None:
    kept = json.loads((FORMATS / f"{kind.format}.json").read_text())

    assert kept[kind.model_fields["kind"].default] == shape(kind), (
        "an older release cannot read this: add a line to RELEASES in model/record/format.py, set `format` of the class, "
        "and keep its shape in tests/data/records/formats. Before the release of that format, only its file changes"
    )


def test_each_format_has_a_release_and_the_shapes_of_its_facts() -> None:
    assert {kind.format for kind in KINDS} <= RELEASES.keys()
    assert sorted(RELEASES) == list(range(1, FORMAT + 1))
    assert {path.stem for path in FORMATS.glob("*.json")} == {str(number) for number in RELEASES}


@pytest.mark.parametrize("stamped", [{}, {"format": 1}, stamp(FORMAT)], ids=["absent", "first", "newest"])
def test_what_this_release_knows_is_read(stamped: dict[str, Any]) -> None:
    check_stamp("the record", stamped)


@pytest.mark.parametrize(
    ("stamped", "said"),
    [
        (
            {"format": FORMAT + 1, "needs": "9.1.0"},
            r"the record: its format is \d+, .*needs release 9\.1\.0 of",
        ),
        ({"format": FORMAT + 1}, "it needs the release that wrote it of"),
        ({"format": "2b", "needs": "9.1.0"}, "its format is '2b'"),
    ],
    ids=["newer", "without a release", "another kind of version"],
)
def test_a_newer_format_says_which_release_reads_it(stamped: dict[str, Any], said: str) -> None:
    with pytest.raises(NewerRecord, match=said):
        check_stamp("the record", stamped)
