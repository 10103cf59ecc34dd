"""The archive's headers: those that tar reads, at every size; everything that is not one is refused."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_codepipeline.actions.artifacts.archive_member import (
    END,
    MAX_DEPTH,
    MAX_NAME_BYTES,
    Member,
    TreeRules,
    UnfitTreeError,
    encode,
    read_member,
)
from prefect_codepipeline.blocks.artifact_store import ArtifactStore

GIB = 1024**3
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), min_size=1)


@pytest.mark.parametrize("size", [0, 1, 511, 512, 5 * GIB, 8 * GIB - 1, 8 * GIB, 8 * GIB + 1, 4096 * GIB])
def test_a_file_of_any_size_has_a_header_that_tar_reads(size):
    header = encode(Member("big.bin", "file", size))

    assert tarfile.TarInfo.frombuf(header, "utf-8", "strict").size == size
    assert read_member(io.BytesIO(header)) == Member("big.bin", "file", size)


@pytest.mark.parametrize("length", [1, 98, 99, 100, 101, 155, 255, 512, 1023, MAX_NAME_BYTES])
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda name: Member(name, "file", 3, True), id="file"),
        pytest.param(lambda name: Member(name, "folder"), id="folder"),
        pytest.param(lambda name: Member("link", "link", target=name), id="link"),
    ],
)
def test_a_name_of_any_length_is_read_back_by_us_and_by_tar(make, length):
    member = make("n" * length)
    header = encode(member)

    assert read_member(io.BytesIO(header)) == member
    with tarfile.open(fileobj=io.BytesIO(header + b"abc".ljust(512, b"\0") + END)) as tar:
        (info,) = tar.getmembers()
    assert (info.name, info.linkname) == (member.name, member.target)


@given(name=NAMES, target=NAMES, executable=st.booleans(), size=st.integers(0, 2**60))
def test_a_header_is_read_as_it_was_written(name, target, executable, size):
    for member in (
        Member(name, "file", size, executable),
        Member(name, "folder"),
        Member(name, "link", target=target),
    ):
        assert read_member(io.BytesIO(encode(member))) == member


@given(position=st.integers(0, 511), byte=st.integers(0, 255))
def test_no_byte_of_a_header_can_be_another(position, byte):
    header = bytearray(encode(Member("a/b.txt", "file", 12345, True)))
    if header[position] == byte:
        return
    header[position] = byte

    with pytest.raises(UnfitTreeError):
        read_member(io.BytesIO(bytes(header)))


@pytest.mark.parametrize(
    ("members", "why"),
    [
        pytest.param([Member("/etc/passwd", "file")], "out of the tree", id="absolute"),
        pytest.param([Member("../x", "file")], "out of the tree", id="upwards"),
        pytest.param([Member("a", "folder"), Member("a/../../x", "file")], "out of the tree", id="upwards inside"),
        pytest.param([Member("a", "folder"), Member("a/./x", "file")], "out of the tree", id="dot"),
        pytest.param([Member("", "folder")], "not a valid name", id="empty"),
        pytest.param([Member("a\0b", "file")], "out of the tree", id="NUL"),
        pytest.param([Member("a\udcff", "file")], "not UTF-8", id="surrogate"),
        pytest.param([Member("ä" * 2049, "file")], "longer than 4096 bytes", id="longer than a path may be"),
        pytest.param([Member("/".join("d" * (MAX_DEPTH + 1)), "file")], "folders deep", id="too deep"),
        pytest.param([Member("d/" + "ü" * 128, "file")], "more than 255 bytes", id="no file system has it"),
        pytest.param([Member("a", "file"), Member("a", "file")], "twice", id="twice"),
        pytest.param([Member("b", "file"), Member("a", "file")], "out of order", id="out of order"),
        pytest.param([Member("a/b", "file")], "not a folder of the tree", id="without its folder"),
        pytest.param([Member("a", "file"), Member("a/b", "file")], "not a folder of the tree", id="below a file"),
        pytest.param(
            [Member("a", "link", target="b"), Member("a/b", "file")], "not a folder of the tree", id="below a link"
        ),
    ],
)  # fmt: skip
def test_a_tree_cannot_hold(members, why):
    rules = TreeRules(ArtifactStore(url="/srv/artifacts"))
    for member in members[:-1]:
        rules.admit(member)

    with pytest.raises(UnfitTreeError, match=why):
        rules.admit(members[-1])


@pytest.mark.parametrize(
    ("name", "target", "why"),
    [
        ("link", "file", ""),
        ("link", "./file", ""),
        ("link", "d/e/file", ""),
        ("link", ".", ""),
        ("d/link", "..", ""),
        ("d/e/link", "../../file", ""),
        ("d/e/link", "./../f", ""),
        ("node_modules/.bin/tool", "../tool/bin/run.js", ""),
        ("link", "..", "out of the tree"),
        ("link", "../x", "out of the tree"),
        ("d/link", "../../x", "out of the tree"),
        ("d/link", ".././../x", "out of the tree"),
        ("link", "d/../../x", "after a name"),
        ("link", "d/../x", "after a name"),
        ("link", "/etc/passwd", "absolute"),
        ("link", "", "empty or invalid target"),
        ("link", "a\0b", "empty or invalid target"),
        ("link", "a\udcff", "empty or invalid target"),
    ],
)
def test_a_link_stays_in_its_tree(name, target, why):
    rules = TreeRules(ArtifactStore(url="/srv/artifacts"))
    for depth in range(name.count("/")):
        rules.admit(Member("/".join(name.split("/")[: depth + 1]), "folder"))

    if not why:
        rules.admit(Member(name, "link", target=target))
        return
    with pytest.raises(UnfitTreeError, match=why):
        rules.admit(Member(name, "link", target=target))
