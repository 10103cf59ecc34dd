"""Deploy/AWS/S3/1, against moto's S3 over HTTP."""

from __future__ import annotations

import io
import logging
import os
import threading
import time
import zipfile
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import fsspec
import pytest
from faulty_endpoint import Fault, html, in_another_region, refusal
from pydantic import ValidationError

from prefect_codepipeline.actions.aws import client
from prefect_codepipeline.actions.aws.s3_uploads import content_type
from prefect_codepipeline.actions.registry import ActionContext, ActionResult, Earlier
from prefect_codepipeline.actions.work import InputTree
from prefect_codepipeline.errors import ActionAbandoned, ActionFailed
from prefect_codepipeline.model.definition.action_settings import ActionSettings
from prefect_codepipeline.model.definition.aws_settings import AwsSettings
from prefect_codepipeline.tasks.providers.deploy.s3_deploy import S3DeployConfiguration, deploy_to_s3

FILES = {"index.html": "<p>", "css/site.css": "p {}", "js/app.js": "1", "data/ü b.json": "{}", "raw": "x"}


@pytest.fixture
def site(tmp_path: Path) -> InputTree:
    directory = tmp_path / "Site"
    for name, content in FILES.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(content)
    return InputTree("Site", directory)


@pytest.fixture
def deploy(make_aws_context: Any, site: InputTree, aws_endpoint: Any) -> Callable[..., ActionResult]:
    def deploy(
        bucket: str, extract: str = "true", context: ActionContext | None = None, **more: str
    ) -> ActionResult:
        configuration = S3DeployConfiguration.model_validate(
            {"BucketName": bucket, "Extract": extract, **more}
        )
        return deploy_to_s3(configuration, context or make_aws_context("Deploy/S3", input_artifacts=(site,)))

    return deploy


def content(aws: Any, bucket: str) -> dict[str, str]:
    s3 = aws("s3")
    keys = [each["Key"] for each in s3.list_objects_v2(Bucket=bucket).get("Contents", ())]
    return {key: s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode() for key in keys}


def test_every_file_is_an_object_and_nothing_is_deleted(aws, make_bucket, deploy):
    bucket = make_bucket()
    aws("s3").put_object(Bucket=bucket, Key="old.html", Body=b"old")

    result = deploy(bucket)

    assert content(aws, bucket) == {**FILES, "old.html": "old"}
    assert result.summary == f"5 files uploaded to s3://{bucket}/"
    assert result.external_execution_id == f"{bucket}/"
    assert result.output_variables == {}


def test_types_and_headers_of_each_object(aws, make_bucket, deploy):
    bucket = make_bucket()
    key_arn = aws("kms").create_key()["KeyMetadata"]["Arn"]

    deploy(
        bucket,
        ObjectKey="/v1/",
        CannedACL="public-read",
        CacheControl="public, max-age=60",
        KMSEncryptionKeyARN=key_arn,
    )

    s3 = aws("s3")
    heads = {name: s3.head_object(Bucket=bucket, Key=f"v1/{name}") for name in FILES}
    assert {name: head["ContentType"] for name, head in heads.items()} == {
        "index.html": "text/html",
        "css/site.css": "text/css",
        "js/app.js": "text/javascript",
        "data/ü b.json": "application/json",
        "raw": "binary/octet-stream",
    }
    for head in heads.values():
        assert head["CacheControl"] == "public, max-age=60"
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", key_arn)
    grants = s3.get_object_acl(Bucket=bucket, Key="v1/index.html")["Grants"]
    assert "READ" in [each["Permission"] for each in grants if each["Grantee"]["Type"] == "Group"]


def test_without_extract_there_is_one_archive(aws, make_bucket, deploy):
    bucket = make_bucket()

    result = deploy(bucket, "false", ObjectKey="out/site.zip")

    head = aws("s3").get_object(Bucket=bucket, Key="out/site.zip")
    assert head["ContentType"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(head["Body"].read())) as archive:
        files = {info.filename: archive.read(info) for info in archive.infolist() if not info.is_dir()}
    assert files == {name: text.encode() for name, text in FILES.items()}
    assert result.external_execution_id == f"{bucket}/out/site.zip"


def test_time_and_id_in_the_key_are_those_of_the_action_execution(
    aws, make_bucket, deploy, make_aws_context, site
):
    bucket = make_bucket()
    kept: dict[str, str] = {}
    first = make_aws_context("Deploy/S3", input_artifacts=(site,), keep=lambda **state: kept.update(state))
    key = "releases/{datetime}-{uuid}"

    deploy(bucket, context=first, ObjectKey=key)

    keys = content(aws, bucket).keys()
    ago = datetime.now(timezone.utc).replace(tzinfo=None) - datetime.strptime(
        kept["datetime"], "%Y-%m-%d_%H-%M-%S"
    )
    assert 0 <= ago.total_seconds() < 60
    prefix = f"releases/{kept['datetime']}-{first.action_execution_id}/"
    assert keys == {prefix + name for name in FILES}
    earlier = Earlier(datetime(2026, 3, 2, 9, 14, 7, tzinfo=timezone.utc), state=kept)
    same = {"action_execution_id": first.action_execution_id, "input_artifacts": (site,)}
    deploy(bucket, context=make_aws_context("Deploy/S3", earlier=earlier, **same), ObjectKey=key)
    assert content(aws, bucket).keys() == keys
    # A process that died before it had kept anything had uploaded nothing.
    earlier = Earlier(earlier.started_at)
    result = deploy(
        bucket, "false", make_aws_context("Deploy/S3", earlier=earlier, **same), ObjectKey="{datetime}.zip"
    )
    assert result.external_execution_id == f"{bucket}/2026-03-02_09-14-07.zip"


def test_large_files_go_in_parts(aws, make_bucket, deploy, site, aws_endpoint):
    bucket = make_bucket()
    large = os.urandom((16 << 20) + 1)
    (site.directory / "large.bin").write_bytes(large)
    aws_endpoint.faults = [Fault("PUT", "partNumber=2", refusal(503, "SlowDown"))]

    deploy(bucket)

    got = aws("s3").get_object(Bucket=bucket, Key="large.bin")["Body"].read()
    assert got == large
    assert len(aws_endpoint.asked("PUT", "large.bin?uploadId")) == 4  # three of 8 MiB, and one of them twice
    assert not aws("s3").list_multipart_uploads(Bucket=bucket).get("Uploads")


def test_many_files_go_several_at_once(aws, make_bucket, deploy, site, aws_endpoint):
    bucket = make_bucket()
    for number in range(60):
        (site.directory / f"{number}.txt").write_text(str(number))
    at_once, most, lock = 0, 0, threading.Lock()
    ask = aws_endpoint.ask_upstream

    def counting(request: Any) -> Any:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        try:
            return ask(request)
        finally:
            with lock:
                at_once -= 1

    aws_endpoint.ask_upstream = counting

    assert deploy(bucket).summary.startswith("65 files")
    assert len(aws("s3").list_objects_v2(Bucket=bucket)["Contents"]) == 65
    assert 3 < most <= 10


def test_a_throttled_or_broken_upload_is_repeated(aws, make_bucket, deploy, aws_endpoint):
    bucket = make_bucket()
    aws_endpoint.faults = [Fault("PUT", "raw", refusal(503, "SlowDown")), Fault("PUT", "css", "drop")]

    deploy(bucket)

    assert content(aws, bucket) == FILES


def test_the_first_failure_ends_the_uploads_and_names_the_object(
    aws, make_bucket, deploy, site, aws_endpoint
):
    bucket = make_bucket()
    for number in range(300):
        (site.directory / f"{number}.txt").write_text(str(number))
    aws_endpoint.faults = [
        Fault("PUT", r"/0\.txt", refusal(403, "AccessDenied", "no"), times=9),
    ]

    with pytest.raises(ActionFailed) as failed:
        deploy(bucket)

    assert f"uploading s3://{bucket}/0.txt in region us-east-1: AWS refused" in str(failed.value)
    assert failed.value.code == "PermissionError"
    assert "testing-secret" not in str(failed.value)
    assert len(aws_endpoint.asked("PUT")) < 100


@pytest.mark.parametrize(
    ("fault", "message", "code"),
    [
        (refusal(404, "NoSuchBucket"), "there is no bucket", "ConfigurationError"),
        (refusal(400, "AccessControlListNotSupported"), "remove CannedACL", "ConfigurationError"),
        (in_another_region, "is in region 'eu-west-1'; set 'region' on the action", "ConfigurationError"),
        (refusal(400, "ExpiredToken"), "renew the credentials", "PermissionError"),
        (refusal(403, "RequestTimeTooSkewed"), "the clock of the worker", "PermissionError"),
        (refusal(503, "SlowDown"), "AWS refused", "SystemUnavailable"),
        ("drop", "AWS did not answer", "SystemUnavailable"),
    ],
)
def test_what_s3_refuses(make_bucket, deploy, aws_endpoint, monkeypatch, fault, message, code):
    monkeypatch.setattr(client, "ATTEMPTS", 1)
    aws_endpoint.faults = [Fault("PUT", "bucket-", fault, times=99)]

    with pytest.raises(ActionFailed, match=message) as failed:
        deploy(make_bucket())
    assert failed.value.code == code


def test_an_endpoint_that_answers_html(make_bucket, deploy, aws_endpoint):
    aws_endpoint.faults = [Fault("PUT", "bucket-", html, times=99)]

    with pytest.raises(
        ActionFailed, match=r"uploading s3://.*: what answered is not AWS; correct the endpoint_url"
    ):
        deploy(make_bucket())


@pytest.mark.parametrize(
    ("extract", "key", "message"),
    [
        ("true", "../site", "'..' as the name of a folder"),
        ("true", "a" * 1020, "bytes; S3 allows 1 to 1024"),
        ("false", "a" * 1025, "has 1025 bytes; S3 allows 1 to 1024"),
        ("false", "", "give the key of the archive"),
        ("false", "folder/", "ends with '/', which is a folder"),
    ],
)
def test_a_key_that_cannot_be_is_refused_before_anything_is_uploaded(
    aws, make_bucket, deploy, extract, key, message
):
    bucket = make_bucket()

    with pytest.raises(ActionFailed) as failed:
        deploy(bucket, extract, ObjectKey=key)

    assert message in str(failed.value)
    assert failed.value.code == "ConfigurationError"
    assert content(aws, bucket) == {}


def test_links_are_the_files_that_they_lead_to(aws, make_bucket, deploy, site, caplog):
    bucket = make_bucket()
    (site.directory / "latest.html").symlink_to("index.html")
    (site.directory / "styles").symlink_to("css")
    (site.directory / "lost").symlink_to("nothing")

    deploy(bucket)

    assert content(aws, bucket) == {**FILES, "latest.html": "<p>"}
    assert "styles is a link to a folder or to nothing" in caplog.text
    assert "lost is a link" in caplog.text


def test_an_artifact_without_files_is_a_failure(make_bucket, deploy, make_aws_context, tmp_path):
    (tmp_path / "Empty").mkdir()
    context = make_aws_context("Deploy/S3", input_artifacts=(InputTree("Empty", tmp_path / "Empty"),))

    with pytest.raises(ActionFailed, match="input artifact 'Empty' has no files"):
        deploy(make_bucket(), context=context)


def test_a_cancelled_upload_ends(make_bucket, deploy, make_aws_context, site, aws_endpoint):
    for number in range(300):
        (site.directory / f"{number}.txt").write_text(str(number))
    context = make_aws_context("Deploy/S3", input_artifacts=(site,))
    ask = aws_endpoint.ask_upstream

    def cancelling(request: Any) -> Any:
        if len(aws_endpoint.requests) > 20:
            context.cancellation.cancel()
        return ask(request)

    aws_endpoint.ask_upstream = cancelling
    began = time.monotonic()
    with pytest.raises(ActionAbandoned):
        deploy(make_bucket(), context=context)
    assert len(aws_endpoint.asked("PUT")) < 100
    assert time.monotonic() - began < 20


@pytest.fixture
def mapped(make_aws_context: Any, site: InputTree) -> Callable[[str], ActionContext]:
    def make(place: str) -> ActionContext:
        settings = ActionSettings(aws=AwsSettings(buckets={"my-site": place}))
        return make_aws_context("Deploy/S3", input_artifacts=(site,), settings=settings)

    return make


def files_below(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_bucket_may_be_a_folder(deploy, mapped, tmp_path, aws_endpoint, caplog, scheme):
    (tmp_path / "www" / "v1").mkdir(parents=True)
    (tmp_path / "www" / "v1" / "index.html").write_text("old")
    (tmp_path / "www" / "old.html").write_text("old")

    result = deploy(
        "my-site", context=mapped(f"{scheme}{tmp_path}/www"), ObjectKey="v1", CacheControl="no-store"
    )

    assert files_below(tmp_path / "www") == {
        **{f"v1/{name}": text for name, text in FILES.items()},
        "old.html": "old",
    }
    assert result.summary == f"5 files uploaded to {scheme}{tmp_path}/www/v1"
    assert result.external_execution_id == "my-site/v1"
    assert "CacheControl of the action has no effect outside of AWS" in caplog.text
    assert aws_endpoint.requests == []


def test_a_bucket_may_be_any_store_of_fsspec(deploy, mapped):
    deploy("my-site", "false", context=mapped("memory://sites/www"), ObjectKey="out/site.zip")
    deploy("my-site", context=mapped("memory://sites/www"))

    store = fsspec.filesystem("memory")
    assert store.cat("/sites/www/css/site.css") == b"p {}"
    assert store.cat("/sites/www/out/site.zip")[:2] == b"PK"


@pytest.mark.parametrize(
    ("place", "message", "code"),
    [
        ("www", "'www' is not an absolute path; correct 'buckets'", "ConfigurationError"),
        ("nothing://x", "cannot be used as the place of a bucket", "ConfigurationError"),
        ("/proc/nothing", "copying 'index.html' and the files after it to /proc/nothing", "JobFailed"),
        ("ftp://me:hunter2@127.0.0.1:1/x", "ftp://me:***@127.0.0.1:1/x", "ConfigurationError"),
    ],
)
def test_a_place_that_cannot_be_used(deploy, mapped, place, message, code):
    with pytest.raises(ActionFailed) as failed:
        deploy("my-site", context=mapped(place))

    assert message in str(failed.value)
    assert failed.value.code == code
    assert "hunter2" not in str(failed.value)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.HTML", "text/html"),
        ("a.tar.gz", "application/gzip"),
        ("app.wasm", "application/wasm"),
        ("font.woff2", "font/woff2"),
        ("site.webmanifest", "application/manifest+json"),
        ("LICENSE", None),
    ],
)
def test_content_types(name, kind):
    assert content_type(name) == kind


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Extract": "yes"}, "'true' or 'false'"),
        ({"CannedACL": "everybody"}, "'private', 'public-read'"),
        ({"Bucket": "x"}, "Extra inputs"),
    ],
)
def test_rejects_configuration(change, message):
    with pytest.raises(ValidationError, match=message):
        S3DeployConfiguration.model_validate({"BucketName": "b", "Extract": "true", **change})


def test_progress_is_reported(make_bucket, deploy, make_aws_context, site, caplog):
    caplog.set_level(logging.INFO)
    told: list[tuple[str, int]] = []
    context = make_aws_context(
        "Deploy/S3",
        input_artifacts=(site,),
        report_progress=lambda summary, percent: told.append((summary, percent)),
    )

    deploy(make_bucket(), context=context)

    assert told[-1] == ("5 of 5 files", 100)
