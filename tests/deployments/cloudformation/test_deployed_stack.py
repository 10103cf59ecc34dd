"""Values that only the deployed stack of a template knows are read from CloudFormation, on moto over HTTP."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from faulty_endpoint import FaultyEndpoint

from prefect_codepipeline.cli import main

TEMPLATE = """\
Parameters:
  Branch: {Type: String}
  Token: {Type: String, NoEcho: true}
Resources:
  Sources: {Type: AWS::S3::Bucket}
  Site: {Type: AWS::S3::Bucket}
  Images: {Type: AWS::ECR::Repository, Properties: {RepositoryName: !Sub 'images-${AWS::StackName}'}}
  Deployer:
    Type: AWS::IAM::Role
    Properties:
      Path: /teams/
      AssumeRolePolicyDocument:
        Version: '2012-10-17'
        Statement: [{Effect: Allow, Principal: {Service: cloudformation.amazonaws.com}, Action: sts:AssumeRole}]
  Inner:
    Type: AWS::CloudFormation::Stack
    Properties: {TemplateURL: NESTED}
  PIPELINE
Outputs:
  Images: {Value: !GetAtt Images.Arn}
"""
PIPELINE = """\
Build:
    Type: AWS::CodeBuild::Project
    Properties: {Name: !Sub '${Sources}-build', Source: {Type: CODEPIPELINE}}
  Release:
    Type: AWS::CodePipeline::Pipeline
    Properties:
      Name: !Sub '${AWS::StackName}-release'
      RoleArn: !GetAtt Deployer.Arn
      ArtifactStore: {Type: S3, Location: !Ref Sources}
      Stages:
        - Name: Source
          Actions:
            - Name: Files
              ActionTypeId: {Category: Source, Owner: AWS, Provider: S3, Version: '1'}
              Configuration: {S3Bucket: !Ref Sources, S3ObjectKey: !Sub '${Branch}.zip'}
              OutputArtifacts: [{Name: Src}]
            - Name: Image
              ActionTypeId: {Category: Source, Owner: AWS, Provider: ECR, Version: '1'}
              Configuration: {RepositoryName: !Ref Images}
              OutputArtifacts: [{Name: Img}]
        - Name: Deploy
          Actions:
            - Name: Stack
              Region: !Ref AWS::Region
              ActionTypeId: {Category: Deploy, Owner: AWS, Provider: CloudFormation, Version: '1'}
              InputArtifacts: [{Name: Src}]
              Configuration:
                ActionMode: CREATE_UPDATE
                StackName: shop
                TemplatePath: Src::t.yaml
                RoleArn: !GetAtt Deployer.Arn
                ParameterOverrides: !Sub
                  - '{"Site": "${Site.Arn}", "Net": "${Net}", "Queue": "${Inner.Outputs.Queue}", "Images": "${Images.Arn}"}'
                  - Net: !ImportValue EXPORT
            - Name: Site
              ActionTypeId: {Category: Deploy, Owner: AWS, Provider: S3, Version: '1'}
              InputArtifacts: [{Name: Src}]
              Configuration: {BucketName: !Ref Site, Extract: 'true'}
"""
INNER = """\
Resources: {Queue: {Type: AWS::SQS::Queue}}
Outputs: {Queue: {Value: !GetAtt Queue.QueueName}}
"""
ROLE = re.compile(r"arn:aws:iam::123456789012:role/teams/[\w-]+Deployer[\w-]+")


@pytest.fixture
def stack(aws: Callable[[str], Any], make_bucket: Callable[..., str], tmp_path: Path) -> Iterator[str]:
    """The stack that the template in `tmp_path` has made; moto knows neither projects nor pipelines."""
    name, formation = f"shop-{uuid4().hex[:8]}", aws("cloudformation")
    nested = make_bucket()
    aws("s3").put_object(Bucket=nested, Key="inner.yaml", Body=INNER)
    network = f"Resources: {{A: {{Type: AWS::S3::Bucket}}}}\nOutputs: {{N: {{Value: net-7, Export: {{Name: {name}-net}}}}}}"
    formation.create_stack(StackName=f"{name}-network", TemplateBody=network)
    text = TEMPLATE.replace("NESTED", f"https://{nested}.s3.amazonaws.com/inner.yaml")
    formation.create_stack(
        StackName=name,
        TemplateBody=text.replace("  PIPELINE\n", ""),
        Parameters=[
            {"ParameterKey": "Branch", "ParameterValue": "main"},
            {"ParameterKey": "Token", "ParameterValue": "s3cret"},
        ],
        Capabilities=["CAPABILITY_IAM"],
    )
    (tmp_path / "t.yaml").write_text(text.replace("PIPELINE", PIPELINE.replace("EXPORT", f"{name}-net"), 1))
    yield name
    for each in (name, f"{name}-network"):
        formation.delete_stack(StackName=each)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return int(str(ended.value.code))


def test_an_import_with_its_stack_asks_for_nothing(
    stack: str,
    aws: Callable[[str], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("import", "t.yaml") == 0
    assert "or read them from the stack of the template: codepipeline import t.yaml --force --stack NAME" in (
        capsys.readouterr().out
    )

    assert run("import", "t.yaml", "--out", "out", "--stack", stack) == 0

    assert "missing values" not in capsys.readouterr().out
    pipeline = json.loads((tmp_path / "out" / f"{stack}-release.json").read_text())["pipeline"]
    source, deploy = pipeline["stages"]
    resources = aws("cloudformation").list_stack_resources(StackName=stack)["StackResourceSummaries"]
    names = {each["LogicalResourceId"]: each["PhysicalResourceId"] for each in resources}
    assert source["actions"][0]["configuration"] == {
        "S3Bucket": names["Sources"],
        "S3ObjectKey": "main.zip",
    }
    assert source["actions"][1]["configuration"] == {"RepositoryName": f"images-{stack}"}
    configuration = deploy["actions"][0]["configuration"]
    assert ROLE.fullmatch(pipeline["roleArn"])
    assert configuration["RoleArn"] == pipeline["roleArn"]
    overrides = json.loads(configuration["ParameterOverrides"])
    assert overrides == {
        "Site": f"arn:aws:s3:::{names['Site']}",
        "Net": "net-7",
        "Queue": overrides["Queue"],
        "Images": f"arn:aws:ecr:us-east-1:123456789012:repository/images-{stack}",
    }
    assert "Queue" in overrides["Queue"]
    assert deploy["actions"][0]["region"] == "us-east-1"
    assert run("validate", f"out/{stack}-release.json") == 0
    assert "s3cret" not in (tmp_path / "out" / f"{stack}-release.resources.yaml").read_text()


@pytest.mark.live
def test_it_deploys(
    prefect_server: str, stack: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("import", str(tmp_path / "t.yaml"), "--out", str(tmp_path), "--stack", stack) == 0

    assert run("deploy", str(tmp_path / f"{stack}-release.json")) == 0
    assert f"{stack}-release: created, version 1" in capsys.readouterr().out
    assert run("delete", f"{stack}-release", "--yes") == 0


def test_what_is_given_precedes_the_stack(stack: str, tmp_path: Path) -> None:
    arguments = ("--stack", stack, "--region", "us-east-1", "--parameter", "Branch=next")
    assert run("import", str(tmp_path / "t.yaml"), "--out", str(tmp_path), *arguments) == 0

    text = (tmp_path / f"{stack}-release.json").read_text()
    assert "next.zip" in text
    beside = (tmp_path / f"{stack}-release.resources.yaml").read_text()
    assert f"  stack: {stack}\n  region: us-east-1\n" in beside


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(
            ("--stack", "nowhere"),
            "there is no stack 'nowhere' in region us-east-1 of the account; correct --stack, --region or --profile",
            id="no such stack",
        ),
        pytest.param(("--region", "us-east-1"), "--region says where the stack of --stack is", id="no stack"),
        pytest.param(
            ("--stack", "a", "--profile", "none"),
            "The config profile (none) could not be found",
            id="no such profile",
        ),
    ],
)
def test_what_cannot_be_read_is_said(
    arguments: tuple[str, ...],
    message: str,
    aws_endpoint: FaultyEndpoint,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "t.yaml").write_text(TEMPLATE.replace("PIPELINE", PIPELINE, 1))

    assert run("import", str(tmp_path / "t.yaml"), "--out", str(tmp_path / "out"), *arguments) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
