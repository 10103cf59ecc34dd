"""What a template says of a CodeBuild project becomes fields of its block."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from prefect_codepipeline.blocks.codebuild_project import CodeBuildProject
from prefect_codepipeline.deployments.cloudformation.pipelines import import_document
from prefect_codepipeline.deployments.files.definition import read_file
from prefect_codepipeline.deployments.files.project_fields import project_fields
from prefect_codepipeline.deployments.files.resource_kinds import blocks_of

KIND = "AWS::CodeBuild::Project"


def fields_of(text: str) -> tuple[dict[str, Any], list[str]]:
    return project_fields(yaml.safe_load(text))


@pytest.mark.parametrize(
    ("text", "fields", "left_out"),
    [
        (
            """
            Environment:
              Image: aws/codebuild/amazonlinux2-x86_64-standard:5.0
              ComputeType: BUILD_GENERAL1_MEDIUM
              PrivilegedMode: true
              EnvironmentVariables:
                - {Name: STAGE, Value: prod}
                - {Name: KEY, Type: PARAMETER_STORE, Value: /prod/key}
                - {Name: ACCOUNT, Value: '${AWS::AccountId}'}
            Source: {Type: CODEPIPELINE, BuildSpec: ci/build.yml}
            TimeoutInMinutes: '30'
            QueuedTimeoutInMinutes: 60
            ConcurrentBuildLimit: 2
            Cache: {Type: S3, Location: bucket}
            """,
            {
                "image": "public.ecr.aws/codebuild/amazonlinux2-x86_64-standard:5.0",
                "compute_type": "BUILD_GENERAL1_MEDIUM",
                "environment_variables": [
                    {"name": "STAGE", "value": "prod", "type": "PLAINTEXT"},
                    {"name": "KEY", "value": "/prod/key", "type": "PARAMETER_STORE"},
                ],
                "buildspec": "ci/build.yml",
                "timeout_in_minutes": 30,
                "queued_timeout_in_minutes": 60,
                "concurrent_build_limit": 2,
                "cache": "local",
            },
            [
                "variable ACCOUNT is ignored: import with --parameter AWS::AccountId=VALUE",
                "PrivilegedMode is ignored: set privileged or docker_socket in the block if the engine's owner allows it",
            ],
        ),
        (
            "Environment: {Image: 'aws/codebuild/standard:7.0', ComputeType: BUILD_HUGE, PrivilegedMode: 'false'}",
            {},
            [
                "image aws/codebuild/standard:7.0 is not in a public registry: the default image is used",
                "compute type BUILD_HUGE is not known: its builds have no CPU and memory limits",
            ],
        ),
        ("Environment: {Image: 'python:3.13'}", {"image": "python:3.13"}, []),
        ("{Environment: nonsense, Source: [], Cache: 1, TimeoutInMinutes: soon}", {}, []),
    ],
)
def test_what_a_template_says_becomes_fields(text, fields, left_out):
    assert fields_of(text) == (fields, left_out)
    assert CodeBuildProject(**fields)


@pytest.mark.parametrize(
    ("resource", "name"),
    [
        ({"Properties": {"Name": "My_App"}}, "my-app"),
        ({"Properties": {}, "Attributes": {"Ref": "given"}}, "given"),
        ({"Properties": {"Name": "Default"}}, "default-21b111cb"),
        ({"Properties": {"Name": "${AWS::StackName}-build"}}, ""),
        ({"Properties": {}}, ""),
    ],
)
def test_a_block_is_named_as_builds_look_for_it(resource, name):
    (block,) = blocks_of({"Build": {"Type": KIND, **resource}})

    assert (block.name, block.fields is None) == (name, not name)


def test_the_projects_of_the_corpus_become_blocks():
    found = {}
    for path in sorted((Path(__file__).parent.parent.parent / "data" / "templates").glob("*.y*ml")):
        for pipeline in import_document(read_file(path)).pipelines:
            for block in blocks_of(pipeline.resources):
                if block.fields is not None:
                    assert CodeBuildProject(**block.fields)
                    found[path.name, block.name] = block.fields
    assert len(found) >= 3
    assert not any("privileged" in fields for fields in found.values())
