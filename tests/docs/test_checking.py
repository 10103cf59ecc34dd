"""The commands of docs/checking.md print the output in the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pages import ROOT, blocks_of

from prefect_codepipeline.cli import app

PAGE = ROOT / "docs" / "checking.md"
PIPELINE = """\
name: shop
roleArn: arn:aws:iam::111122223333:role/any
pipelineType: V2
artifactStore: {type: S3, location: any-bucket}
stages:
  - name: Source
    actions:
      - name: Checkout
        actionTypeId: {category: Source, owner: AWS, provider: CodeStarSourceConnection, version: "1"}
        configuration: {ConnectionArn: hub, FullRepositoryId: acme/shop, BranchName: main}
        outputArtifacts:
          - name: Source
  - name: Build
    actions:
      - name: Build
        actionTypeId: {category: Build, owner: AWS, provider: CodeBuild, version: "1"}
        configuration:
          ProjectName: shop
        inputArtifacts:
            - name: Sorce
      - name: Test
        actionTypeId: {category: Test, owner: AWS, provider: CodeBuild, version: "1"}
        configuration: {ProjectName: shop}
        inputArtifacts: [{name: Source}]
"""
BUILDSPEC = """\
version: 0.2
phases:
  build:
    commands:
      - make
      - echo "Hello: world"
"""
APPSPEC = "version: 0.0\nos: linux\nfiles: []\npermissions:\n  - {object: /srv/app, mode: 0644}\n"
TEMPLATE = """\
Resources:
  Synth:
    Type: AWS::CodeBuild::Project
    Properties:
      Source:
        Type: CODEPIPELINE
        BuildSpec: |
          version: 0.2
          phases:
            # what comes out is compiled
            compile: {commands: [make]}
  Pipeline:
    Type: AWS::CodePipeline::Pipeline
    Properties:
      Name: shop
      RoleArn: arn:aws:iam::111122223333:role/any
      ArtifactStore: {Type: S3, Location: any-bucket}
      Stages:
        - Name: Source
          Actions:
            - Name: Checkout
              ActionTypeId: {Category: Source, Owner: AWS, Provider: CodeCommit, Version: 1}
              Configuration: {RepositoryName: shop, BranchName: main}
              OutputArtifacts: [{Name: Code}]
        - Name: Build
          Actions:
            - Name: Synth
              ActionTypeId: {Category: Build, Owner: AWS, Provider: CodeBuild, Version: 1}
              Configuration: {ProjectName: !Ref Synth}
              InputArtifacts: [{Name: Code}]
"""


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("pipeline.yaml", PIPELINE),
        ("buildspec.yml", BUILDSPEC),
        ("appspec.yml", APPSPEC),
        ("t.yml", TEMPLATE),
    ],
)
def test_the_page_prints_what_it_says(
    file: str,
    content: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / file).write_text(content)
    [expected] = [text for _, text in blocks_of(PAGE) if text.startswith(f"{file}:")]

    assert app(["validate", file], result_action="return_value") == 1
    printed = capsys.readouterr().out

    assert [line for line in expected.splitlines() if line not in printed.splitlines()] == []


def test_the_local_hook_checks_pipelines_and_buildspecs_but_no_settings() -> None:
    [hook] = [text for language, text in blocks_of(PAGE) if language == "yaml"]
    patterns = dict(re.findall(r"(files|exclude): (.*)", hook))

    def is_checked(name: str) -> bool:
        return bool(re.search(patterns["files"], name)) and not re.search(patterns["exclude"], name)

    names = (
        "ci/pipeline.json",
        "app/buildspec-test.yml",
        "appspec.yml",
        "pipeline.settings.yaml",
        "pipeline/readme.md",
    )
    assert list(map(is_checked, names)) == [True, True, True, False, False]
