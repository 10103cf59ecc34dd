"""A value that nothing here uses is not asked for: a placeholder stands for it, and an export puts it back."""

from __future__ import annotations

from typing import Any

import pytest

from prefect_codepipeline.deployments.checking.needed import NeededValue, needed_values, values_of_variables
from prefect_codepipeline.deployments.checking.runnable import check_runnable
from prefect_codepipeline.deployments.cloudformation.not_used import with_originals
from prefect_codepipeline.deployments.cloudformation.pipelines import ImportedPipeline, import_document
from prefect_codepipeline.deployments.files.resources import Beside, MissingValue
from prefect_codepipeline.documents.reading import parse_document
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.definition.placeholders import name_in_placeholder, placeholder
from prefect_codepipeline.model.validation.rules import is_known

TEMPLATE = """\
Parameters: {Token: {Type: String}, Repo: {Type: String}, Net: {Type: String}}
Resources:
  Role: {Type: AWS::IAM::Role}
  Store: {Type: AWS::S3::Bucket}
  Key: {Type: AWS::KMS::Key}
  Topic: {Type: AWS::SNS::Topic}
  P:
    Type: AWS::CodePipeline::Pipeline
    Properties:
      Name: shop
      PipelineType: V2
      RoleArn: !GetAtt Role.Arn
      ArtifactStore: {Type: S3, Location: !Sub 'x-${Store}', EncryptionKey: {Type: KMS, Id: !Ref Key}}
      Stages:
        - Name: Source
          Actions:
            - Name: Src
              RoleArn: !Sub 'arn:aws:iam::${AWS::AccountId}:role/source'
              ActionTypeId: {Category: Source, Owner: ThirdParty, Provider: GitHub, Version: '1'}
              Configuration: {Owner: me, Repo: !Ref Repo, Branch: main, OAuthToken: !Ref Token}
              OutputArtifacts: [{Name: Code}]
        - Name: Build
          BeforeEntry:
            Conditions:
              - Rules:
                  - Name: alarm
                    RoleArn: !GetAtt Role.Arn
                    RuleTypeId: {Category: Rule, Owner: AWS, Provider: CloudWatchAlarm, Version: '1'}
                    Configuration: {AlarmName: errors, WaitTime: '1'}
          Actions:
            - Name: Test
              ActionTypeId: {Category: Compute, Owner: AWS, Provider: Commands, Version: '1'}
              Configuration: {VpcId: !Ref Net}
              Commands: [make]
              InputArtifacts: [{Name: Code}]
            - Name: Ask
              RunOrder: 2
              ActionTypeId: {Category: Approval, Owner: AWS, Provider: Manual, Version: '1'}
              Configuration: {NotificationArn: !Ref Topic}
"""


def imported(text: str = TEMPLATE, **given: str) -> ImportedPipeline:
    (pipeline,) = import_document(parse_document(text, "t.yaml"), given).pipelines
    return pipeline


def test_only_what_is_used_here_is_asked_for() -> None:
    pipeline = imported()

    assert pipeline.placeholders == {
        "roleArn": "${Role.Arn}",
        "artifactStore.location": "x-${Store}",
        "artifactStore.encryptionKey.id": "${Key}",
        "stages[0].actions[0].roleArn": "arn:aws:iam::${AWS::AccountId}:role/source",
        "stages[0].actions[0].configuration.OAuthToken": "${Token}",
        "stages[1].actions[0].configuration.VpcId": "${Net}",
        "stages[1].actions[1].configuration.NotificationArn": "${Topic}",
    }
    # The repository, and the role that the alarm's rule assumes.
    needed = {value.name: value.paths for value in needed_values(pipeline.wire, pipeline.beside)}
    assert needed == {
        "Repo": ("stages[0].actions[0].configuration.Repo",),
        "Role.Arn": ("stages[1].beforeEntry.conditions[0].rules[0].roleArn",),
    }


def test_placeholders_are_valid_and_can_run() -> None:
    wire = imported(**{"Repo": "shop", "Role.Arn": "arn:aws:iam::111122223333:role/p"}).wire

    problems = check_runnable(PipelineDeclaration.model_validate(wire), region="eu-west-1")
    assert [problem for problem in problems if problem.severity == "error"] == []
    # The token of the connection is used.
    assert wire["stages"][0]["actions"][0]["configuration"]["OAuthToken"] == "****"


def test_known_values_stay_as_they_are() -> None:
    given = {"Token": "t", "Store": "bucket", "Key": "k", "Net": "vpc-1", "AWS::AccountId": "111122223333"}
    pipeline = imported(**given)

    assert set(pipeline.placeholders) == {"roleArn", "stages[1].actions[1].configuration.NotificationArn"}
    assert pipeline.wire["artifactStore"]["location"] == "x-bucket"


def test_a_value_written_into_the_file_is_not_asked_for() -> None:
    pipeline = imported()
    pipeline.wire["stages"][0]["actions"][0]["configuration"]["Repo"] = "shop"

    assert [value.name for value in needed_values(pipeline.wire, pipeline.beside)] == ["Role.Arn"]


def test_the_original_comes_back_except_where_the_placeholder_was_edited() -> None:
    pipeline = imported()
    pipeline.wire["roleArn"] = "arn:aws:iam::111122223333:role/mine"
    wire = with_originals(pipeline.wire, pipeline.placeholders)

    assert wire["roleArn"] == "arn:aws:iam::111122223333:role/mine"
    assert wire["artifactStore"] == {
        "type": "S3",
        "location": "x-${Store}",
        "encryptionKey": {"type": "KMS", "id": "${Key}"},
    }
    assert wire["stages"][0]["actions"][0]["configuration"]["OAuthToken"] == "${Token}"
    assert wire["stages"][1]["actions"][1]["configuration"]["NotificationArn"] == "${Topic}"


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("roleArn", "${Role.Arn}", "arn:aws:iam::000000000000:role/not-used-here-RoleArn"),
        ("location", "${A}-${AWS::Region}-" + "x" * 90, "not-used-here-A-AWSRegion-" + "x" * 37),
        ("NotificationArn", "${T}", "arn:aws:sns:us-east-1:000000000000:not-used-here-T"),
        ("location", "${ }", "not-used-here-value"),
    ],
)
def test_a_placeholder_says_what_it_is(key: str, text: str, expected: str) -> None:
    found = placeholder(key, text)

    assert found == expected
    assert name_in_placeholder(found)
    assert not is_known(found)


@pytest.mark.parametrize("text", ["not-used", "my-not-used-here-x", "arn:aws:iam::111122223333:role/x", ""])
def test_other_texts_are_no_placeholders(text: str) -> None:
    assert name_in_placeholder(text) == ""


def test_a_buildspec_of_a_used_project_needs_its_values() -> None:
    project: dict[str, Any] = {
        "Type": "AWS::CodeBuild::Project",
        "Properties": {"Name": "site", "Source": {"BuildSpec": "version: 0.2 # ${Bucket} ${!HOME}"}},
    }
    pipeline = imported()
    action = pipeline.wire["stages"][1]["actions"][0]
    missing = {**pipeline.missing}
    missing["Bucket"] = type(missing["Repo"])("a bucket", ("resources.Site.Source.BuildSpec",))
    beside = type(pipeline.beside)({}, missing, {"Site": project})

    assert "Bucket" not in [value.name for value in needed_values(pipeline.wire, beside)]
    action["configuration"] = {"ProjectName": "site"}
    assert "Bucket" in [value.name for value in needed_values(pipeline.wire, beside)]
    # A block that exists is not changed, so the template's buildspec is not used.
    assert "Bucket" not in [value.name for value in needed_values(pipeline.wire, beside, {"site"})]


def test_an_unknown_environment_variable_is_told_and_not_needed() -> None:
    variables = [{"Name": "STORE", "Value": "s3://${Store}"}, {"Name": "MODE", "Value": "fast"}]
    project = {
        "Type": "AWS::CodeBuild::Project",
        "Properties": {"Name": "site", "Environment": {"EnvironmentVariables": variables}},
    }
    place = "resources.Site.Environment.EnvironmentVariables[0].Value"
    wire = {"stages": [{"actions": [{"configuration": {"ProjectName": "site"}}]}]}
    beside = Beside({}, {"Store": MissingValue("a bucket", (place,))}, {"Site": project})

    assert needed_values(wire, beside) == []
    assert values_of_variables(wire, beside) == [NeededValue("Store", "a bucket", (place,))]
    assert values_of_variables({"stages": []}, beside) == []
    assert values_of_variables(wire, beside, {"site"}) == []
