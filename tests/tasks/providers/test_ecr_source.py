"""Source/AWS/ECR/1, against moto's ECR over HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import uuid4

import pytest
from faulty_endpoint import Fault, html, json_refusal
from pydantic import ValidationError

from prefect_codepipeline.actions.aws import client
from prefect_codepipeline.actions.registry import ActionResult
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.tasks.providers.ecr_source import EcrSourceConfiguration, read_from_ecr

ACCOUNT = "123456789012"


@pytest.fixture
def repository(aws: Any) -> str:
    name = f"team/app-{uuid4().hex[:8]}"
    aws("ecr").create_repository(repositoryName=name)
    return name


@pytest.fixture
def read(make_aws_context: Any, aws_endpoint: Any) -> Callable[..., ActionResult]:
    def read(
        repository: str, override: str | None = None, region: str | None = None, **more: str
    ) -> ActionResult:
        configuration = EcrSourceConfiguration.model_validate({"RepositoryName": repository, **more})
        context = make_aws_context("Source/ECR", outputs=("Out",), source_revision_override=override)
        if region:
            object.__setattr__(context, "action", context.action.model_copy(update={"region": region}))
        return read_from_ecr(configuration, context)

    return read


def push(aws: Any, repository: str, content: str, *tags: str) -> str:
    """Push an image with these tags; its digest."""
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "size": 7,
            "digest": content,
        },
        "layers": [],
    }
    for tag in tags:
        answer = aws("ecr").put_image(
            repositoryName=repository, imageManifest=json.dumps(manifest), imageTag=tag
        )
    return str(answer["image"]["imageId"]["imageDigest"])


def detail(result: ActionResult) -> dict[str, Any]:
    directory = result.output_artifacts["Out"].directory
    assert [path.name for path in directory.iterdir()] == ["imageDetail.json"]
    return dict(json.loads((directory / "imageDetail.json").read_text()))


def test_the_tagged_image_is_pinned_by_its_digest(aws, repository, read):
    push(aws, repository, "old", "v1")
    digest = push(aws, repository, "new", "latest", "v2")

    result = read(repository)

    uri = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/{repository}@{digest}"
    assert result.output_variables == {
        "RegistryId": ACCOUNT,
        "RepositoryName": repository,
        "ImageTag": "latest",
        "ImageDigest": digest,
        "ImageURI": uri,
    }
    written = detail(result)
    size = aws("ecr").describe_images(repositoryName=repository, imageIds=[{"imageDigest": digest}])
    pushed = datetime.strptime(written.pop("ImagePushedAt"), "%a %b %d %H:%M:%S UTC %Y")
    assert written == {
        "ImageSizeInBytes": str(size["imageDetails"][0]["imageSizeInBytes"]),
        "ImageDigest": digest,
        "Version": "1.0",
        "RegistryId": ACCOUNT,
        "RepositoryName": repository,
        "ImageURI": uri,
        "ImageTags": ["latest", "v2"],
    }
    assert result.source_revision
    assert result.source_revision.revision_id == digest
    assert result.source_revision.created
    assert result.source_revision.created.replace(tzinfo=None, microsecond=0) == pushed
    assert result.summary == f"{repository}:latest"
    assert result.external_execution_url == (
        f"https://us-east-1.console.aws.amazon.com/ecr/repositories/private/{ACCOUNT}/{repository}/_/image/"
        f"{digest}/details?region=us-east-1"
    )


def test_another_tag_and_a_digest_that_is_asked_for(aws, repository, read):
    old = push(aws, repository, "old", "v1")
    push(aws, repository, "new", "latest")

    assert read(repository, ImageTag="v1").output_variables["ImageDigest"] == old
    chosen = read(repository, override=old)
    assert chosen.output_variables["ImageTag"] == "v1"
    assert detail(chosen)["ImageDigest"] == old


def test_an_image_in_china_has_the_address_of_china(aws_endpoint, aws, read):
    import boto3

    name = f"app-{uuid4().hex[:8]}"
    chinese = boto3.client("ecr", endpoint_url=aws_endpoint.url, region_name="cn-north-1")
    chinese.create_repository(repositoryName=name)
    push(lambda _: chinese, name, "x", "latest")

    uri = read(name, region="cn-north-1").output_variables["ImageURI"]

    assert uri.startswith(f"{ACCOUNT}.dkr.ecr.cn-north-1.amazonaws.com.cn/{name}@sha256:")


@pytest.mark.parametrize("wanted", ["v9", f"sha256:{'0' * 64}"])
def test_an_image_that_is_not_there(aws, repository, read, wanted):
    push(aws, repository, "x", "latest")

    with pytest.raises(ActionFailed) as failed:
        read(repository, override=wanted)

    assert str(failed.value) == (
        f"there is no image '{wanted}' of ECR repository '{repository}' in region us-east-1; push it, or correct ImageTag"
    )
    assert failed.value.code == "RevisionUnavailable"


def test_a_repository_that_is_not_there(aws, read):
    with pytest.raises(
        ActionFailed, match="no ECR repository 'nothing' in region us-east-1; correct"
    ) as failed:
        read("nothing")
    assert failed.value.code == "ConfigurationError"


@pytest.mark.parametrize(
    ("fault", "message", "code"),
    [
        (json_refusal(400, "AccessDeniedException", "not allowed"), "AWS refused", "PermissionError"),
        (json_refusal(400, "ExpiredTokenException"), "renew the credentials", "PermissionError"),
        (json_refusal(400, "ThrottlingException"), "AWS refused", "SystemUnavailable"),
        (json_refusal(503, "ServiceUnavailable"), "AWS refused", "SystemUnavailable"),
        ("drop", "AWS did not answer", "SystemUnavailable"),
        (html, "not AWS|does not answer as ECR", "ConfigurationError"),
    ],
)
def test_what_ecr_refuses(repository, read, aws_endpoint, monkeypatch, fault, message, code):
    monkeypatch.setattr(client, "ATTEMPTS", 1)
    aws_endpoint.faults = [Fault("POST", "DescribeImages", fault, times=9)]

    with pytest.raises(ActionFailed, match=message) as failed:
        read(repository)
    assert failed.value.code == code
    assert repository in str(failed.value)
    assert "testing-secret" not in str(failed.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"RepositoryName": ""}, "at least 1 character"), ({"Tag": "x"}, "Extra inputs")],
)
def test_rejects_configuration(change, message):
    with pytest.raises(ValidationError, match=message):
        EcrSourceConfiguration.model_validate({"RepositoryName": "r", **change})
