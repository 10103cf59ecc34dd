"""`codepipeline schema` and `codepipeline graph` as a user types them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prefect_codepipeline.cli import app
from prefect_codepipeline.errors import CodePipelineError

HELLO = Path(__file__).parent.parent.parent.parent / "examples" / "hello" / "pipeline.json"


def run(capsys: pytest.CaptureFixture[str], *arguments: Any) -> str:
    assert not app([*map(str, arguments)], result_action="return_value")
    return capsys.readouterr().out


def test_schema_is_printed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(run(capsys, "schema"))["definitions"]["PipelineDeclaration"]


@pytest.mark.parametrize(
    ("arguments", "begins"),
    [
        ([], "<svg "),
        (["--format", "mermaid"], "flowchart LR"),
        (["-o", "hello.svg"], "<svg "),
        (["-o", "hello.mmd"], "flowchart LR"),
        (["--output", "hello.md"], "```mermaid\nflowchart LR"),
    ],
)
def test_graph_writes_what_the_format_or_the_ending_says(
    arguments: list[str],
    begins: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)

    out = run(capsys, "graph", HELLO, *arguments)

    written = [path.read_text() for path in tmp_path.iterdir()]
    assert (written or [out])[0].startswith(begins)
    assert not (written and out)


def test_graph_for_programs_has_the_groups_and_the_way_of_each_artifact(
    capsys: pytest.CaptureFixture[str],
) -> None:
    graph = json.loads(run(capsys, "graph", HELLO, "--json"))

    build = next(stage for stage in graph["stages"] if stage["name"] == "Build")
    [group] = build["groups"]
    assert (group["runOrder"], [each["name"] for each in group["actions"]]) == (1, ["Build", "Test"])
    assert graph["artifacts"][0] == {
        "name": "SourceOutput",
        "from": {"stageName": "Source", "actionName": "Checkout"},
        "to": {"stageName": "Build", "actionName": "Build"},
    }
    with pytest.raises(CodePipelineError, match="without --format and --output"):
        app(["graph", str(HELLO), "--json", "-o", "x.svg"], result_action="return_value")
