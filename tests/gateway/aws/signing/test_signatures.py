"""Requests that botocore has signed are accepted, and nothing that differs from them in one bit."""

from __future__ import annotations

import hashlib
import json
import random
import statistics
import string
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote

import pytest
from botocore.credentials import Credentials
from signed_requests import Sent, signed
from waiting import until

from prefect_codepipeline.blocks.api_key import ApiKey
from prefect_codepipeline.gateway.aws.protocol.json import ApiError
from prefect_codepipeline.gateway.aws.signing.identify import JobCaller, identify, identify_for_s3
from prefect_codepipeline.gateway.aws.signing.job_credentials import JobGrant, issue, session_of
from prefect_codepipeline.gateway.aws.signing.known_keys import KEYS
from prefect_codepipeline.gateway.serve import prepare_gateway

pytestmark = pytest.mark.live
NOW = datetime.now(timezone.utc).replace(microsecond=0)
SIGNATURE_ERRORS = {
    "IncompleteSignatureException", "InvalidSignatureException", "MissingAuthenticationTokenException",
    "UnrecognizedClientException",
}  # fmt: skip
WRITES = "/bucket/shop/app/1234567"


@pytest.fixture(scope="module")
def key(prefect_server: str) -> Iterator[Credentials]:
    """The credentials of a key that may operate the pipelines shop-*."""
    prepare_gateway(None, "http://127.0.0.1:4290")
    block = ApiKey.new("operate", ["shop-*"])
    block.save("signatures")
    KEYS.get(0)
    yield Credentials(block.access_key_id, block.secret.get_secret_value())
    ApiKey.delete("signatures")
    KEYS.get(0)


@pytest.fixture(scope="module")
def job(key: Credentials) -> Credentials:
    """Credentials of a job."""
    return credentials(granted())


def granted(hours: float = 1) -> JobGrant:
    artifact = {"name": "App", "sha256": "0" * 64, "size": 1, "files": 1}
    return JobGrant(
        "j",
        {"/bucket/shop/src/1234567": artifact},
        {WRITES: "App"},
        NOW + timedelta(hours=hours),
        "shop",
        None,
    )


def grant_of(token: str, access_key_id: str) -> JobGrant | None:
    found = session_of(KEYS.get().gateway, token, access_key_id)
    return found and found[0]


def credentials(grant: JobGrant) -> Credentials:
    made = issue(grant)
    return Credentials(made["accessKeyId"], made["secretAccessKey"], made["sessionToken"])


def text(chance: random.Random, characters: str, most: int = 30) -> str:
    return "".join(chance.choices(characters, k=chance.randint(1, most)))


def random_request(chance: random.Random, key: Credentials) -> Sent:
    """A request to CodePipeline as any tool might send it."""
    headers = {
        f"x-amz-{text(chance, string.ascii_lowercase)}": text(chance, string.printable[:94] + " ")
        for _ in range(chance.randint(0, 3))
    }
    return signed(
        key,
        region=chance.choice(["us-east-1", "eu-west-1", "us-gov-west-1"]),
        url=f"http://{chance.choice(['127.0.0.1:4290', 'release.example.com', '[::1]'])}/",
        body=json.dumps({text(chance, string.printable): text(chance, string.printable)}).encode(),
        at=NOW + timedelta(minutes=chance.uniform(-14, 14)),
        x_amz_target=f"CodePipeline_20150709.{text(chance, string.ascii_letters)}",
        content_type="application/x-amz-json-1.1",
        **{name: value.strip() or "-" for name, value in headers.items()},
    )


def random_artifact_request(chance: random.Random, job: Credentials) -> Sent:
    """A request to S3 as any tool might send it."""
    path = "/".join(quote(text(chance, string.printable[:90], 12), safe="~") for _ in range(4))
    query = "&".join(
        f"{text(chance, string.ascii_letters)}={quote(text(chance, string.printable), safe='')}"
        for _ in range(chance.randint(0, 3))
    )
    return signed(
        job,
        service="s3",
        method=chance.choice(["GET", "PUT", "HEAD", "POST", "DELETE"]),
        url=f"http://127.0.0.1:4290/{path}{'?' if query else ''}{query}",
        body=text(chance, string.printable).encode(),
        at=NOW,
        x_amz_checksum_crc32=text(chance, string.ascii_letters),
    )


def flipped(chance: random.Random, value: str) -> str | None:
    """The text with one bit changed, or None if it could not be sent or means the same."""
    at, bit = chance.randrange(len(value)), chance.randrange(7)
    changed = chr(ord(value[at]) ^ (1 << bit))
    if not "\x21" <= changed <= "\x7e":
        return None
    return f"{value[:at]}{changed}{value[at + 1 :]}"


def changed(chance: random.Random, sent: Sent) -> Sent:
    """The request with one bit changed in what is signed."""
    while True:
        part = chance.choice(["method", "path", "query", "body", "authorization", *sent.headers])
        if part == "body" and sent.body:
            at = chance.randrange(len(sent.body))
            body = bytearray(sent.body)
            body[at] ^= 1 << chance.randrange(8)
            return replace(sent, body=bytes(body))
        value = sent.headers.get("Authorization" if part == "authorization" else part) or getattr(
            sent, part, ""
        )
        other = flipped(chance, value) if isinstance(value, str) and value else None
        if other is None:
            continue
        if part == "method":
            return replace(sent, method=other)
        if part == "query" and "#" not in other:
            return replace(sent, query=other)
        if part == "path" and not {"?", "#"} & set(other):
            return replace(sent, path=other)
        if part in sent.headers or part == "authorization":
            return sent.with_header("Authorization" if part == "authorization" else part, other)


def asked(sent: Sent, service: str = "codepipeline", now: datetime = NOW) -> Any:
    if service == "s3":
        return identify_for_s3(sent.scope, now)
    return identify(sent.scope, service, sent.body_hash, now)


def refusal(sent: Sent, service: str = "codepipeline", now: datetime = NOW) -> ApiError:
    scope = sent.scope
    with pytest.raises(ApiError) as refused:
        identify_for_s3(scope, now) if service == "s3" else identify(scope, service, sent.body_hash, now)
    assert "codepipeline.identified" not in scope
    return refused.value


def test_a_thousand_random_requests_pass_and_none_with_a_bit_changed(key: Credentials) -> None:
    chance = random.Random(18)
    for _ in range(1000):
        sent = random_request(chance, key)
        caller = asked(sent)
        other = changed(chance, sent)

        assert (caller.name, caller.may, caller.pipelines) == ("signatures", "operate", ("shop-*",)), sent
        assert refusal(other).code in SIGNATURE_ERRORS, (sent, other)


def test_two_hundred_requests_for_artifacts_pass_and_none_with_a_bit_changed(job: Credentials) -> None:
    chance = random.Random(18)
    for _ in range(200):
        sent = random_artifact_request(chance, job)
        caller = asked(sent, "s3")
        other = changed(chance, sent)

        assert isinstance(caller, JobCaller)
        assert caller.grant == granted()
        # The body is checked while it is read, by the hash in the answer.
        assert caller.content_sha256 == sent.body_hash
        if other.body == sent.body:
            assert refusal(other, "s3").code in SIGNATURE_ERRORS, (sent, other)


def test_a_request_is_valid_for_a_quarter_of_an_hour(key: Credentials) -> None:
    sent = signed(key, at=NOW)

    for minutes in (-15, 0, 15):
        asked(sent, now=NOW + timedelta(minutes=minutes))
    later, earlier = (refusal(sent, now=NOW + timedelta(minutes=minutes)) for minutes in (16, -16))

    moment = f"{NOW:%Y%m%dT%H%M%SZ}"
    assert (later.code, earlier.code) == ("InvalidSignatureException",) * 2
    assert later.message.startswith(f"Signature expired: {moment} is now earlier than ")
    assert earlier.message.startswith(f"Signature not yet current: {moment} is still later than ")


def test_unknown_keys_wrong_secrets_and_tokens_are_refused_in_awss_words(key: Credentials) -> None:
    stranger = Credentials("AKIA" + "A" * 16, key.secret_key)
    wrong = Credentials(key.access_key, "x" * 40)
    with_token = Credentials(key.access_key, key.secret_key, "token")

    assert refusal(signed(stranger, at=NOW)).code == "UnrecognizedClientException"
    assert (
        refusal(signed(stranger, at=NOW)).message == "The security token included in the request is invalid."
    )
    assert refusal(signed(wrong, at=NOW)).code == "InvalidSignatureException"
    assert refusal(signed(wrong, at=NOW)).message.startswith(
        "The request signature we calculated does not match"
    )
    assert refusal(signed(with_token, at=NOW)).code == "UnrecognizedClientException"


def test_an_unknown_key_takes_as_long_as_a_wrong_secret(key: Credentials) -> None:
    unknown = signed(Credentials("AKIA" + "A" * 16, "x" * 40), at=NOW)
    wrong = signed(Credentials(key.access_key, "x" * 40), at=NOW)

    def seconds(sent: Sent) -> float:
        began = time.perf_counter()
        refusal(sent)
        return time.perf_counter() - began

    pairs = [(seconds(unknown), seconds(wrong)) for _ in range(200)]
    of_unknown, of_wrong = (statistics.median(times) for times in zip(*pairs, strict=True))
    assert 0.67 < of_unknown / of_wrong < 1.5


def test_whatever_a_header_has_the_answer_is_a_refusal(key: Credentials, job: Credentials) -> None:
    chance = random.Random(18)
    sent = {"codepipeline": signed(key, at=NOW), "s3": signed(job, service="s3", at=NOW)}
    anything = "".join(map(chr, range(256)))
    for _ in range(500):
        service = chance.choice(["codepipeline", "s3"])
        name = chance.choice(list(sent[service].headers))
        value = sent[service].headers[name]
        at = chance.randrange(len(value) + 1)
        other = value[:at] + text(chance, anything, 5) + value[at + chance.randrange(3) :]
        if " ".join(other.split()) != value:
            assert refusal(sent[service].with_header(name, other), service).code in SIGNATURE_ERRORS, other


def test_a_request_that_is_not_wholly_signed_is_refused(key: Credentials) -> None:
    sent = signed(key, at=NOW, x_amz_target="CodePipeline_20150709.GetPipeline")
    given = sent.headers["Authorization"]
    wrong = {
        "no header": sent.without_header("Authorization"),
        "another scheme": sent.with_header("Authorization", "Bearer x"),
        "two headers": replace(sent, repeated=[("authorization", given)]),
        "two credentials": sent.with_header(
            "Authorization", given.replace("Credential=", "Credential=x, Credential=")
        ),
        "no signature": sent.with_header("Authorization", given.rpartition(",")[0]),
        "more behind it": sent.with_header("Authorization", f"{given}, Signature={'0' * 64}"),
        "capitals": sent.with_header("Authorization", given[:-64] + given[-64:].upper().replace("0", "A")),
        "no date": sent.without_header("X-Amz-Date"),
        "another day": sent.with_header("X-Amz-Date", "20010101T000000Z"),
        "no time": sent.with_header("X-Amz-Date", f"{NOW:%Y%m%d}T999999Z"),
        "unsigned host": sent.with_header("Authorization", given.replace("host;", "")),
        "no host": sent.without_header("host"),
        "unsigned target": sent.with_header("Authorization", given.replace(";x-amz-target", "")),
        "one more header of AWS": sent.with_header("x-amz-security-token", "x"),
        "a signed header twice": replace(
            sent, repeated=[("x-amz-target", "CodePipeline_20150709.DeletePipeline")]
        ),
        "headers unsorted": sent.with_header(
            "Authorization", given.replace("host;x-amz-date", "x-amz-date;host")
        ),
        "presigned": replace(sent, query="X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=00"),
        "a fragment": replace(sent, query="a=b#c"),
        "no path": replace(sent, path=""),
    }

    codes = {name: refusal(each).code for name, each in wrong.items()}

    assert codes.pop("no header") == "MissingAuthenticationTokenException"
    assert codes.pop("another day") == "InvalidSignatureException"
    assert codes == dict.fromkeys(codes, "IncompleteSignatureException")


def test_a_signature_is_for_one_service_one_body_and_its_own_hash(key: Credentials) -> None:
    sent = signed(key, at=NOW, body=b'{"name": "a"}')
    unsigned = signed(key, at=NOW, x_amz_content_sha256="UNSIGNED-PAYLOAD")
    claimed = signed(key, at=NOW, x_amz_content_sha256=hashlib.sha256(b"{}").hexdigest())

    assert refusal(replace(sent, body=b'{"name": "b"}')).code == "InvalidSignatureException"
    assert refusal(sent, "tagging").message == "Credential should be scoped to correct service: 'tagging'."
    assert refusal(signed(key, service="s3", at=NOW)).code == "InvalidSignatureException"
    assert refusal(unsigned).code == "InvalidSignatureException"
    assert refusal(replace(claimed, body=b"[]")).code == "InvalidSignatureException"
    assert asked(claimed).name == "signatures"
    for path in ("//", "/./", "/../", "/%2F"):
        assert refusal(replace(sent, path=path)).code == "InvalidSignatureException"


def test_credentials_of_a_job_are_for_s3_and_for_an_hour(job: Credentials, key: Credentials) -> None:
    sent = signed(job, service="s3", method="PUT", url=f"http://127.0.0.1:4290{WRITES}", at=NOW)
    token = str(job.token)

    assert asked(sent, "s3").grant.writes == {WRITES: "App"}
    assert refusal(signed(job, at=NOW)).code == "UnrecognizedClientException"
    assert grant_of(token, job.access_key) == granted()
    assert grant_of(token, key.access_key) is None
    later = NOW + timedelta(hours=1)
    over = signed(job, service="s3", method="PUT", url=f"http://127.0.0.1:4290{WRITES}", at=later)
    assert refusal(over, "s3", later).code == "ExpiredTokenException"
    assert (
        asked(signed(key, service="s3", method="GET", url="http://127.0.0.1:4290/b", at=NOW), "s3").name
        == "signatures"
    )


def test_no_part_of_a_jobs_credentials_can_be_changed_or_exchanged(job: Credentials) -> None:
    chance = random.Random(18)
    other = credentials(granted(2))
    mixed = [
        Credentials(job.access_key, job.secret_key, other.token),
        Credentials(job.access_key, other.secret_key, job.token),
        Credentials(other.access_key, job.secret_key, job.token),
        Credentials(job.access_key, job.secret_key, "a" * 40_000),
    ]

    for each in mixed:
        assert refusal(signed(each, service="s3", at=NOW), "s3").code in SIGNATURE_ERRORS
    for _ in range(200):
        token = flipped(chance, str(job.token))
        if token:
            assert grant_of(token, job.access_key) is None, token


def test_credentials_of_a_job_outlive_one_change_of_the_gateways_key(job: Credentials) -> None:
    prepare_gateway(None, has_new_key=True)
    KEYS.get(0)
    once = grant_of(str(job.token), job.access_key)
    by_new = issue(granted())
    prepare_gateway(None, has_new_key=True)
    KEYS.get(0)

    assert once == granted()
    assert by_new["accessKeyId"] != job.access_key
    assert grant_of(str(job.token), job.access_key) is None


def test_a_removed_key_is_out_within_five_seconds_and_a_new_one_in(key: Credentials) -> None:
    block = ApiKey.new("read")
    other = Credentials(block.access_key_id, block.secret.get_secret_value())
    asked(signed(key, at=NOW))
    block.save("signatures-two")
    assert until(lambda: _passes(other), 2)

    ApiKey.delete("signatures-two")
    until(lambda: not _passes(other), 5)


def _passes(key: Credentials) -> bool:
    try:
        asked(signed(key, at=NOW))
    except ApiError:
        return False
    return True
