"""Source/AWS/ECR/1, against moto's ECR over HTTP."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import pytest
from faulty_endpoint import Fault, html, json_refusal
from pydantic import ValidationError

from prefect_codepipeline.actions.aws import client
from prefect_codepipeline.actions.aws.image_registry import Manifest, find_manifest
from prefect_codepipeline.actions.registry import ActionResult
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.definition.action_settings import ActionSettings
from prefect_codepipeline.model.definition.aws_settings import AwsSettings
from prefect_codepipeline.tasks.providers.source.ecr_source import EcrSourceConfiguration, read_from_ecr

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
        (html, "what answered is not AWS; correct the endpoint_url", "ConfigurationError"),
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


class Registry:
    """A registry of images, which gives out tokens to those who have its password."""

    def __init__(self) -> None:
        registry = self
        self.manifest = json.dumps({"schemaVersion": 2, "layers": [{"size": 40}, {"size": 2}]}).encode()
        self.digest = f"sha256:{hashlib.sha256(self.manifest).hexdigest()}"
        self.challenge = "Bearer"
        self.password: str | None = "hunter2"
        self.page: tuple[int, bytes] | None = None

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = registry.answer(self.path, self.headers.get("Authorization", ""))
                self.send_response(status)
                if status == 401:
                    realm = (
                        f'Bearer realm="{registry.url}/token",service="reg",scope="repository:team/app:pull"'
                    )
                    self.send_header("WWW-Authenticate", realm if registry.challenge == "Bearer" else "Basic")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://{self.host}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, path: str, authorization: str) -> tuple[int, bytes]:
        basic = "Basic " + base64.b64encode(f"me:{self.password}".encode()).decode() if self.password else ""
        if path.startswith("/token"):
            asked = "service=reg" in path and "scope=repository%3Ateam%2Fapp%3Apull" in path
            allowed = authorization == basic and asked
            return (200, b'{"token": "t0ken"}') if allowed else (401, b"{}")
        if authorization != ("Bearer t0ken" if self.challenge == "Bearer" else basic):
            return 401, b"{}"
        if self.page:
            return self.page
        there = path in (f"/v2/team/app/manifests/{each}" for each in ("latest", self.digest))
        return (200, self.manifest) if there else (404, b"{}")

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def registry() -> Iterator[Registry]:
    server = Registry()
    yield server
    server.stop()


def test_an_image_in_another_registry(registry, make_aws_context, aws_endpoint):
    registry.password = None
    settings = ActionSettings(aws=AwsSettings(registry=registry.url))
    configuration = EcrSourceConfiguration.model_validate({"RepositoryName": "team/app"})

    def read(override: str | None = None) -> ActionResult:
        given = {"settings": settings, "source_revision_override": override}
        return read_from_ecr(configuration, make_aws_context("Source/ECR", outputs=("Out",), **given))

    result = read()

    uri = f"{registry.host}/team/app@{registry.digest}"
    assert result.output_variables == {
        "RegistryId": registry.host,
        "RepositoryName": "team/app",
        "ImageTag": "latest",
        "ImageDigest": registry.digest,
        "ImageURI": uri,
    }
    assert detail(result) == {
        "ImageSizeInBytes": "42",
        "ImageDigest": registry.digest,
        "Version": "1.0",
        "ImagePushedAt": "",
        "RegistryId": registry.host,
        "RepositoryName": "team/app",
        "ImageURI": uri,
        "ImageTags": ["latest"],
    }
    assert read(registry.digest).output_variables["ImageTag"] == ""
    assert aws_endpoint.requests == []


@pytest.mark.parametrize("challenge", ["Bearer", "Basic"])
def test_a_registry_gets_the_password_as_it_asks_for_it(registry, challenge):
    registry.challenge = challenge

    assert find_manifest(f"{registry.url}/", "team/app", "latest", "me:hunter2") == Manifest(
        registry.digest, 42
    )


@pytest.mark.parametrize(
    ("page", "given", "message", "code"),
    [
        (None, {"reference": "v9"}, "there is no such image; push it", "RevisionUnavailable"),
        (None, {"credentials": "me:old"}, "it refused the credentials", "PermissionError"),
        (None, {"credentials": None}, "it refused the credentials", "PermissionError"),
        (None, {"registry": "http://127.0.0.1:1"}, "it did not answer", "SystemUnavailable"),
        ((503, b""), {}, "it answered 503; try again later", "SystemUnavailable"),
        ((429, b""), {}, "it answered 429", "SystemUnavailable"),
        ((302, b""), {}, "it answered 302; correct 'registry'", "ConfigurationError"),
        ((200, b"<html>"), {}, "does not answer as a registry does", "ConfigurationError"),
        ((200, b'{"schemaVersion": 1}'), {}, "is not a manifest", "ConfigurationError"),
        ((200, b"x" * (5 << 20)), {}, "more than 4194304 bytes", "ConfigurationError"),
        (
            (200, b'{"schemaVersion": 2}'),
            {"reference": f"sha256:{'0' * 64}"},
            "another image",
            "ConfigurationError",
        ),
    ],
)
def test_what_another_registry_refuses(registry, page, given, message, code):
    registry.page = page
    usual = {"registry": registry.url, "reference": "latest", "credentials": "me:hunter2"}

    with pytest.raises(ActionFailed) as failed:
        find_manifest(repository="team/app", **{**usual, **given})

    assert message in str(failed.value)
    assert failed.value.code == code
    assert "hunter2" not in str(failed.value)
    assert "t0ken" not in str(failed.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"RepositoryName": ""}, "at least 1 character"), ({"Tag": "x"}, "Extra inputs")],
)
def test_rejects_configuration(change, message):
    with pytest.raises(ValidationError, match=message):
        EcrSourceConfiguration.model_validate({"RepositoryName": "r", **change})
