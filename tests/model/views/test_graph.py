"""The picture of a definition says all that decides how an execution goes."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.views.graph import draw_mermaid, draw_pipeline

PIPELINES = sorted((Path(__file__).parent.parent.parent / "data" / "pipelines").glob("*.json"))
SVG = "{http://www.w3.org/2000/svg}"


def pipeline(name: str) -> PipelineDeclaration:
    path = next(path for path in PIPELINES if path.stem == name)
    return PipelineDeclaration.model_validate(json.loads(path.read_text())["pipeline"])


def words(svg: str) -> list[str]:
    return ["".join(text.itertext()) for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_the_svg_names_stages_actions_artifacts_conditions_and_run_orders() -> None:
    said = words(draw_pipeline(pipeline("shop-release")))

    for word in (
        "Source", "Build", "Deploy", "Unit", "Compute: Commands", "takes SourceArtifact", "makes UnitOut",
        "variables SourceVariables.*", "run order 2", "onFailure: RETRY FAILED_ACTIONS", "beforeEntry: SKIP unless",
        "OnlyBeta (VariableCheck)", "onSuccess: ROLLBACK unless", "NoAlarm (CloudWatchAlarm)",
    ):  # fmt: skip
        assert word in said


def test_a_long_name_is_cut_and_whole_where_the_pointer_rests() -> None:
    declaration = pipeline("shop-release")
    long = declaration.stages[0].model_copy(update={"name": "A" * 100})

    svg = draw_pipeline(declaration.model_copy(update={"stages": [long, *declaration.stages[1:]]}))

    titles = [title.text for title in ElementTree.fromstring(svg).iter(f"{SVG}title")]
    assert "A" * 100 in titles
    assert f"{'A' * 29}…" in svg


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.stem)
def test_every_real_pipeline_can_be_drawn(path: Path) -> None:
    declaration = pipeline(path.stem)

    assert ElementTree.fromstring(draw_pipeline(declaration)).tag == f"{SVG}svg"
    assert draw_mermaid(declaration).startswith("flowchart LR\n")


def test_mermaid_joins_groups_stages_and_artifacts() -> None:
    assert (
        draw_mermaid(pipeline("shop-release"))
        == """\
flowchart LR
  subgraph s0["Source"]
    direction TB
    s0a0(["Src<br/>Source: CodeStarSourceConnection"])
  end
  subgraph s1["Build"]
    direction TB
    s1a0["Unit<br/>Compute: Commands"]
    s1a1["Image<br/>Build: CodeBuild"]
    s1a2{"Gate<br/>Approval: Manual"}
    s1a0 & s1a1 --> s1a2
    s1onFailure{{"on failure: RETRY FAILED_ACTIONS"}}
    s1a2 -.-> s1onFailure
  end
  subgraph s2["Deploy"]
    direction TB
    s2before{{"before entry: SKIP unless<br/>OnlyBeta (VariableCheck)"}}
    s2a0["Push<br/>Deploy: S3"]
    s2before --> s2a0
    s2onSuccess{{"on success: ROLLBACK unless<br/>NoAlarm (CloudWatchAlarm)"}}
    s2a0 -.-> s2onSuccess
  end
  s0 ==> s1
  s1 ==> s2
  s0a0 -. "SourceArtifact" .-> s1a0
  s0a0 -. "SourceArtifact" .-> s1a1
  s1a0 -. "UnitOut" .-> s2a0
"""
    )
