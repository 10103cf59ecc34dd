"""Source/AWS/S3/1, against moto's S3 over HTTP."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from faulty_endpoint import Fault, FaultyEndpoint, html, in_another_region, refusal
from pydantic import ValidationError

from prefect_codepipeline.actions.aws import client, s3_objects
from prefect_codepipeline.actions.aws.s3_objects import check_key
from prefect_codepipeline.actions.registry import ActionContext, ActionResult
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.tasks.providers.source.s3_source import S3SourceConfiguration, read_from_s3

Make = Callable[..., ActionContext]
Aws = Callable[[str], Any]
SUMMARY = "codepipeline-artifact-revision-summary"


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_objects, "_FIRST_PAUSE", 0.01)


@pytest.fixture
def read(make_aws_context: Make, aws_endpoint: FaultyEndpoint) -> Callable[..., ActionResult]:
    def read(bucket: str, key: str = "app.zip", override: str | None = None, **more: str) -> ActionResult:
        configuration = S3SourceConfiguration.model_validate({"S3Bucket": bucket, "S3ObjectKey": key, **more})
        return read_from_s3(
            configuration,
            make_aws_context("Source/S3", outputs=("Out",), source_revision_override=override),
        )

    return read


def zipped(files: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def put(aws: Aws, bucket: str, content: bytes, key: str = "app.zip", **more: Any) -> str:
    """Upload; the version."""
    return str(aws("s3").put_object(Bucket=bucket, Key=key, Body=content, **more).get("VersionId"))


def files(result: ActionResult) -> dict[str, str]:
    directory = result.output_artifacts["Out"].directory
    return {
        str(path.relative_to(directory)): path.read_text() for path in directory.rglob("*") if path.is_file()
    }


def test_the_newest_version_is_unpacked_with_its_variables_and_its_summary(aws, make_bucket, read):
    bucket = make_bucket()
    put(aws, bucket, zipped({"old": "1"}))
    version = put(aws, bucket, zipped({"bin/run": "2"}), Metadata={SUMMARY: "Release 2"})
    head = aws("s3").head_object(Bucket=bucket, Key="app.zip")

    result = read(bucket)

    assert files(result) == {"bin/run": "2"}
    assert result.output_variables == {
        "BucketName": bucket,
        "ETag": head["ETag"].strip('"'),
        "ObjectKey": "app.zip",
        "VersionId": version,
    }
    revision = result.source_revision
    assert revision
    assert (result.summary, result.external_execution_id) == ("Release 2", version)
    assert (revision.revision_id, revision.revision_summary, revision.revision_change_identifier) == (
        version,
        "Release 2",
        result.output_variables["ETag"],
    )
    assert revision.created == head["LastModified"]


def test_a_version_that_is_asked_for_is_read_although_a_newer_one_comes_in_between(
    aws, make_bucket, read, aws_endpoint
):
    bucket = make_bucket()
    old = put(aws, bucket, zipped({"a": "old"}))
    put(aws, bucket, zipped({"a": "new"}))

    assert files(read(bucket, override=old)) == {"a": "old"}
    assert files(read(bucket, override=f"S3_OBJECT_VERSION_ID={old}")) == {"a": "old"}
    assert files(read(bucket)) == {"a": "new"}
    # What is read is what was looked at, even if there is a newer version by then.
    asked = [each.path for each in aws_endpoint.asked("GET", "app.zip")]
    assert len(asked) == 3
    assert all("versionId=" in path for path in asked)


def test_another_key_is_read_only_if_the_action_allows_it(aws, make_bucket, read):
    bucket = make_bucket()
    put(aws, bucket, zipped({"a": "app"}))
    old = put(aws, bucket, zipped({"a": "old"}), "other,1=2.zip")
    put(aws, bucket, zipped({"a": "other"}), "other,1=2.zip")
    allowed = {"AllowOverrideForS3ObjectKey": "true"}

    with pytest.raises(ActionFailed, match="set AllowOverrideForS3ObjectKey to true") as failed:
        read(bucket, override="S3_OBJECT_KEY=other,1=2.zip")
    assert failed.value.code == "ConfigurationError"
    assert files(read(bucket, override="S3_OBJECT_KEY=other,1=2.zip", **allowed)) == {"a": "other"}
    both = f"S3_OBJECT_VERSION_ID={old},S3_OBJECT_KEY=other,1=2.zip"
    result = read(bucket, override=both, **allowed)
    assert files(result) == {"a": "old"}
    assert result.output_variables["ObjectKey"] == "other,1=2.zip"


def test_a_bucket_without_versions_has_the_etag_as_its_revision(aws, make_bucket, read):
    bucket = make_bucket(versions=False)
    put(aws, bucket, zipped({"a": "1"}))
    etag = aws("s3").head_object(Bucket=bucket, Key="app.zip")["ETag"].strip('"')

    result = read(bucket)

    assert result.source_revision
    assert result.source_revision.revision_id == etag
    assert result.summary == f"Amazon S3 ETag: {etag}"
    assert result.output_variables["VersionId"] == "null"
    assert files(read(bucket, override=etag)) == {"a": "1"}
    put(aws, bucket, zipped({"a": "2"}))
    with pytest.raises(ActionFailed, match="does not exist") as failed:
        read(bucket, override=etag)
    assert failed.value.code == "RevisionUnavailable"


def test_an_object_that_is_replaced_while_it_is_read_is_never_half_of_each(
    aws, make_bucket, read, aws_endpoint
):
    bucket = make_bucket(versions=False)
    put(aws, bucket, b"a" * 100_000, "notes.txt")

    def replace() -> Any:
        put(aws, bucket, b"b" * 100_000, "notes.txt")
        return refusal(503, "SlowDown")()

    aws_endpoint.faults = [Fault("GET", "notes.txt", "cut"), Fault("GET", "notes.txt", replace)]

    with pytest.raises(
        ActionFailed, match="was replaced meanwhile, and the bucket keeps no versions"
    ) as failed:
        read(bucket, "notes.txt")
    assert failed.value.code == "RevisionUnavailable"


def test_any_other_object_is_one_file(aws, make_bucket, read, caplog):
    caplog.set_level(logging.INFO)
    bucket = make_bucket()
    version = put(aws, bucket, b"hello", "notes/für alle.txt")
    put(aws, bucket, b"", "empty.zip")

    result = read(bucket, "notes/für alle.txt")

    assert files(result) == {"für alle.txt": "hello"}
    assert result.summary == f"Amazon S3 version id: {version}"
    assert "is not a ZIP archive: the artifact is this one file" in caplog.text
    assert files(read(bucket, "empty.zip")) == {"empty.zip": ""}


def test_a_download_that_breaks_continues_where_it_was(aws, make_bucket, read, aws_endpoint, caplog):
    bucket = make_bucket()
    content = os.urandom(3_000_000)
    put(aws, bucket, content, "data.bin")
    aws_endpoint.faults = [
        Fault("GET", "data.bin", "cut", times=3),
        Fault("GET", "data.bin", "drop", times=1),
        Fault("GET", "data.bin", refusal(503, "SlowDown"), times=1),
    ]

    result = read(bucket, "data.bin")

    assert (result.output_artifacts["Out"].directory / "data.bin").read_bytes() == content
    ranges = [each.headers.get("range") for each in aws_endpoint.asked("GET", "data.bin")]
    assert ranges[:3] == [None, "bytes=1500000-", "bytes=2250000-"]
    assert "broke after 1500000 bytes and continues" in caplog.text


def test_an_endpoint_that_stays_away_is_reported(aws, make_bucket, read, aws_endpoint, monkeypatch):
    monkeypatch.setattr(client, "ATTEMPTS", 1)
    bucket = make_bucket()
    put(aws, bucket, b"x", "data.bin")
    aws_endpoint.faults = [Fault("HEAD", "data.bin", "drop", times=99)]

    with pytest.raises(ActionFailed, match=f"reading s3://{bucket}/data.bin in region us-east-1") as failed:
        read(bucket, "data.bin")
    assert failed.value.code == "SystemUnavailable"


@pytest.mark.parametrize(
    ("key", "override", "message", "code"),
    [
        (
            "nothing.zip",
            None,
            "/nothing.zip does not exist; upload it, or correct the key",
            "RevisionUnavailable",
        ),
        ("app.zip", "0123456789", "in version '0123456789' does not exist", "RevisionUnavailable"),
        ("../app.zip", None, "'..' as the name of a folder", "ConfigurationError"),
        ("a" * 1025, None, "has 1025 bytes; S3 allows 1 to 1024", "ConfigurationError"),
        ("ü" * 513, None, "has 1026 bytes", "ConfigurationError"),
        ("releases/", None, "ends with '/', which is a folder", "ConfigurationError"),
        ("", None, "has 0 bytes", "ConfigurationError"),
    ],
)
def test_an_object_that_is_not_there(aws, make_bucket, read, key, override, message, code):
    bucket = make_bucket()
    put(aws, bucket, zipped({"a": "1"}))

    with pytest.raises(ActionFailed) as failed:
        read(bucket, key, override)

    assert message in str(failed.value)
    assert failed.value.code == code


def test_a_deleted_object_and_a_missing_bucket(aws, make_bucket, read):
    bucket = make_bucket()
    put(aws, bucket, zipped({"a": "1"}))
    marker = aws("s3").delete_object(Bucket=bucket, Key="app.zip")["VersionId"]

    for override in (None, marker):
        with pytest.raises(ActionFailed, match="does not exist; upload it"):
            read(bucket, override=override)
    with pytest.raises(ActionFailed, match="there is no bucket 'no-such-bucket-here' in region us-east-1"):
        read("no-such-bucket-here")
    with pytest.raises(ActionFailed, match="give the name without 's3://'"):
        read("s3://bucket/folder")


def test_who_may_not_read_learns_what_to_allow(aws, make_bucket, read, aws_endpoint):
    bucket = make_bucket()
    aws_endpoint.faults = [Fault("HEAD", "app.zip", refusal(403, "AccessDenied"), times=9)]

    with pytest.raises(ActionFailed, match="allow s3:GetObject, s3:GetObjectVersion") as failed:
        read(bucket)
    assert failed.value.code == "PermissionError"
    assert "testing-secret" not in str(failed.value)


def test_a_bucket_in_another_region(make_bucket, read, aws_endpoint):
    bucket = make_bucket()
    aws_endpoint.faults = [Fault("HEAD", bucket, in_another_region, times=9)]

    with pytest.raises(
        ActionFailed, match=f"bucket '{bucket}' is in region 'eu-west-1'; set 'region' on"
    ) as failed:
        read(bucket)
    assert failed.value.code == "ConfigurationError"


def test_an_endpoint_that_answers_html(aws, make_bucket, read, aws_endpoint):
    aws_endpoint.faults = [Fault("HEAD", "app.zip", html, times=9)]

    with pytest.raises(
        ActionFailed,
        match=r"reading s3://.*: what answered is not AWS; correct the endpoint_url: http://.*a web page",
    ):
        read(make_bucket())


@pytest.mark.parametrize("name", ["../evil", "/etc/evil"])
def test_an_archive_cannot_leave_its_directory(aws, make_bucket, read, tmp_path, name):
    bucket = make_bucket()
    put(aws, bucket, zipped({name: "x"}))

    with pytest.raises(ActionFailed, match=r"cannot be an artifact: .*leads out of the tree"):
        read(bucket)
    assert not list(tmp_path.rglob("evil"))


def test_a_broken_archive_and_a_bomb_are_refused(aws, make_bucket, make_aws_context):
    from prefect_codepipeline.blocks.artifact_store import ArtifactStore

    bucket = make_bucket()
    bomb = zipped({"a": "x" * 5000})
    put(aws, bucket, bomb)
    configuration = S3SourceConfiguration.model_validate({"S3Bucket": bucket, "S3ObjectKey": "app.zip"})
    store = ArtifactStore(url="/tmp/not-used", max_tree_bytes=4999)

    with pytest.raises(ActionFailed, match="more than 4999 bytes of files"):
        read_from_s3(configuration, make_aws_context("Source/S3", outputs=("Out",), store=store))
    put(aws, bucket, bomb[:2000])
    with pytest.raises(ActionFailed, match="not a readable ZIP archive"):
        read_from_s3(configuration, make_aws_context("Source/S3", outputs=("Out",)))


def test_a_cancelled_download_ends(aws, make_bucket, make_aws_context, aws_endpoint):
    from prefect_codepipeline.errors import ActionAbandoned

    bucket = make_bucket()
    put(aws, bucket, b"x" * 100_000, "data.bin")
    context = make_aws_context("Source/S3", outputs=("Out",))

    def cancel() -> Any:
        context.cancellation.cancel()
        return refusal(503, "SlowDown")()

    aws_endpoint.faults = [Fault("GET", "data.bin", cancel)]
    configuration = S3SourceConfiguration.model_validate({"S3Bucket": bucket, "S3ObjectKey": "data.bin"})
    with pytest.raises(ActionAbandoned):
        read_from_s3(configuration, context)


@pytest.mark.long
def test_a_large_object_takes_no_memory(make_aws_context, monkeypatch, tmp_path):
    """In a process of its own, whose address space is limited: 256 MiB from a server that makes them up."""
    script = textwrap.dedent("""
        import resource, sys, threading, time, logging
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
        from pathlib import Path
        SIZE = 256 << 20
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            def do_GET(self):
                self.send_response(200)
                for name, value in {"ETag": '"e"', "Content-Length": str(SIZE), "x-amz-version-id": "v1",
                                    "Last-Modified": "Mon, 02 Mar 2026 09:00:00 GMT"}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "GET":
                    block = bytes(1 << 20)
                    for _ in range(SIZE >> 20):
                        self.wfile.write(block)
            do_HEAD = do_GET
            def log_message(self, *_): ...
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        import os
        os.environ.update(AWS_ENDPOINT_URL=f"http://127.0.0.1:{server.server_port}", AWS_ACCESS_KEY_ID="a",
                          AWS_SECRET_ACCESS_KEY="b", AWS_DEFAULT_REGION="us-east-1")
        from prefect_codepipeline.actions.registry import ActionContext
        from prefect_codepipeline.model.definition.declaration import ActionDeclaration
        from prefect_codepipeline.tasks.providers.source.s3_source import S3SourceConfiguration, read_from_s3
        kind = {"category": "Source", "owner": "AWS", "provider": "S3", "version": "1"}
        action = ActionDeclaration.model_validate(
            {"name": "S", "actionTypeId": kind, "outputArtifacts": [{"name": "Out"}]})
        context = ActionContext("p", "e", "s", action, "a", Path(sys.argv[1]), time.monotonic() + 300)
        import boto3; boto3.client("s3")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        read_from_s3(S3SourceConfiguration.model_validate({"S3Bucket": "buck", "S3ObjectKey": "k"}), context)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert (Path(sys.argv[1]) / "source" / "k").stat().st_size == SIZE
        print(grown)
    """)
    (tmp_path / "work").mkdir()
    ran = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "work")], capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) < 40 << 10  # KiB


def test_the_key_of_the_longest_name_is_allowed():
    check_key("a" * 1024)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"PollForSourceChanges": "0"}, "'true' or 'false'"),
        ({"AllowOverrideForS3ObjectKey": "yes"}, "'true' or 'false'"),
        ({"Bucket": "x"}, "Extra inputs"),
    ],
)
def test_rejects_configuration(change, message):
    with pytest.raises(ValidationError, match=message):
        S3SourceConfiguration.model_validate({"S3Bucket": "b", "S3ObjectKey": "k", **change})
