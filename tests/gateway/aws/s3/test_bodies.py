"""Bodies as clients of S3 send them: in chunks, signed or not, with checksums; and hostile ones."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import ipaddress
import socket
import stat
import warnings
import zipfile
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from serving import serving

from prefect_codepipeline.gateway.app import create_app
from prefect_codepipeline.gateway.aws.s3.checksums import ALGORITHMS

pytestmark = pytest.mark.live
MIB = 1 << 20


def checksum(algorithm: str, data: bytes) -> str:
    digest = ALGORITHMS[algorithm]()
    digest.update(data)
    return base64.b64encode(digest.digest()).decode()


@pytest.fixture
def secure(gateway: str, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A gateway with TLS, over which boto3 sends checksums after the body; its address and its certificate."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gateway")])
    now = datetime.now(timezone.utc)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    built = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    built = built.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(hours=1))
    certificate = built.not_valid_after(now + timedelta(hours=1)).add_extension(address, critical=False)
    pem = certificate.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "cert.pem").write_bytes(pem)
    (tmp_path / "key.pem").write_bytes(secret)
    files = {"ssl_certfile": str(tmp_path / "cert.pem"), "ssl_keyfile": str(tmp_path / "key.pem")}
    with serving(create_app(), **files) as url:
        yield url.replace("http:", "https:"), files["ssl_certfile"]


def test_checksums_after_the_body_over_tls(job, secure, make_zip, tmp_path):
    url, certificate = secure
    s3, sent = job.s3(url, verify=certificate), []
    s3.meta.events.register("before-send.s3", lambda request, **_: sent.append(request.headers))
    body = make_zip(6 * MIB)
    s3.put_object(**job.target, Body=io.BytesIO(body))
    assert sent[-1]["x-amz-trailer"] == b"x-amz-checksum-crc32"
    assert (job.fetch_upload(tmp_path / "one") / "data.bin").stat().st_size == 6 * MIB

    (tmp_path / "out.zip").write_bytes(make_zip(7 * MIB))
    parts = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
    extra = {"ChecksumAlgorithm": "SHA256"}
    s3.upload_file(str(tmp_path / "out.zip"), *job.target.values(), extra, Config=parts)
    assert (job.fetch_upload(tmp_path / "two") / "data.bin").stat().st_size == 7 * MIB
    s3.close()  # the server would wait for its connections


def test_checksums_in_headers_are_checked(job, make_zip):
    s3, body = job.s3(), make_zip(300_000)
    for algorithm in ("crc32", "crc32c", "crc64nvme", "sha1", "sha256"):
        member = f"Checksum{algorithm.upper()}"
        with pytest.raises(ClientError, match="BadDigest"):
            s3.put_object(**job.target, Body=body, **{member: checksum(algorithm, b"other")})
        assert job.uploaded() is None
    for algorithm in ("crc32", "crc32c", "crc64nvme", "sha1", "sha256"):
        member = f"Checksum{algorithm.upper()}"
        answer = s3.put_object(**job.target, Body=body, **{member: checksum(algorithm, body)})
        assert answer[member] == checksum(algorithm, body)
    with pytest.raises(ClientError, match="BadDigest"):
        s3.put_object(**job.target, Body=body, ContentMD5=checksum("md5", b"other"))
    s3.put_object(**job.target, Body=body, ContentMD5=checksum("md5", body))


class Signed:
    """Signs by hand what boto3 does not send: the body in signed chunks."""

    def __init__(self, job: Any) -> None:
        keys = job.credentials()
        self.secret = keys["secretAccessKey"]
        self.credentials = Credentials(keys["accessKeyId"], self.secret, keys["sessionToken"])
        self.url = f"{job.gateway}/{job.target['Bucket']}/{job.target['Key']}"

    def headers(self, content_sha256: str, **given: str) -> dict[str, str]:
        request = AWSRequest(
            "PUT", self.url, headers={name.replace("_", "-"): value for name, value in given.items()}
        )

        class Auth(S3SigV4Auth):
            def payload(self, request: Any) -> str:
                return content_sha256

        Auth(self.credentials, "s3", "us-east-1").add_auth(request)
        return dict(request.headers.items())

    def signer(self, headers: dict[str, str]) -> Callable[..., str]:
        scope = headers["Authorization"].partition("Credential=")[2].partition(",")[0].partition("/")[2]
        before, key = headers["Authorization"].rpartition("Signature=")[2], f"AWS4{self.secret}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")

        def sign(kind: str, *hashes: str) -> str:
            nonlocal before
            lines = [f"AWS4-HMAC-SHA256-{kind}", headers["X-Amz-Date"], scope, before, *hashes]
            before = hmac.digest(key, "\n".join(lines).encode(), "sha256").hex()
            return before

        return sign

    def put(self, body: bytes, change: Callable[[bytes], bytes] = bytes) -> tuple[int, str]:
        kind = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
        headers = self.headers(
            kind, x_amz_trailer="x-amz-checksum-crc64nvme", content_encoding="aws-chunked",
            x_amz_decoded_content_length=str(len(body)),
        )  # fmt: skip
        sign, empty = self.signer(headers), hashlib.sha256(b"").hexdigest()
        sent = b""
        for piece in [*(body[at : at + 8192] for at in range(0, len(body), 8192)), b""]:
            signature = sign("PAYLOAD", empty, hashlib.sha256(piece).hexdigest())
            sent += (
                f"{len(piece):x};chunk-signature={signature}\r\n".encode()
                + piece
                + (b"\r\n" if piece else b"")
            )
        trailer = f"x-amz-checksum-crc64nvme:{checksum('crc64nvme', body)}"
        signature = sign("TRAILER", hashlib.sha256(f"{trailer}\n".encode()).hexdigest())
        sent += f"{trailer}\r\nx-amz-trailer-signature:{signature}\r\n\r\n".encode()
        answer = httpx.put(self.url, headers=headers, content=change(sent))
        return answer.status_code, answer.text


def test_signed_chunks(job, make_zip, tmp_path):
    body = make_zip(200_000)
    assert Signed(job).put(body, lambda sent: sent.replace(b"print(1)", b"print(2)"))[0] == 403
    assert (
        Signed(job).put(body, lambda sent: sent.replace(b"checksum-crc64nvme:", b"checksum-crc64nvme:A"))[0]
        == 403
    )
    status, text = Signed(job).put(body, lambda sent: sent[:-1000])
    assert (status, "IncompleteBody" in text) == (400, True)
    assert job.uploaded() is None
    assert Signed(job).put(body) == (200, "")
    assert (job.fetch_upload(tmp_path / "out") / "app" / "main.py").read_text() == "print(1)\n"


def test_a_body_that_is_not_the_signed_one(job, make_zip):
    signed, body = Signed(job), make_zip()
    headers = signed.headers(hashlib.sha256(body).hexdigest())
    answer = httpx.put(signed.url, headers=headers, content=body[:-1] + b"x")
    assert (answer.status_code, "XAmzContentSHA256Mismatch" in answer.text) == (400, True)


def packed(*members: tuple[str, bytes, int], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    held = io.BytesIO()
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(held, "w", method) as written:
        for name, content, mode in members:
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr, info.compress_type = 3, mode << 16, method
            written.writestr(info, content)
    return held.getvalue()


FILE, LINK = stat.S_IFREG | 0o644, stat.S_IFLNK | 0o777


HOSTILE = {
    "not a readable ZIP archive": b"not a zip",
    "'../up' leads out of the tree": packed(("../up", b"x", FILE)),
    "'/etc/x' leads out of the tree": packed(("/etc/x", b"x", FILE)),
    "'link' -> '../../etc' leads out of the tree": packed(("link", b"../../etc", LINK)),
    "'through'.* is not a folder|twice": packed(("through", b"b", LINK), ("through/x", b"x", FILE)),
    "'two' twice": packed(("two", b"x", FILE), ("two", b"y", FILE)),
    "more than 2000000 bytes": packed(("bomb", bytes(3_000_000), FILE)),
    "compressed by method 14": packed(("a", b"x", FILE), method=zipfile.ZIP_LZMA),
    "Bad CRC-32": packed(("a", b"content", FILE), method=zipfile.ZIP_STORED).replace(b"content", b"changed"),
    "the limit is 30": packed(*((f"f{at}", b"", FILE) for at in range(40))),
}


def test_hostile_archives_are_refused_with_the_reason(job):
    limited = job.store.model_copy(update={"max_tree_bytes": 2_000_000, "max_tree_files": 30})
    limited.save(job.pipeline, overwrite=True)
    s3 = job.s3()
    for why, body in HOSTILE.items():
        with pytest.raises(ClientError, match=rf"InvalidRequest.*storing artifact 'Built' failed: .*({why})"):
            s3.put_object(**job.target, Body=body)
    assert job.uploaded() is None
    assert [path for path in job.store.folder.rglob("*") if path.is_file()] == []


def answer_to(url: str, request: bytes) -> bytes:
    """What the gateway sends before it closes the connection."""
    place = urlsplit(url)
    with socket.create_connection((place.hostname, place.port), timeout=8) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(65536):
            answer += part
        return answer


def test_strangers_gain_nothing(job):
    """Their bodies are not read, or no more of them than of any other request."""
    signed = Signed(job)
    headers = signed.headers("UNSIGNED-PAYLOAD") | {"Host": urlsplit(job.gateway).netloc}
    for change in ("", "wrong"):
        given = headers | {"Authorization": headers["Authorization"][:-4] + "0000"} if change else {
            "Authorization": "AWS4-HMAC-SHA256 Credential=ASIAAAAAAAAAAAAAAAAA/20260101/us-east-1/s3/aws4_request",
            "Host": headers["Host"],
        }  # fmt: skip
        lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        start = f"PUT {urlsplit(signed.url).path} HTTP/1.1\r\nContent-Length: 4000000\r\n{lines}"
        answer = answer_to(job.gateway, f"{start}Expect: 100-continue\r\n\r\n".encode())
        assert answer.startswith((b"HTTP/1.1 403", b"HTTP/1.1 400"))
        answer = answer_to(job.gateway, f"{start}\r\n".encode() + bytes(1_100_000))
        assert answer.startswith((b"HTTP/1.1 403", b"HTTP/1.1 400"))
        assert b"connection: close" in answer.lower()
    large = signed.headers("UNSIGNED-PAYLOAD", Content_Length=str(6 << 30)) | {"Host": headers["Host"]}
    lines = "".join(f"{name}: {value}\r\n" for name, value in large.items())
    start = f"PUT {urlsplit(signed.url).path} HTTP/1.1\r\n{lines}Expect: 100-continue\r\n\r\n"
    assert b"EntityTooLarge" in answer_to(job.gateway, start.encode())
