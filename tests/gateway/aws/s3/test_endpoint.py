"""Workers download inputs and upload outputs by boto3, with any store behind the gateway."""

from __future__ import annotations

import base64
import hashlib
import io
import stat
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError
from pages import ROOT, blocks_of

from prefect_codepipeline.actions.artifacts.objects import list_objects
from prefect_codepipeline.gateway.aws.s3 import multipart

pytestmark = pytest.mark.live
MIB = 1 << 20
STORES = pytest.mark.parametrize("job", ["folder", "s3"], indirect=True)
PARTS = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)


def code_of(call, *arguments, **members):
    with pytest.raises(ClientError) as caught:
        call(*arguments, **members)
    error = caught.value.response
    return error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "bin").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "bin" / "run").write_text("#!/bin/sh\n")
    (root / "bin" / "run").chmod(0o755)
    (root / "bin" / "again").symlink_to("run")
    (root / "Grüße.bin").write_bytes(bytes(range(256)) * 48 * 1024)
    return root


@STORES
def test_an_input_comes_as_a_zip_the_same_each_time(job, tree, tmp_path):
    job.give(tree)
    s3 = job.s3()
    s3.download_file(*job.source.values(), str(tmp_path / "in.zip"), Config=PARTS)
    whole = s3.get_object(**job.source)
    body = whole["Body"].read()

    assert body == (tmp_path / "in.zip").read_bytes()
    assert whole["ContentType"] == "application/zip"
    with zipfile.ZipFile(tmp_path / "in.zip") as packed:
        assert packed.testzip() is None
        assert packed.namelist() == ["Grüße.bin", "bin/", "bin/again", "bin/run", "empty/"]
        assert packed.getinfo("bin/run").external_attr >> 16 == stat.S_IFREG | 0o755
        assert packed.read("Grüße.bin") == (tree / "Grüße.bin").read_bytes()
        assert stat.S_ISLNK(packed.getinfo("bin/again").external_attr >> 16)
    head = s3.head_object(**job.source)
    assert (head["ContentLength"], head["ETag"]) == (len(body), whole["ETag"])
    for asked, answer in {
        "bytes=5-9": body[5:10],
        "bytes=-7": body[-7:],
        f"bytes={len(body) - 3}-": body[-3:],
    }.items():
        part = s3.get_object(**job.source, Range=asked)
        assert (part["Body"].read(), part["ResponseMetadata"]["HTTPStatusCode"]) == (answer, 206)
    assert code_of(s3.get_object, **job.source, Range=f"bytes={len(body)}-") == ("InvalidRange", 416)
    assert code_of(s3.get_object, **job.source, IfMatch='"other"') == ("PreconditionFailed", 412)
    assert code_of(s3.get_object, **job.source, IfNoneMatch=whole["ETag"]) == ("304", 304)


@STORES
def test_an_output_in_one_piece_and_in_parts(job, make_zip, tmp_path):
    s3 = job.s3()
    small = make_zip()
    answer = s3.put_object(**job.target, Body=small, ServerSideEncryption="aws:kms", SSEKMSKeyId="alias/mine")
    assert (answer["ServerSideEncryption"], answer["SSEKMSKeyId"]) == ("aws:kms", "alias/mine")
    assert answer["ETag"] == f'"{hashlib.sha256(small).hexdigest()}"'
    assert answer["ChecksumCRC32"] == base64.b64encode(zlib.crc32(small).to_bytes(4, "big")).decode()
    tree = job.fetch_upload(tmp_path / "small")
    assert (tree / "app" / "main.py").read_text() == "print(1)\n"

    large = make_zip(12 * MIB)
    (tmp_path / "large.zip").write_bytes(large)
    s3.upload_file(str(tmp_path / "large.zip"), *job.target.values(), Config=PARTS)
    tree = job.fetch_upload(tmp_path / "large")
    with zipfile.ZipFile(io.BytesIO(large)) as packed:
        assert (tree / "data.bin").read_bytes() == packed.read("data.bin")
    (left,) = list_objects(job.store, "uploads/parts")
    assert left.endswith("result.json")


@STORES
def test_parts_may_come_to_any_gateway_and_an_upload_be_aborted(job, make_zip, tmp_path):
    from serving import serving

    from prefect_codepipeline.gateway.app import create_app

    body = make_zip(2 * MIB)
    with serving(create_app()) as other:
        one, two = job.s3(), job.s3(other)
        upload = one.create_multipart_upload(**job.target)["UploadId"]
        tags = []
        for number, client in ((1, one), (2, two), (3, one)):
            piece = body[(number - 1) * MIB : number * MIB]
            sent = client.upload_part(**job.target, UploadId=upload, PartNumber=number, Body=piece)
            tags.append({"PartNumber": number, "ETag": sent["ETag"]})
        again = two.upload_part(**job.target, UploadId=upload, PartNumber=2, Body=b"other")
        assert again["ETag"] != tags[1]["ETag"]
        ended = {"MultipartUpload": {"Parts": tags}, "UploadId": upload, **job.target}
        whole = {"ChecksumType": "FULL_OBJECT", "ChecksumCRC32": base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()}  # fmt: skip
        with ThreadPoolExecutor(
            8
        ) as pool:  # one that is slow is sent again, before or after the first one has ended
            clients = [one, two] * 8
            found = set(
                pool.map(lambda each: each.complete_multipart_upload(**ended, **whole)["ETag"], clients)
            )
        assert found == {one.complete_multipart_upload(**ended)["ETag"]}
        (etag,) = found
        assert etag.endswith('-3"')
    assert (job.fetch_upload(tmp_path / "out") / "data.bin").stat().st_size == 2 * MIB

    upload = one.create_multipart_upload(**job.target)["UploadId"]
    one.upload_part(**job.target, UploadId=upload, PartNumber=1, Body=b"x")
    one.abort_multipart_upload(**job.target, UploadId=upload)
    assert not [name for name in list_objects(job.store, "uploads/parts") if upload in name]
    assert code_of(one.upload_part, **job.target, UploadId=upload, PartNumber=1, Body=b"x") == (
        "NoSuchUpload",
        404,
    )


def test_a_list_of_parts_that_does_not_fit_is_refused(job, make_zip):
    s3 = job.s3()
    upload = {**job.target, "UploadId": s3.create_multipart_upload(**job.target)["UploadId"]}
    tags = [
        {"PartNumber": at, "ETag": s3.upload_part(**upload, PartNumber=at, Body=b"x%d" % at)["ETag"]}
        for at in (1, 2)
    ]

    def complete(*parts, **members):
        return code_of(s3.complete_multipart_upload, **upload, MultipartUpload={"Parts": parts}, **members)

    assert complete() == ("MalformedXML", 400)
    assert complete(*reversed(tags)) == ("InvalidPartOrder", 400)
    assert complete(tags[0], tags[0]) == ("InvalidPartOrder", 400)
    assert complete(tags[0] | {"ETag": tags[1]["ETag"]}) == ("InvalidPart", 400)
    assert complete(tags[0] | {"ChecksumCRC32": "AAAAAA=="}) == ("InvalidPart", 400)
    assert complete(*tags, ChecksumCRC32="AAAAAA==", ChecksumType="FULL_OBJECT") == ("BadDigest", 400)
    assert complete(*tags, ChecksumCRC32="AAAAAA==-2") == ("BadDigest", 400)
    assert complete(*tags, MpuObjectSize=3) == ("InvalidRequest", 400)
    assert complete(*tags) == ("InvalidRequest", 400)  # they are no ZIP archive
    assert code_of(s3.upload_part, **upload, PartNumber=10_001, Body=b"x") == ("InvalidArgument", 400)
    assert job.uploaded() is None


@pytest.mark.long
def test_the_answer_to_a_long_list_begins_before_it_is_known(job, make_zip, monkeypatch):
    monkeypatch.setattr(multipart, "_QUIET_SECONDS", 0.001)
    s3 = job.s3()
    for body, is_fit in ((b"not a zip", False), (make_zip(), True)):
        upload = {**job.target, "UploadId": s3.create_multipart_upload(**job.target)["UploadId"]}
        tag = s3.upload_part(**upload, PartNumber=1, Body=body)["ETag"]
        parts = {"MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": tag}]}}
        if is_fit:
            assert s3.complete_multipart_upload(**upload, **parts)["ETag"].endswith('-1"')
        else:
            code, _ = code_of(s3.complete_multipart_upload, **upload, **parts)
            assert code == "InvalidRequest"
    assert job.uploaded()


def test_many_ranges_at_once_make_one_archive(job, tree):
    job.give(tree)
    s3 = job.s3()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda at: s3.get_object(**job.source, Range=f"bytes={at}-{at}"), range(16)))
    assert len({each["ETag"] for each in found}) == 1
    assert len(list((job.store.folder / "incoming" / "zips").iterdir())) == 1


def test_credentials_hold_for_one_job_and_its_artifacts_alone(job, tree, make_zip):
    job.give(tree)
    s3, nowhere = job.s3(), {"Bucket": job.source["Bucket"], "Key": "shop/Other/ccccccc"}
    denied = ("AccessDenied", 403)
    assert code_of(s3.get_object, **nowhere) == denied
    assert code_of(s3.put_object, **nowhere, Body=make_zip()) == denied
    assert code_of(s3.put_object, **job.source, Body=make_zip()) == denied
    assert code_of(s3.create_multipart_upload, **job.source) == denied
    assert code_of(s3.get_object, **job.target) == denied
    assert code_of(s3.list_objects_v2, Bucket=job.source["Bucket"]) == denied
    assert code_of(s3.list_buckets) == denied
    assert code_of(s3.delete_object, **job.source) == denied
    assert code_of(s3.get_object_tagging, **job.source) == denied
    assert code_of(s3.copy_object, **job.target, CopySource=job.source) == ("NotImplemented", 501)
    assert code_of(s3.put_object, **job.target, Body=make_zip(), IfNoneMatch="*") == ("NotImplemented", 501)
    url = s3.generate_presigned_url("get_object", job.source)
    answer = httpx.get(url)
    assert (answer.status_code, "Presigned URLs are not accepted" in answer.text) == (400, True)
    expired = job.s3(expires=timedelta(seconds=-1))
    assert code_of(expired.get_object, **job.source) == ("ExpiredToken", 400)
    other = type(job)(job.gateway, job.store).s3()
    assert code_of(other.get_object, **job.source) == denied
    assert job.uploaded() is None


def test_the_code_of_the_page(job, tree, make_zip, tmp_path, monkeypatch):
    job.give(tree)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "built.zip").write_bytes(make_zip())

    def at(place):
        return {"location": {"s3Location": {"bucketName": place["Bucket"], "objectKey": place["Key"]}}}

    data = {
        "artifactCredentials": job.credentials(),
        "inputArtifacts": [at(job.source)],
        "outputArtifacts": [at(job.target)],
    }
    answers = SimpleNamespace(get_job_details=lambda jobId: {"jobDetails": {"data": data}})  # noqa: N803
    (code,) = [text for _, text in blocks_of(ROOT / "docs" / "aws-api.md") if "def s3_of" in text]
    code = code.replace("http://gateway:4290", job.gateway)
    exec(compile(code, "docs/aws-api.md", "exec"), {"codepipeline": answers, "job_id": "1"})
    assert zipfile.is_zipfile("source.zip")
    assert job.uploaded()
