"""Buildspecs that people wrote: each is read as CodeBuild would read it, and the refused ones say why.

The files and where they come from are in tests/data/buildspec; all of a larger collection are read when
CODEPIPELINE_CORPUS names its folder.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from prefect_codepipeline.documents.reading import read_document
from prefect_codepipeline.model.buildspec.parsing import parse_buildspec

KEPT = Path(__file__).parent.parent.parents[1] / "data" / "buildspec"
# Of before CodeBuild was published: its format has containers where phases are now.
REFUSED = {"aws-samples+aws-serverless-samfarm__api~buildspec.yml": {"version", "phases"}}
# `commands:` with nothing below; CodeBuild goes on with a line in its log.
NO_COMMANDS = {"phases.pre_build.commands"}
OLD_TYPE = {"artifacts.type"}
WARNED = {
    "NickBorgers+BeanstalkGoStack__buildspec.yml": {"eb_codebuild_settings"},
    "aws-samples+aws-codepipeline-codebuild-with-postman__01api~petstore-api-buildspec.yml": OLD_TYPE,
    "aws-samples+aws-serverless-samfarm__api~buildspec.yml": {"environment_variables", "containers"},
    "aws-samples+ci-cd-servicecatalog-ams__lib~pipeline~buildspec.yml": NO_COMMANDS,
    "aws-samples+ci-cd-servicecatalog-ams__src~buildspec.yml": NO_COMMANDS,
    "stelligent+devops-essentials__samples~serverless~alexa~buildspec-alexa.yml": OLD_TYPE,
    "stelligent+devops-essentials__samples~serverless~alexa~buildspec.yml": OLD_TYPE,
}


def _files() -> list[Path]:
    corpus = os.environ.get("CODEPIPELINE_CORPUS")
    files = [*KEPT.glob("*.y*ml"), *(Path(corpus, "buildspec").glob("*.y*ml") if corpus else [])]
    return sorted(files)


@pytest.mark.parametrize("file", _files(), ids=lambda file: file.name)
def test_it_is_read_as_codebuild_reads_it(file: Path) -> None:
    spec, problems = parse_buildspec(read_document(file.read_bytes(), file.name).content)

    assert {p.path for p in problems if p.severity == "error"} == REFUSED.get(file.name, set())
    assert {p.path for p in problems if p.severity == "warning"} == WARNED.get(file.name, set())
    assert (spec is None) == (file.name in REFUSED)
    assert spec is None or any(phase.commands for phase in spec.phases)


def test_each_kept_file_has_an_origin_and_a_licence() -> None:
    with (KEPT / "ORIGINS.csv").open() as lines:
        rows = {row["file"]: row for row in csv.DictReader(lines)}
    assert rows.keys() == {file.name for file in KEPT.glob("*.y*ml")}
    assert len(rows) >= 25
    assert all(row["repo"] and row["commit"] and row["licence"] for row in rows.values())
