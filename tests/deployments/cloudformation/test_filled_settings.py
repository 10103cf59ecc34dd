"""What a template says beside its pipeline becomes the settings of the pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from prefect_codepipeline.deployments.cloudformation.pipelines import ImportedPipeline, import_document
from prefect_codepipeline.deployments.cloudformation.writing import write_imported
from prefect_codepipeline.deployments.files.definition import read_definition
from prefect_codepipeline.deployments.files.settings import read_settings_beside
from prefect_codepipeline.documents.reading import parse_document

TEMPLATE = """\
Parameters: {Bucket: {Type: String}}
Resources:
  Images: {Type: AWS::ECR::Repository}
  P:
    Type: AWS::CodePipeline::Pipeline
    Properties:
      Name: shop
      RoleArn: arn:aws:iam::111122223333:role/p
      ArtifactStore: {Type: S3, Location: STORE}
      Stages:
        - Name: Source
          Actions:
            - Name: Files
              ActionTypeId: {Category: Source, Owner: AWS, Provider: S3, Version: '1'}
              Configuration: {S3Bucket: !Ref Bucket, S3ObjectKey: a.zip, PollForSourceChanges: POLL}
              OutputArtifacts: [{Name: Src}]
            - Name: Image
              ActionTypeId: {Category: Source, Owner: AWS, Provider: ECR, Version: '1'}
              Configuration: {RepositoryName: !Ref Images}
              OutputArtifacts: [{Name: Img}]
            - Name: Other
              ActionTypeId: {Category: Source, Owner: AWS, Provider: ECR, Version: '1'}
              Configuration: {RepositoryName: base}
              OutputArtifacts: [{Name: Base}]
            - Name: Code
              ActionTypeId: {Category: Source, Owner: AWS, Provider: CodeCommit, Version: '1'}
              Configuration: {RepositoryName: shop, BranchName: main, PollForSourceChanges: false}
              OutputArtifacts: [{Name: Code}]
        - Name: Deploy
          Actions:
            - Name: Stack
              ActionTypeId: {Category: Deploy, Owner: AWS, Provider: DEPLOY, Version: '1'}
              Configuration: {}
              InputArtifacts: [{Name: Src}]
"""
RULE = """\
  Rule:
    Type: AWS::Events::Rule
    Properties:
      State: STATE
      EventPattern: PATTERN
      Targets: [{Id: a, RoleArn: r, Arn: !Sub 'arn:aws:codepipeline:${AWS::Region}:${AWS::AccountId}:${P}'}]
"""
TRAIL = "{source: [aws.s3], detail: {requestParameters: {bucketName: [!Ref Bucket], key: [a.zip]}}}"  # by CloudTrail
CREATED = "{source: [aws.s3], 'detail-type': [Object Created], detail: {bucket: {name: [!Ref Bucket]}}}"
PUSHED = "{source: [aws.ecr], detail: {action-type: [PUSH], repository-name: [!Ref Images]}}"


def imported(pattern: str = "", state: str = "ENABLED", region: str = "", **texts: str) -> ImportedPipeline:
    text = TEMPLATE + (RULE.replace("PATTERN", pattern).replace("STATE", state) if pattern else "")
    for word, value in {"POLL": "false", "STORE": "!Ref Bucket", "DEPLOY": "S3", **texts}.items():
        text = text.replace(word, value)
    given = {"AWS::Region": region} if region else {}
    (pipeline,) = import_document(parse_document(text, "t.yaml"), given).pipelines
    return pipeline


def polled(pipeline: ImportedPipeline) -> list[str]:
    return [place for place, each in pipeline.settings.get("overrides", {}).items() if each == {"poll": True}]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        pytest.param(TRAIL, ["Source/Files"], id="an object, by CloudTrail"),
        pytest.param(CREATED, ["Source/Files"], id="an object, by S3"),
        pytest.param(PUSHED, ["Source/Image"], id="an image of one of two repositories"),
        pytest.param("{source: [aws.codecommit], detail: {event: [x]}}", ["Source/Code"], id="a branch"),
        pytest.param(
            '\'{"source": ["aws.ecr"], "detail": {"repository-name": ["base"]}}\'',
            ["Source/Other"],
            id="JSON",
        ),
        pytest.param("{source: [aws.codepipeline]}", [], id="another event"),
        pytest.param("{}", [], id="no source"),
        pytest.param("", [], id="no rule"),
    ],
)
def test_a_rule_that_starts_the_pipeline_becomes_a_poll(pattern: str, expected: list[str]) -> None:
    assert polled(imported(pattern)) == expected


def test_what_is_polled_anyway_or_switched_off_needs_no_setting() -> None:
    assert polled(imported(TRAIL, POLL="true")) == []
    assert polled(imported(TRAIL, state="DISABLED")) == []


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        pytest.param({"region": "eu-west-1"}, {"region": "eu-west-1"}, id="region"),
        pytest.param({"STORE": "store"}, {}, id="uploads read no artifacts from S3"),
        pytest.param(
            {"STORE": "store", "DEPLOY": "CloudFormation"}, {"location": "s3://store"}, id="location"
        ),
        pytest.param({"DEPLOY": "CloudFormation"}, {}, id="a bucket that is not known"),
    ],
)
def test_region_and_location_are_filled_if_an_action_needs_them(
    texts: dict[str, Any], expected: dict[str, str]
) -> None:
    assert imported(**texts).settings == ({"defaults": {"aws": expected}} if expected else {})


def test_the_settings_file_is_one_that_deploy_reads_and_is_never_replaced(tmp_path: Path) -> None:
    files = write_imported(imported(PUSHED, region="eu-west-1"), tmp_path)

    assert [path.name for path in files] == ["shop.json", "shop.resources.yaml", "shop.settings.yaml"]
    settings = read_settings_beside(files[0], read_definition(files[0]))
    assert settings
    assert settings.for_action("Source", "Image").poll
    assert not settings.for_action("Source", "Other").poll
    assert settings.defaults.aws.region == "eu-west-1"

    files[2].write_text("slack_channel: releases\n")
    again = write_imported(imported(PUSHED), tmp_path, replace=True)
    assert files[2] not in again
    assert yaml.safe_load(files[2].read_text()) == {"slack_channel": "releases"}
