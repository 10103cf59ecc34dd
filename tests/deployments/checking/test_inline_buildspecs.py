"""A buildspec that stands as text in a template, an action or a block is checked before any build, at its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prefect_codepipeline.deployments.checking.files import check_file, check_files, read_runnable
from prefect_codepipeline.deployments.checking.inline_buildspecs import problems_of_used
from prefect_codepipeline.deployments.cloudformation.pipelines import import_document
from prefect_codepipeline.deployments.cloudformation.writing import write_imported
from prefect_codepipeline.deployments.files.definition import read_file
from prefect_codepipeline.model.problem import InvalidDefinition

TEMPLATE = """\
Resources:
  Synth:
    Type: AWS::CodeBuild::Project
    Properties:
      Name: synth
      Source:
        Type: CODEPIPELINE
        BuildSpec: %s
  Other:
    Type: AWS::CodeBuild::Project
    Properties: {Name: other, Source: {BuildSpec: '{"version": 9}'}}
  P:
    Type: AWS::CodePipeline::Pipeline
    Properties:
      Name: shop
      RoleArn: arn:aws:iam::111122223333:role/x
      ArtifactStore: {Type: S3, Location: any}
      Stages:
        - Name: Source
          Actions:
            - Name: Src
              ActionTypeId: {Category: Source, Owner: AWS, Provider: CodeCommit, Version: '1'}
              Configuration: {RepositoryName: shop, BranchName: main}
              OutputArtifacts: [{Name: Code}]
        - Name: Build
          Actions:
            - Name: Synth
              ActionTypeId: {Category: Build, Owner: AWS, Provider: CodeBuild, Version: '1'}
              Configuration: {ProjectName: !Ref Synth}
              InputArtifacts: [{Name: Code}]
"""
BLOCK = """|
          version: 0.2
          phases:
            compile: {commands: [make]}
"""
WRONG = "phases.compile: Invalid buildspec phase name: compile"


def template(folder: Path, buildspec: str) -> Path:
    path = folder / "t.yaml"
    path.write_text(TEMPLATE % buildspec)
    return path


def imported(folder: Path, buildspec: str) -> Path:
    (pipeline,) = import_document(read_file(template(folder, buildspec))).pipelines
    return write_imported(pipeline, folder)[0]


def errors(path: Path) -> list[tuple[int, int, str]]:
    found = check_file(path).problems
    return [(each.line, each.column, each.message) for each in found if each.severity == "error"]


@pytest.mark.parametrize(
    ("buildspec", "line", "column"),
    [
        pytest.param(BLOCK, 11, 13, id="a block"),
        pytest.param("!Sub " + BLOCK, 11, 13, id="a block with variables"),
        pytest.param("\n          Fn::Sub: " + BLOCK.replace("\n  ", "\n    "), 12, 15, id="a function"),
        pytest.param(
            '\'{"version": "0.2", "phases": {"compile": {"commands": ["make"]}}}\'', 8, 9, id="JSON in a text"
        ),
        pytest.param(
            '!Sub "version: 0.2\\nphases:\\n  compile: {commands: [make ${AWS::Region}]}"',
            8,
            9,
            id="with an unknown value",
        ),
    ],
)
def test_validate_shows_the_line(buildspec: str, line: int, column: int, tmp_path: Path) -> None:
    first = errors(template(tmp_path, buildspec))[0]

    assert first[:2] == (line, column)
    assert WRONG in first[2]


def test_a_text_that_is_no_yaml_says_where(tmp_path: Path) -> None:
    found = errors(template(tmp_path, BLOCK.replace("{commands: [make]}", "[")))

    assert (found[0][0], "the build fails with YAML_FILE_ERROR: the buildspec, line" in found[0][2]) == (
        12,
        True,
    )


@pytest.mark.parametrize(
    "buildspec", ["ci/buildspec.yml", "arn:aws:s3:::bucket/buildspec.yml", "!Ref AWS::Region"]
)
def test_a_path_is_not_a_text(buildspec: str, tmp_path: Path) -> None:
    path = template(tmp_path, buildspec)
    path.write_text(path.read_text().replace('{"version": 9}', "buildspec.yml"))

    assert errors(path) == []


def test_every_project_of_a_template_is_checked_and_of_a_definition_those_that_it_uses(
    tmp_path: Path,
) -> None:
    assert any("version" in message for _, _, message in errors(template(tmp_path, BLOCK)))

    definition = imported(tmp_path, BLOCK)
    checked, beside = check_files([definition])
    assert (checked.has_errors, beside.name) == (False, str(tmp_path / "shop.resources.yaml"))
    (problem,) = beside.problems
    assert WRONG in problem.message
    assert "compile" in beside.lines[problem.line - 1][problem.column - 1 :]


def test_deploy_refuses_it_with_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidDefinition, match=r"shop\.resources\.yaml cannot run: 1 problem\n  line \d+: "
    ) as caught:
        read_runnable(imported(tmp_path, BLOCK))

    assert WRONG in str(caught.value)


def test_an_action_s_own_buildspec_is_checked_instead(tmp_path: Path) -> None:
    definition = imported(tmp_path, BLOCK)
    content = json.loads(definition.read_text())
    configuration = content["pipeline"]["stages"][1]["actions"][0]["configuration"]
    configuration["BuildspecOverride"] = "version: 0.2\nphases: {build: {commands: [make]}}"
    definition.write_text(json.dumps(content, indent=2))
    read_runnable(definition)

    configuration["BuildspecOverride"] = "version: 0.2\nphases: {compile: {commands: [make]}}"
    definition.write_text(json.dumps(content, indent=2))
    (line, _, message), *_ = errors(definition)
    assert WRONG in message
    assert "BuildspecOverride" in definition.read_text().splitlines()[line - 1]
    with pytest.raises(
        InvalidDefinition, match=r"stages\[1\]\.actions\[0\]\.configuration\.BuildspecOverride"
    ):
        read_runnable(definition)


def test_the_block_of_a_project_is_checked_instead_of_the_template(tmp_path: Path) -> None:
    definition = imported(tmp_path, BLOCK)
    wire: dict[str, Any] = json.loads(definition.read_text())["pipeline"]
    beside = tmp_path / "shop.resources.yaml"

    def found(text: str | None) -> list[str]:
        blocks = {"codebuild-project": {"synth": {"buildspec": text}}}
        return [str(problem) for problem in problems_of_used(wire, beside, blocks)]

    assert found("version: 0.2\nphases: {build: {commands: [make]}}") == []
    assert found(None) == []
    (problem,) = found("version: 0.2\nphases: {compile: {commands: [make]}}")
    assert problem.startswith(f"block codebuild-project/synth: buildspec: {WRONG}")
    (problem,) = [str(each) for each in problems_of_used(wire, beside, {})]
    assert problem.startswith(f"{beside}:")
    assert WRONG in problem
