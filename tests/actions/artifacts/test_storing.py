"""Trees go into a store and come out the same, whatever is in them, whoever else writes, and whatever breaks."""

from __future__ import annotations

import hashlib
import importlib
import os
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_codepipeline.actions.artifacts.archive_member import END, Member, encode
from prefect_codepipeline.actions.artifacts.storing import fetch_tree, store_tree
from prefect_codepipeline.actions.work import OutputTree
from prefect_codepipeline.blocks.artifact_store import ArtifactStore
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.record.artifacts import StoredArtifact

MIB = 1 << 20


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(url=str(tmp_path / "store"))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small tree of everything that a tree may hold."""
    root = tmp_path / "tree"
    (root / "bin").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "bin" / "run").write_text("#!/bin/sh\n")
    (root / "bin" / "run").chmod(0o755)
    (root / "bin" / "again").symlink_to("run")
    (root / "Grüße ☃.txt").write_text("Grüße")
    (root / "nothing").touch()
    (root / ".hidden").write_text("x" * 513)
    return root


def contents(root: Path) -> dict[str, Any]:
    """What a tree holds, by relative path: bytes and executable bit, a link's target, or None for a folder."""
    found: dict[str, Any] = {}
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_dir():
            found[name] = None
        else:
            found[name] = (path.read_bytes(), bool(path.stat().st_mode & stat.S_IXUSR))
    return found


def stored_files(store: ArtifactStore) -> list[Path]:
    assert store.folder
    return sorted(path for path in store.folder.rglob("*") if path.is_file())


# --- in and out


def test_what_comes_out_is_what_went_in(store, tree, tmp_path):
    artifact = store_tree(store, "Build", OutputTree(tree, format="CODE_ZIP"), revision_id="4e25330")
    fetch_tree(store, artifact, tmp_path / "out")

    assert contents(tmp_path / "out") == contents(tree)
    assert (artifact.name, artifact.files, artifact.revision_id) == ("Build", 5, "4e25330")
    (archive,) = stored_files(store)
    assert artifact.size == archive.stat().st_size
    assert artifact.sha256 == hashlib.sha256(archive.read_bytes()).hexdigest() == archive.stem


_names = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), min_size=1, max_size=60
).filter(lambda name: name not in (".", "..") and len(name.encode()) <= 255)
_files = st.tuples(st.binary(max_size=1500), st.booleans())
_links = st.tuples(st.integers(0, 3), st.lists(_names, min_size=1, max_size=3))
_trees = st.recursive(
    st.dictionaries(_names, _files | _links, max_size=4),
    lambda nodes: st.dictionaries(_names, nodes | _files | _links, max_size=4),
    max_leaves=12,
)


def grow(node: dict[str, Any], root: Path, depth: int = 0, backwards: bool = False) -> None:
    root.mkdir()
    for name, value in sorted(node.items(), reverse=backwards):
        path = root / name
        if isinstance(value, dict):
            grow(value, path, depth + 1, backwards)
        elif isinstance(value[0], bytes):
            path.write_bytes(value[0])
            path.chmod(0o700 if value[1] else 0o600)
        else:
            path.symlink_to("/".join([".."] * min(value[0], depth) + value[1]))
        if backwards:
            os.utime(path, (1, 1), follow_symlinks=False)


@given(_trees)
@settings(max_examples=60, deadline=None)
def test_any_tree_comes_out_the_same_and_its_name_depends_on_its_content_alone(node):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        store = ArtifactStore(url=f"{folder}/store")
        grow(node, root / "one")
        grow(node, root / "other", backwards=True)
        first = store_tree(store, "A", OutputTree(root / "one"))
        second = store_tree(store, "A", OutputTree(root / "other"))
        fetch_tree(store, first, root / "out")

        assert first == second
        assert contents(root / "out") == contents(root / "one")


def test_an_equal_tree_is_stored_once(store, tree, tmp_path):
    first = store_tree(store, "Build", OutputTree(tree))
    (before,) = [path.stat() for path in stored_files(store)]
    shutil.copytree(tree, tmp_path / "copy", symlinks=True)
    second = store_tree(store, "Other", OutputTree(tmp_path / "copy"))

    assert second.sha256 == first.sha256
    (after,) = [path.stat() for path in stored_files(store)]
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert not after.st_mode & 0o222


def test_tar_reads_what_is_stored(store, tree, tmp_path):
    store_tree(store, "Build", OutputTree(tree))
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "xf", *stored_files(store), "-C", tmp_path / "out"], check=True)

    assert contents(tmp_path / "out") == contents(tree)


def test_names_as_long_as_a_path_may_be_survive(store, tmp_path):
    folder = tmp_path / "tree"
    folder.mkdir()
    here = os.getcwd()
    try:  # the whole path is longer than the system takes at once
        os.chdir(folder)
        for _ in range(14):
            os.mkdir("d" * 240)
            os.chdir("d" * 240)
        Path("é" * 100).write_text("deep")
    finally:
        os.chdir(here)
    artifact = store_tree(store, "Deep", OutputTree(folder))
    fetch_tree(store, artifact, tmp_path / "out")

    assert contents(tmp_path / "out") == contents(folder)


def test_files_and_the_folders_they_lie_in_are_all_that_a_list_takes(store, tree, tmp_path):
    artifact = store_tree(store, "Build", OutputTree(tree, ["bin/run", "./nothing"]))
    fetch_tree(store, artifact, tmp_path / "out")

    assert sorted(contents(tmp_path / "out")) == ["bin", "bin/run", "nothing"]
    assert artifact.files == 2


def test_a_large_file_is_not_held_in_memory(store, tmp_path):
    (tmp_path / "tree").mkdir()
    with (tmp_path / "tree" / "big").open("wb") as file:
        file.truncate(64 * MIB)
    tracemalloc.start()
    artifact = store_tree(store, "Big", OutputTree(tmp_path / "tree"))
    fetch_tree(store, artifact, tmp_path / "out")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 8 * MIB
    assert (tmp_path / "out" / "big").stat().st_size == 64 * MIB


def test_a_tree_goes_between_file_systems(store, tree, tmp_path):
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("there is no second file system at /dev/shm")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        artifact = store_tree(store, "Build", OutputTree(tree))
        fetch_tree(store, artifact, Path(elsewhere) / "out")
        again = store_tree(store, "Build", OutputTree(Path(elsewhere) / "out"))

    assert again == artifact


# --- what cannot be stored


def _make_link(target: str) -> Callable[[Path], None]:
    return lambda root: (root / "link").symlink_to(target)


def _make_socket(root: Path) -> None:
    here = os.getcwd()
    try:  # a socket's path may have 107 bytes
        os.chdir(root)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("agent.sock")
    finally:
        os.chdir(here)


def _make_deep(root: Path) -> None:
    (root / "/".join(["d"] * 300)).mkdir(parents=True)


def _make_bad_name(root: Path) -> None:
    Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9")).touch()


@pytest.mark.parametrize(
    ("make", "files", "message"),
    [
        pytest.param(_make_link("/etc/passwd"), None, "link 'link' -> '/etc/passwd' is absolute", id="absolute link"),
        pytest.param(_make_link("../secret"), None, "link 'link' -> '../secret' leads out of the tree", id="link out"),
        pytest.param(_make_link("bin/../../x"), None, "'..' after a name", id="link out by a detour"),
        pytest.param(_make_socket, None, "'agent.sock' is not a file.* but a socket", id="socket"),
        pytest.param(lambda root: os.mkfifo(root / "pipe"), None, "'pipe' is not a file.* but a named pipe", id="pipe"),
        pytest.param(_make_bad_name, None, r"'caf\\udce9' is not UTF-8", id="name that is no text"),
        pytest.param(_make_deep, None, "more than 256 folders deep", id="too deep"),
        pytest.param(None, ["../secret"], "'../secret' leads out of the tree", id="listed outside"),
        pytest.param(None, ["/etc/passwd"], "'/etc/passwd' leads out of the tree", id="listed absolute"),
        pytest.param(None, ["bin/../../secret"], "out of the tree", id="listed outside by a detour"),
        pytest.param(None, ["."], "'.' leads out of the tree, or is not a valid name", id="listed nothing"),
        pytest.param(None, ["gone.txt"], "'gone.txt' does not exist", id="listed and gone"),
        pytest.param(None, ["bin"], "'bin' is a folder; list the files in it instead", id="listed folder"),
        pytest.param(_make_link("bin"), ["link/run"], "'link/run' is below 'link'", id="listed behind a link"),
    ],
)  # fmt: skip
def test_what_cannot_be_in_an_artifact_is_refused_by_name(make, files, message, store, tree):
    if make:
        make(tree)

    with pytest.raises(ActionFailed, match=f"^storing artifact 'Build' failed: .*{message}"):
        store_tree(store, "Build", OutputTree(tree, files))
    assert stored_files(store) == []


def test_a_directory_that_is_not_there_is_named(store, tmp_path):
    with pytest.raises(ActionFailed, match=r"'.*/nowhere' does not exist"):
        store_tree(store, "Build", OutputTree(tmp_path / "nowhere"))


@contextmanager
def an_ordinary_user() -> Iterator[Path]:
    """A folder of somebody to whom permissions apply."""
    with tempfile.TemporaryDirectory() as folder:
        is_root = os.geteuid() == 0
        if is_root:
            os.chown(folder, 65534, 65534)
            os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            if is_root:
                os.seteuid(0)


@pytest.mark.parametrize("name", ["secret.txt", "private"])
def test_what_cannot_be_read_is_named(name):
    with an_ordinary_user() as folder:
        (folder / "tree" / "private").mkdir(parents=True)
        (folder / "tree" / "secret.txt").write_text("x")
        (folder / "tree" / name).chmod(0)

        with pytest.raises(ActionFailed, match=f"'{name}' cannot be read: Permission denied"):
            store_tree(ArtifactStore(url=f"{folder}/store"), "Build", OutputTree(folder / "tree"))
        (folder / "tree" / name).chmod(0o700)


def test_a_store_that_may_not_be_written_is_named(tree):
    with an_ordinary_user() as folder:
        (folder / "store").mkdir(mode=0o500)
        (folder / "tree").mkdir()

        with pytest.raises(ActionFailed, match=f"failed at {folder}/store/incoming: Permission denied"):
            store_tree(ArtifactStore(url=f"{folder}/store"), "Build", OutputTree(folder / "tree"))


@pytest.mark.parametrize(
    "mode", [pytest.param("ab", id="at its end"), pytest.param("r+b", id="in its place")]
)
def test_a_file_that_is_still_written_is_refused(mode, store, tree):
    (tree / "log").write_bytes(bytes(8 * MIB))
    stopped = threading.Event()

    def write() -> None:
        with (tree / "log").open(mode, buffering=0) as file:
            while not stopped.is_set():
                file.seek(0)
                file.write(b"more")

    def store_until_it_is_refused() -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            store_tree(store, "Build", OutputTree(tree))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with pytest.raises(ActionFailed, match="'log' changed while it was stored"):
            store_until_it_is_refused()
    finally:
        stopped.set()
        writer.join()


# --- limits


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_tree_files": 4}, "more than 4 files and folders; to allow it, raise .* max_tree_files"),
        ({"max_tree_bytes": 520}, "more than 520 bytes of files; to allow it, raise .* max_tree_bytes"),
    ],
)
def test_a_tree_past_the_limits_is_refused_on_both_ways(limits, message, store, tree, tmp_path):
    artifact = store_tree(store, "Build", OutputTree(tree))
    strict = ArtifactStore(url=store.url, **limits)

    with pytest.raises(ActionFailed, match=f"^storing.*{message}"):
        store_tree(strict, "Build", OutputTree(tree))
    with pytest.raises(ActionFailed, match=f"^fetching.*{message}"):
        fetch_tree(strict, artifact, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- archives that somebody else has made


def planted(store: ArtifactStore, archive: bytes) -> StoredArtifact:
    """An archive in the store as if it had been recorded."""
    assert store.folder
    digest = hashlib.sha256(archive).hexdigest()
    target = store.folder / "trees" / digest[:2] / f"{digest}.tar"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(archive)
    return StoredArtifact(name="Build", sha256=digest, size=len(archive), files=1)


def tar_of(*members: tarfile.TarInfo, format: int = tarfile.GNU_FORMAT) -> bytes:
    return b"".join(member.tobuf(format, "utf-8", "surrogateescape") for member in members) + END


def info(name: str, type_: bytes = tarfile.REGTYPE, **fields: Any) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = type_
    for field, value in fields.items():
        setattr(member, field, value)
    return member


def raw_header(member: bytes, at: int, value: bytes) -> bytes:
    """A header with another value in one field, and the checksum that goes with it."""
    header = bytearray(member)
    header[at : at + len(value)] = value
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


FILE = encode(Member("a", "file"))
DIRECTORY = encode(Member("d", "folder"))
HOSTILE = [
    ("absolute", tar_of(info("/tmp/owned")), "out of the tree"),
    ("upwards", tar_of(info("../owned")), "out of the tree"),
    ("upwards from a folder", DIRECTORY + tar_of(info("d/../../owned")), "out of the tree"),
    ("a root", tar_of(info(".", tarfile.DIRTYPE, mode=0o755)), "not a valid name"),
    ("NUL", raw_header(FILE, 0, b"a\0b") + END, "not a valid name"),
    ("not UTF-8", tar_of(info("caf\udce9")), "not UTF-8"),
    ("twice", FILE + FILE + END, "twice"),
    ("link to the outside", encode(Member("a", "link", target="../..")) + END, "out of the tree"),
    ("absolute link", encode(Member("a", "link", target="/etc")) + END, "is absolute"),
    ("through a link", encode(Member("a", "link", target="b")) + encode(Member("a/x", "file")) + END, "is below 'a'"),
    ("link after link", DIRECTORY + encode(Member("d/e", "link", target="..")) + encode(Member("f", "link", target="d/e/..")) + END, "after a name"),
    ("hard link", tar_of(info("a", tarfile.LNKTYPE, linkname="/etc/passwd")), "is not a file"),
    ("pipe", tar_of(info("a", tarfile.FIFOTYPE)), "is not a file"),
    ("device", tar_of(info("a", tarfile.CHRTYPE, devmajor=1, devminor=3)), "is not a file"),
    ("sparse", tar_of(info("a", tarfile.GNUTYPE_SPARSE)), "is not a file"),
    ("set-user-id", tar_of(info("a", mode=0o4755)), "not have the encoding that artifacts have"),
    ("owner", tar_of(info("a", uname="root")), "not have the encoding that artifacts have"),
    ("pax header", tar_of(info("a" * 101), format=tarfile.PAX_FORMAT), "is not a file"),
    ("negative size", raw_header(FILE, 124, b"\xff" * 12) + END, "in a header of the archive is not a number"),
    ("size that is no number", raw_header(FILE, 124, b"not-a-number") + END, "in a header of the archive is not a number"),
    ("size past the end", encode(Member("a", "file", 3)) + END, "the archive is truncated, or has data after its end mark"),
    ("size past the limit", encode(Member("a", "file", 1 << 50)) + END, "more than"),
    ("name of a gigabyte", raw_header(encode(Member("n" * 200, "file"))[:512], 124, b"%011o\0" % (1 << 30)) + END, "a name of 1073741824 bytes; the limit is 4096"),
    ("name after name", encode(Member("n" * 200, "file"))[:1024] * 2 + FILE + END, "is not a file|not have the encoding"),
    ("truncated header", FILE[:300], "not a file|not have the encoding|size"),
    ("without an end", FILE, "truncated|not have the encoding|not a file|end"),
    ("nothing", b"", "end"),
    ("one block of the end", FILE + END[:512], "end"),
    ("more after the end", FILE + END + b"more", "end"),
    ("not a tar", b"PK\3\4" + b"x" * 2000, "not a file|size"),
    ("padding with a message", encode(Member("a", "file", 1)) + b"a" + b"x" * 511 + END, "padding after a file is not all zeros"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("archive", "why"), [pytest.param(archive, why, id=name) for name, archive, why in HOSTILE]
)
def test_a_hostile_archive_is_refused_and_nothing_of_it_stays(archive, why, store, tmp_path):
    artifact = planted(store, archive)
    (tmp_path / "place").mkdir()
    before = contents(tmp_path)

    with pytest.raises(ActionFailed, match=f"^fetching artifact 'Build' failed: .*({why})"):
        fetch_tree(store, artifact, tmp_path / "place" / "out")
    assert contents(tmp_path) == before


def test_many_small_members_are_counted_while_they_are_unpacked(store, tmp_path):
    strict = ArtifactStore(url=store.url, max_tree_files=10)
    artifact = planted(store, b"".join(encode(Member(f"{n:05}", "file")) for n in range(11)) + END)

    with pytest.raises(ActionFailed, match="more than 10 files"):
        fetch_tree(strict, artifact, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- damage


def _flip(archive: Path) -> None:
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    archive.write_bytes(data)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        pytest.param(
            _flip, "is damaged: its content has changed since it was stored; remove it and run", id="a bit"
        ),
        pytest.param(lambda path: os.truncate(path, 512), "is damaged: it has 512 bytes", id="cut"),
        pytest.param(
            lambda path: path.unlink(),
            "no longer exists; run the action that produces the artifact again",
            id="gone",
        ),
    ],
)
def test_damage_in_the_store_is_found_and_the_place_named(harm, message, store, tree, tmp_path):
    artifact = store_tree(store, "Build", OutputTree(tree))
    (archive,) = stored_files(store)
    archive.chmod(0o600)
    harm(archive)

    with pytest.raises(ActionFailed, match=f"^fetching artifact 'Build' failed: {archive} {message}"):
        fetch_tree(store, artifact, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_a_power_cut_has_cut_is_mended_by_storing_it_again(store, tree, tmp_path):
    artifact = store_tree(store, "Build", OutputTree(tree))
    (archive,) = stored_files(store)
    archive.chmod(0o600)
    os.truncate(archive, 0)
    store_tree(store, "Build", OutputTree(tree))
    fetch_tree(store, artifact, tmp_path / "out")

    assert contents(tmp_path / "out") == contents(tree)


def test_a_directory_with_something_in_it_is_left_alone(store, tree, tmp_path):
    artifact = store_tree(store, "Build", OutputTree(tree))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("three years of work")

    with pytest.raises(ValueError, match="is not empty"):
        fetch_tree(store, artifact, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").exists()


# --- full disks, deaths and company


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_one_clear_message_and_nothing_stays(store, tree, tmp_path):
    (tree / "big").write_bytes(bytes(MIB))
    artifact = store_tree(store, "Build", OutputTree(tree))
    before = stored_files(store)
    (tree / "more").write_bytes(b"x" * MIB)

    with (
        files_no_larger_than(MIB // 2),
        pytest.raises(ActionFailed, match=r"^storing .* failed at /.*/incoming: the disk is full"),
    ):
        store_tree(store, "Build", OutputTree(tree))
    with (
        files_no_larger_than(MIB // 2),
        pytest.raises(ActionFailed, match=r"^fetching .* failed at /.*/out/big: the disk is full"),
    ):
        fetch_tree(store, artifact, tmp_path / "out")
    assert stored_files(store) == before
    assert not (tmp_path / "out").exists()


def test_a_disk_that_is_really_full_says_the_same(tree, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        small, large = ArtifactStore(url=str(disk / "store")), ArtifactStore(url=str(tmp_path / "large"))
        (tree / "big").write_bytes(bytes(MIB))
        with pytest.raises(ActionFailed, match="the disk is full; free some space"):
            store_tree(small, "Build", OutputTree(tree))
        artifact = store_tree(large, "Build", OutputTree(tree))
        with pytest.raises(ActionFailed, match="the disk is full; free some space"):
            fetch_tree(large, artifact, disk / "out")

        assert stored_files(small) == []
        assert not (disk / "out").exists()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def in_a_process(work: Callable[[], object]) -> int:
    """Start `work` in a fork; the process id. It ends with 0 when the work did."""
    if child := os.fork():
        return child
    try:
        work()
        os._exit(0)
    finally:
        os._exit(1)


def test_a_death_in_the_middle_leaves_nothing_that_could_be_fetched_and_what_it_leaves_goes_away(store, tree):
    (tree / "big").write_bytes(bytes(MIB))

    def die() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (MIB // 2, MIB // 2))
        store_tree(store, "Build", OutputTree(tree))

    _, status = os.waitpid(in_a_process(die), 0)
    assert os.WTERMSIG(status) == signal.SIGXFSZ
    (left,) = stored_files(store)
    assert left.parent.name == "incoming"

    store_tree(store, "Other", OutputTree(tree, ["nothing"]))
    assert left.exists()  # it could be somebody's who is at work
    os.utime(left, (1, 1))
    store_tree(store, "Other", OutputTree(tree, ["nothing"]))
    assert not left.exists()


def test_processes_that_store_the_same_tree_at_once_do_not_meet(store, tree, tmp_path):
    (tree / "big").write_bytes(os.urandom(4 * MIB))
    children = [in_a_process(lambda: store_tree(store, "Build", OutputTree(tree))) for _ in range(6)]
    statuses = [os.waitpid(child, 0)[1] for child in children]

    assert statuses == [0] * 6
    assert len(stored_files(store)) == 1
    fetch_tree(store, store_tree(store, "Build", OutputTree(tree)), tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tree)


# --- S3


@pytest.fixture
def bucket(moto_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A client of boto's, and an empty bucket `releases`, as the usual AWS variables name them."""
    import boto3

    for name, value in {
        "AWS_ENDPOINT_URL": moto_url,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "PREFECT_CODEPIPELINE_CACHE": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    bucket = boto3.resource("s3").create_bucket(Bucket="releases")
    yield bucket
    bucket.objects.all().delete()


@pytest.fixture
def s3_store(bucket: Any) -> ArtifactStore:
    return ArtifactStore(url="s3://releases/artifacts/")


def test_a_tree_goes_through_s3_once_and_leaves_no_copy_here(s3_store, bucket, tree, tmp_path):
    artifact = store_tree(s3_store, "Build", OutputTree(tree))
    (before,) = list(bucket.objects.all())
    store_tree(s3_store, "Again", OutputTree(tree))
    fetch_tree(s3_store, artifact, tmp_path / "out")

    assert contents(tmp_path / "out") == contents(tree)
    (after,) = list(bucket.objects.all())
    assert after.last_modified == before.last_modified
    assert after.key == f"artifacts/trees/{artifact.sha256[:2]}/{artifact.sha256}.tar"
    assert list((tmp_path / "cache" / "artifacts").iterdir()) == []


def test_a_local_folder_and_s3_give_a_tree_the_same_name(store, s3_store, tree):
    assert store_tree(store, "Build", OutputTree(tree)) == store_tree(s3_store, "Build", OutputTree(tree))


def test_a_large_tree_goes_to_s3_in_parts_and_none_is_left_over(s3_store, bucket, tree, tmp_path):
    (tree / "big").write_bytes(os.urandom(40 * MIB))
    artifact = store_tree(s3_store, "Build", OutputTree(tree))
    fetch_tree(s3_store, artifact, tmp_path / "out")

    (stored,) = list(bucket.objects.all())
    assert stored.e_tag.strip('"').endswith("-6")  # parts, 8 MiB each
    assert list(bucket.multipart_uploads.all()) == []
    assert contents(tmp_path / "out") == contents(tree)


def test_the_endpoint_and_the_key_can_come_from_the_block(bucket, moto_url, monkeypatch, tree, tmp_path):
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    options = {"endpoint_url": moto_url, "key": "testing", "secret": "testing-secret"}
    store = ArtifactStore(url="s3://releases/mine", storage_options=options)
    fetch_tree(store, store_tree(store, "Build", OutputTree(tree)), tmp_path / "out")

    assert contents(tmp_path / "out") == contents(tree)


def test_a_bucket_that_is_not_there_is_named_and_no_secret_is(bucket, tree):
    options = {"key": "testing", "secret": "hunter2"}
    store = ArtifactStore(url="s3://nowhere/artifacts", storage_options=options)

    with pytest.raises(
        ActionFailed, match=r"'s3://nowhere/artifacts' failed: .*bucket does not exist"
    ) as caught:
        store_tree(store, "Build", OutputTree(tree))
    assert "hunter2" not in str(caught.value)


def test_a_server_that_does_not_answer_is_one_message(bucket, tree):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        options = {
            "endpoint_url": f"http://127.0.0.1:{free.getsockname()[1]}",
            "config_kwargs": {"retries": {"max_attempts": 0}},
        }
        store = ArtifactStore(url="s3://releases", storage_options=options)

        with pytest.raises(
            ActionFailed, match=r"'s3://releases' failed: .*EndpointConnectionError.* check the"
        ):
            store_tree(store, "Build", OutputTree(tree))


def test_options_that_the_client_does_not_know_are_one_message(bucket, tree):
    store = ArtifactStore(url="s3://releases", storage_options={"end_point": "http://127.0.0.1"})

    with pytest.raises(ActionFailed, match=r"'s3://releases' failed: .*end_point"):
        store_tree(store, "Build", OutputTree(tree))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(None, "s3://releases/artifacts/trees/.* no longer exists", id="gone"),
        pytest.param(b"short", "is damaged: it has 5 bytes", id="cut"),
        pytest.param("same size", "is damaged: its content has changed since it was stored", id="changed"),
    ],
)
def test_damage_in_s3_is_found(body, message, s3_store, bucket, tree, tmp_path):
    artifact = store_tree(s3_store, "Build", OutputTree(tree))
    (stored,) = list(bucket.objects.all())
    stored.delete() if body is None else stored.put(
        Body=bytes(artifact.size) if body == "same size" else body
    )

    with pytest.raises(ActionFailed, match=f"^fetching artifact 'Build' failed: .*{message}"):
        fetch_tree(s3_store, artifact, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert list((tmp_path / "cache" / "artifacts").iterdir()) == []


def test_a_disk_too_full_for_the_download_is_not_the_stores_fault(s3_store, tree, tmp_path):
    (tree / "big").write_bytes(bytes(MIB))
    artifact = store_tree(s3_store, "Build", OutputTree(tree))

    with (
        files_no_larger_than(MIB // 2),
        pytest.raises(ActionFailed, match=f"failed at {tmp_path}/cache/artifacts: the disk is full"),
    ):
        fetch_tree(s3_store, artifact, tmp_path / "out")
    assert list((tmp_path / "cache" / "artifacts").iterdir()) == []


@pytest.mark.parametrize(
    ("url", "module", "message"),
    [
        ("s3://releases", "s3fs", "its extra `s3`: README.md"),
        ("gs://releases", "gcsfs", "gcsfs"),
    ],
)
def test_a_missing_client_is_named_with_how_to_install_it(url, module, message, tree, monkeypatch):
    registry = importlib.import_module("fsspec.registry")
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(registry._registry, url.partition(":")[0], raising=False)

    with pytest.raises(ActionFailed, match=message) as caught:
        store_tree(ArtifactStore(url=url), "Build", OutputTree(tree))
    assert caught.value.code == "ConfigurationError"
