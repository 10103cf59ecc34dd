"""CreateMultipartUpload, UploadPart, CompleteMultipartUpload, AbortMultipartUpload."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring
from starlette.responses import Response, StreamingResponse

from prefect_codepipeline.actions.artifacts.places import work_file
from prefect_codepipeline.actions.artifacts.upload_parts import MOST_PARTS, Part, PartStore
from prefect_codepipeline.actions.artifacts.wire_zips import largest_zip
from prefect_codepipeline.blocks.artifact_store import ArtifactStore
from prefect_codepipeline.gateway.aws.protocol.request_ids import request_id_of
from prefect_codepipeline.gateway.aws.s3.asked import Asked, encryption, quoted
from prefect_codepipeline.gateway.aws.s3.checksums import (
    ALGORITHMS,
    HEADER_PREFIX,
    OTHER_HEADERS,
    algorithm_of,
    check,
    checksum_value,
    sent_checksums,
)
from prefect_codepipeline.gateway.aws.s3.errors import S3Error, xml
from prefect_codepipeline.gateway.aws.s3.failures import error_for
from prefect_codepipeline.gateway.aws.s3.writing import (
    LARGEST_BODY,
    checksum_headers,
    receive_body,
    store_upload,
)
from prefect_codepipeline.gateway.threads import ARTIFACTS, AWS, TRANSFERS, in_thread
from prefect_codepipeline.gateway.transfers import allow_transfer

_CHUNK = 1 << 20
_ALGORITHM, _TYPE = "x-amz-checksum-algorithm", "x-amz-checksum-type"
# 10,000 parts, each with its checksum.
_LARGEST_LIST = 8 << 20
# A client that waits longer than a minute for an answer asks again.
_QUIET_SECONDS = 5.0
_DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>\n'


async def create_upload(asked: Asked) -> Response:
    """Answer CreateMultipartUpload. Raises `S3Error`."""
    asked.output_name()
    if _ALGORITHM in asked.headers:
        algorithm_of(asked.headers[_ALGORITHM])
    about = {name: asked.headers[name] for name in (_ALGORITHM, _TYPE) if name in asked.headers}
    sent = encryption(asked.headers)
    upload = await in_thread(asked.request, AWS, _begin, asked, {**about, **sent})
    inner = (
        f"<Bucket>{escape(asked.bucket)}</Bucket><Key>{escape(asked.key)}</Key><UploadId>{upload}</UploadId>"
    )
    return Response(xml("InitiateMultipartUploadResult", inner), 200, {**about, **sent}, "application/xml")


def _begin(asked: Asked, about: Mapping[str, str]) -> str:
    return PartStore(asked.store(), asked.bucket, asked.key).begin(about)


async def upload_part(asked: Asked) -> Response:
    """Answer UploadPart. Raises `S3Error`."""
    asked.output_name()
    number = _number(asked.query["partNumber"])
    store, about, room = await in_thread(asked.request, AWS, _state, asked)
    with work_file(store) as path:
        received = await receive_body(asked, path, room)
        sent = {name: value for name, value in received.checksums.items() if name != "md5"}
        algorithm, checksum = next(iter(sent.items()), ("", b""))
        part = Part(number, received.sha256, received.size, algorithm, checksum.hex())
        parts = PartStore(store, asked.bucket, asked.key)
        await in_thread(asked.request, TRANSFERS, parts.add, asked.query["uploadId"], part, path)
    headers = {"etag": quoted(part.sha256), **encryption(about), **checksum_headers(received.checksums)}
    return Response(None, 200, headers)


def _state(asked: Asked) -> tuple[ArtifactStore, dict[str, str], int]:
    """The store, what the client said when it began the upload, and how many bytes its next part may have."""
    store = asked.store()
    parts, upload = PartStore(store, asked.bucket, asked.key), asked.query["uploadId"]
    about = parts.about(upload)
    if about is None:
        raise _no_such_upload()
    room = largest_zip(store) - sum(part.size for part in parts.parts(upload))
    return store, about, max(0, min(LARGEST_BODY, room))


def _no_such_upload() -> S3Error:
    return S3Error(
        "NoSuchUpload",
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.",
    )


def _number(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:10]) <= MOST_PARTS:
        raise S3Error(
            "InvalidArgument", f"Part number must be an integer between 1 and {MOST_PARTS}, inclusive"
        )
    return int(text)


async def abort_upload(asked: Asked) -> Response:
    """Answer AbortMultipartUpload. Raises `S3Error`."""
    asked.output_name()
    await in_thread(asked.request, AWS, _abort, asked)
    return Response(None, 204)


def _abort(asked: Asked) -> None:
    parts = PartStore(asked.store(), asked.bucket, asked.key)
    if parts.about(asked.query["uploadId"]) is None:
        raise _no_such_upload()
    parts.remove(asked.query["uploadId"])


async def complete_upload(asked: Asked) -> Response:
    """Answer CompleteMultipartUpload: it begins to answer, as S3 does, before a large archive has been checked.

    Raises:
        S3Error: if this is known within seconds; else the error is the body of the answer.
    """
    asked.output_name()
    store = await in_thread(asked.request, AWS, asked.store)
    with work_file(store) as path:
        await receive_body(asked, path, _LARGEST_LIST, of_object=True)
        listed = _listed(path.read_bytes())
    finishing = asyncio.create_task(in_thread(asked.request, ARTIFACTS, _complete, asked, store, listed))
    await asyncio.wait([finishing], timeout=_QUIET_SECONDS)
    headers = encryption(asked.headers)
    if finishing.done():
        return Response(_DECLARATION + finishing.result(), 200, headers, "application/xml")
    allow_transfer(asked.request.scope)
    content = _when_finished(finishing, request_id_of(asked.request))
    return StreamingResponse(content, 200, headers, "application/xml")


async def _when_finished(finishing: asyncio.Task[bytes], request_id: str) -> AsyncIterator[bytes]:
    yield _DECLARATION
    while not finishing.done():
        await asyncio.wait([finishing], timeout=_QUIET_SECONDS)
        yield b" "
    try:
        yield finishing.result()
    except Exception as error:  # the answer has begun
        yield error_for(error, request_id).body(request_id).removeprefix(_DECLARATION)


@dataclass(frozen=True)
class ListedPart:
    """A part in the list that ends an upload: its number, its ETag, and its checksums by algorithm."""

    number: int
    etag: str
    checksums: Mapping[str, bytes]


def _listed(body: bytes) -> list[ListedPart]:
    malformed = S3Error(
        "MalformedXML",
        "The XML you provided was not well-formed or did not validate against our published schema",
    )
    try:
        root = fromstring(body, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        raise malformed from None
    found = []
    for element in root:
        values = {each.tag.rpartition("}")[2]: (each.text or "").strip() for each in element}
        if element.tag.rpartition("}")[2] != "Part" or not {"PartNumber", "ETag"} <= values.keys():
            raise malformed
        checksums = {
            name.removeprefix("Checksum").lower(): value
            for name, value in values.items()
            if name.startswith("Checksum")
        }
        sent = sent_checksums({HEADER_PREFIX + name: value for name, value in checksums.items()})
        found.append(ListedPart(_number(values["PartNumber"]), values["ETag"].strip('"'), sent))
    if not found or root.tag.rpartition("}")[2] != "CompleteMultipartUpload":
        raise malformed
    return found


def _complete(asked: Asked, store: ArtifactStore, listed: Sequence[ListedPart]) -> bytes:
    """Make the listed parts the output artifact, and return the answer without its declaration."""
    parts = PartStore(store, asked.bucket, asked.key)
    try:
        result = _join(asked, store, parts, listed)
    except S3Error:  # if another request has completed it, this may be the same one, sent again
        done = parts.result(asked.query["uploadId"])
        if done is None:
            raise
        result = done
    return _result(asked, result)


def _join(
    asked: Asked, store: ArtifactStore, parts: PartStore, listed: Sequence[ListedPart]
) -> dict[str, str]:
    upload = asked.query["uploadId"]
    if parts.about(upload) is None:
        raise _no_such_upload()
    chosen = _chosen(listed, parts.parts(upload))
    size = sum(part.size for part in chosen)
    if asked.headers.get("x-amz-mp-object-size", str(size)) != str(size):
        raise S3Error("InvalidRequest", f"The parts have {size} bytes, not x-amz-mp-object-size.")
    if size > largest_zip(store):
        raise S3Error("EntityTooLarge", f"The upload has {size} bytes; the limit is {largest_zip(store)}.")
    with work_file(store) as path:
        try:
            parts.join(upload, chosen, path)
        except FileNotFoundError:  # another request has ended the upload
            raise _no_such_upload() from None
        sent = _check_whole(asked.headers, chosen, path)
        store_upload(asked, store, path)
    digest = hashlib.sha256(b"".join(bytes.fromhex(part.sha256) for part in chosen)).hexdigest()
    result = {"ETag": quoted(f"{digest}-{len(chosen)}"), **sent}
    parts.finish(upload, result)
    return result


def _result(asked: Asked, result: Mapping[str, str]) -> bytes:
    fields = {"Location": asked.path, "Bucket": asked.bucket, "Key": asked.key, **result}
    inner = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in fields.items())
    return xml("CompleteMultipartUploadResult", inner).removeprefix(_DECLARATION)


def _chosen(listed: Sequence[ListedPart], known: Sequence[Part]) -> list[Part]:
    numbers = [each.number for each in listed]
    if numbers != sorted(set(numbers)):
        raise S3Error(
            "InvalidPartOrder",
            "The list of parts was not in ascending order. The parts list must be specified in order by part number.",
        )
    found = {(part.number, part.sha256): part for part in known}
    chosen = []
    for each in listed:
        part = found.get((each.number, each.etag))
        if part is None or any(
            part.algorithm != name or part.checksum != value.hex() for name, value in each.checksums.items()
        ):
            raise S3Error(
                "InvalidPart",
                "One or more of the specified parts could not be found. The part may not have been uploaded, or the "
                f"specified entity tag or checksum may not match the part's: part {each.number}.",
            )
        chosen.append(part)
    return chosen


def _check_whole(headers: Mapping[str, str], parts: Sequence[Part], path: Path) -> dict[str, str]:
    """Check the checksum of the whole archive that the client sent, if any; what the answer says of it."""
    is_composite = headers.get(_TYPE, "").upper() != "FULL_OBJECT"
    found = {}
    for name, value in headers.items():
        if not name.startswith(HEADER_PREFIX) or name in OTHER_HEADERS:
            continue
        algorithm, text = algorithm_of(name.removeprefix(HEADER_PREFIX)), value
        digest = ALGORITHMS[algorithm]()
        if is_composite and "-" in value:
            text, _, count = value.rpartition("-")
            if count != str(len(parts)) or any(part.algorithm != algorithm for part in parts):
                raise S3Error("InvalidRequest", f"The {name} does not fit to the parts.")
            digest.update(b"".join(bytes.fromhex(part.checksum) for part in parts))
        else:
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
        check(algorithm, checksum_value(algorithm, text), digest.digest())
        found[f"Checksum{algorithm.upper()}"] = value
        found["ChecksumType"] = "COMPOSITE" if text != value else "FULL_OBJECT"
    return found
