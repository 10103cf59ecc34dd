"""Where artifacts are in the bucket of their pipeline."""

from __future__ import annotations

import re

import pytest

from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.wire.artifact_keys import artifact_key, bucket_of

STORE = {"type": "S3", "location": "here"}
STORES = {"us-east-1": {"type": "S3", "location": "east"}, "eu-west-1": {"type": "S3", "location": "west"}}


def test_a_key_has_aws_form_and_differs_for_each_action_execution() -> None:
    key = artifact_key("a-pipeline-with-a-long-name", "SourceArtifact", "x1")

    assert re.fullmatch(r"a-pipeline-with-a-lo/SourceArti/[a-z2-7]{7}", key)
    assert key == artifact_key("a-pipeline-with-a-long-name", "SourceArtifact", "x1")
    others = {
        artifact_key("a-pipeline-with-a-long-name", "SourceArtifact", "x2"),
        artifact_key("a-pipeline-with-a-long-name", "SourceArtifacts", "x1"),
    }
    assert len({key, *others}) == 3


@pytest.mark.parametrize(
    ("stores", "region", "bucket"),
    [
        ({"artifactStore": STORE}, "eu-west-1", "here"),
        ({"artifactStores": STORES}, "eu-west-1", "west"),
        ({"artifactStores": STORES}, "ap-south-1", "east"),
        ({}, "us-east-1", None),
    ],
)
def test_the_bucket_of_an_action(stores: dict[str, object], region: str, bucket: str | None) -> None:
    role = "arn:aws:iam::111122223333:role/pipeline"
    declaration = PipelineDeclaration.model_validate({"name": "p", "roleArn": role, "stages": [], **stores})

    assert bucket_of(declaration, region) == bucket
