"""CRCs by long integers are those of the definition, however the bytes arrive."""

from __future__ import annotations

from functools import reduce
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_codepipeline.gateway.aws.s3.checksums import ALGORITHMS, sent_checksums
from prefect_codepipeline.gateway.aws.s3.crc import crc32c, crc64nvme
from prefect_codepipeline.gateway.aws.s3.errors import S3Error

KINDS: list[tuple[Any, int, int]] = [(crc32c, 0x82F63B78, 32), (crc64nvme, 0x9A6C9329AC4BC9B5, 64)]


def by_bits(data: bytes, reflected: int, width: int) -> bytes:
    """The textbook's way, bit by bit."""
    ones = (1 << width) - 1

    def add(state: int, byte: int) -> int:
        state ^= byte
        for _ in range(8):
            state = (state >> 1) ^ (reflected if state & 1 else 0)
        return state

    return (reduce(add, data, ones) ^ ones).to_bytes(width // 8, "big")


@pytest.mark.parametrize(
    ("name", "value"), [("crc32", "cbf43926"), ("crc32c", "e3069283"), ("crc64nvme", "ae8b14860a799888")]
)
def test_the_check_values_of_the_standards(name, value):
    digest = ALGORITHMS[name]()
    digest.update(b"123456789")
    assert digest.digest().hex() == value


@given(st.binary(max_size=40), st.integers(0, 3000), st.lists(st.integers(1, 4000), max_size=5))
@settings(max_examples=40, deadline=None)
@pytest.mark.parametrize(("make", "reflected", "width"), KINDS)
def test_they_do_not_depend_on_how_the_bytes_arrive(make, reflected, width, seed, times, cuts):
    data = seed * (1 + times // 40) + bytes(times)
    crc, rest = make(), data
    for cut in cuts:
        crc.update(rest[:cut])
        rest = rest[cut:]
    crc.update(rest)
    assert crc.digest() == by_bits(data, reflected, width)


@pytest.mark.parametrize(("make", "reflected", "width"), KINDS)
def test_long_ones(make, reflected, width):
    data = bytes(range(256)) * 600 + b"end"
    crc = make()
    crc.update(data)
    assert crc.digest() == by_bits(data, reflected, width)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"content-md5": "bm90IG9uZQ=="}, "InvalidDigest"),
        ({"x-amz-checksum-crc32": "*"}, "InvalidDigest"),
        ({"x-amz-checksum-xxhash3": "AAAAAAAAAAA="}, "InvalidRequest"),
    ],
)
def test_a_checksum_that_cannot_be_checked_is_refused(headers, code):
    with pytest.raises(S3Error) as caught:
        sent_checksums(headers)
    assert caught.value.code == code


def test_other_headers_of_that_name_are_no_checksums():
    assert sent_checksums({"x-amz-checksum-mode": "ENABLED", "x-amz-checksum-algorithm": "CRC32"}) == {}
