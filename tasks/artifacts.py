"""Store and fetch artifact trees, each named by the hash of its content, so that equal trees are stored once.

A tree is kept as a canonical tar: sorted names, no times, no owners, modes 644 and 755, symbolic links as they are.
Bytes go from file to file inside the kernel; nothing is held in memory.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import fsspec
import platformdirs

from prefect_codepipeline.blocks.artifact_store import ArtifactStore
from prefect_codepipeline.errors import ActionFailed, MissingBlock
from prefect_codepipeline.model.execution import StoredArtifact
from prefect_codepipeline.tasks.prefect_api import call
from prefect_codepipeline.tasks.registry import OutputTree

FOLDER_VARIABLE = "PREFECT_CODEPIPELINE_ARTIFACTS"
_CHUNK = 1 << 20
_BLOCK = tarfile.BLOCKSIZE
_STALE_SECONDS = 24 * 3600
_PART = ".part-"


def load_artifact_store(name: str | None) -> ArtifactStore:
    """The store of that name; without one the block `default`, else a folder of this user's.

    Raises:
        MissingBlock: a block is named that does not exist.
    """
    path = f"/block_types/slug/artifact-store/block_documents/name/{name or 'default'}?include_secrets=true"
    status, document = call("GET", path, expected=(404,))
    if status == 200:
        return ArtifactStore.model_validate(document["data"])
    if name:
        raise MissingBlock(
            f"there is no ArtifactStore block {name!r}; make it in Prefect's UI under Blocks, or in Python: "
            f"ArtifactStore(url='s3://bucket/prefix').save({name!r})"
        )
    folder = (
        os.environ.get(FOLDER_VARIABLE) or platformdirs.user_data_path("prefect-codepipeline") / "artifacts"
    )
    return ArtifactStore(url=str(folder))


def store_tree(
    store: ArtifactStore, name: str, tree: OutputTree, revision_id: str | None = None
) -> StoredArtifact:
    """Keep a tree as the artifact `name`; a tree that is there already is not written again.

    Raises:
        ActionFailed: what cannot be an artifact (a socket, a link that leaves the tree, a file that cannot be read),
            a full disk, or a store that does not answer; names the file or the store.
    """
    with _translated(f"storing artifact {name!r}"), _workspace(store) as folder:
        packed = folder / f"{_PART}{os.getpid()}-{time.monotonic_ns()}"
        try:
            files = _pack(tree, name, packed)
            digest, size = _hash(packed)
            _keep(store, packed, _key(digest))
        finally:
            packed.unlink(missing_ok=True)
    return StoredArtifact(
        name=name, sha256=digest, size=size, files=files, format=tree.format, revision_id=revision_id
    )


def fetch_tree(store: ArtifactStore, artifact: StoredArtifact, destination: Path) -> None:
    """Unpack an artifact into an empty directory; nothing is left there when it fails.

    Raises:
        ActionFailed: the artifact is gone, damaged, or would leave the directory, or the disk is full.
    """
    try:
        with _translated(f"fetching artifact {artifact.name!r}"), _local_copy(store, artifact) as packed:
            _verify(store, artifact, packed)
            _unpack(store, artifact, packed, destination)
    except BaseException:
        shutil.rmtree(destination, ignore_errors=True)
        raise


def _pack(tree: OutputTree, name: str, target: Path) -> int:
    """Write the canonical tar of a tree; how many files and links it holds."""
    count = 0
    with target.open("wb", buffering=0) as packed:
        for path, full in _members(tree):
            info, is_data = _describe(path, full, name)
            count += not info.isdir()
            packed.write(info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"))
            if is_data:
                _append(full, info.size, packed)
        packed.write(b"\0" * (2 * _BLOCK))
    return count


def _members(tree: OutputTree) -> Iterator[tuple[str, str]]:
    """Relative name and path of everything in the tree, sorted, folders before what is in them."""
    root = os.path.abspath(tree.directory)
    if tree.files is None:
        names = sorted(_walk(root, ""), key=os.fsencode)
    else:
        names = sorted({part for file in tree.files for part in _with_parents(file)}, key=os.fsencode)
    return ((name, os.path.join(root, name)) for name in names)


def _walk(root: str, below: str) -> Iterator[str]:
    with os.scandir(os.path.join(root, below)) as entries:
        for entry in entries:
            name = f"{below}/{entry.name}" if below else entry.name
            yield name
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(root, name)


def _with_parents(file: str) -> list[str]:
    path = PurePosixPath(file)
    if path.is_absolute() or ".." in path.parts:
        raise ActionFailed(f"{file!r} lies outside of the tree", code="ConfigurationError")
    return [str(path), *(str(parent) for parent in path.parents if str(parent) != ".")]


def _describe(path: str, full: str, name: str) -> tuple[tarfile.TarInfo, bool]:
    status = os.lstat(full)
    info = tarfile.TarInfo(path)
    if stat.S_ISREG(status.st_mode):
        info.size = status.st_size
        info.mode = 0o755 if status.st_mode & 0o100 else 0o644
        return info, True
    if stat.S_ISDIR(status.st_mode):
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        return info, False
    if stat.S_ISLNK(status.st_mode):
        info.type, info.mode, info.linkname = tarfile.SYMTYPE, 0o777, os.readlink(full)
        if why := _leaves(path, info.linkname):
            raise ActionFailed(
                f"artifact {name!r} cannot hold the symbolic link {path!r} -> {info.linkname!r}: {why}"
            )
        return info, False
    raise ActionFailed(f"artifact {name!r} cannot hold {path!r}: it is no file, folder or link")


def _append(full: str, size: int, packed: BinaryIO) -> None:
    with open(full, "rb", buffering=0) as source:
        copied = _copy(source.fileno(), packed.fileno(), size)
    if copied != size:
        raise ActionFailed(f"file {full!r} changed while it was stored: {copied} of {size} bytes were there")
    if size % _BLOCK:
        packed.write(b"\0" * (_BLOCK - size % _BLOCK))


def _copy(source: int, target: int, size: int, offset: int | None = None) -> int:
    """Copy `size` bytes inside the kernel where it can; how many there were."""
    copied = 0
    while copied < size:
        at = None if offset is None else offset + copied
        sent = _send(source, target, at, min(size - copied, 1 << 30))
        if sent == 0:
            break
        copied += sent
    return copied


def _send(source: int, target: int, offset: int | None, count: int) -> int:
    if hasattr(os, "copy_file_range"):
        try:
            return os.copy_file_range(source, target, count, offset_src=offset)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF):
                raise
    size = min(count, _CHUNK)
    data = os.read(source, size) if offset is None else os.pread(source, size, offset)
    written = 0
    while written < len(data):
        written += os.write(target, data[written:])
    return len(data)


def _unpack(store: ArtifactStore, artifact: StoredArtifact, packed: Path, destination: Path) -> None:
    destination.mkdir(parents=True, exist_ok=True)
    budget = _Budget(store, artifact)
    links: set[str] = set()
    seen: set[str] = set()
    made: set[str] = {""}
    with packed.open("rb") as file, tarfile.open(fileobj=file, mode="r:", errorlevel=2) as tar:
        while (member := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # tarfile would keep every member in memory
            budget.spend(member)
            path = _checked_name(member, artifact, links, seen)
            _make_parents(destination, path, made)
            target = os.path.join(destination, path)
            if member.isdir():
                os.makedirs(target, exist_ok=True)
                made.add(path)
            elif member.issym():
                if why := _leaves(path, member.linkname):
                    raise _refused(artifact, path, f"it links to {member.linkname!r}: {why}")
                os.symlink(member.linkname, target)
                links.add(path)
            else:
                _write_file(file, member, target)


class _Budget:
    """How much a tree may unpack to, counted while unpacking: a header may promise what it likes."""

    def __init__(self, store: ArtifactStore, artifact: StoredArtifact) -> None:
        self._store, self._artifact = store, artifact
        self._members = self._bytes = 0

    def spend(self, member: tarfile.TarInfo) -> None:
        self._members += 1
        self._bytes += member.size
        if self._members > self._store.max_tree_files:
            raise _refused(
                self._artifact, member.name, f"it has more than {self._store.max_tree_files} files"
            )
        if self._bytes > self._store.max_tree_bytes:
            raise _refused(
                self._artifact, member.name, f"it unpacks to more than {self._store.max_tree_bytes} bytes"
            )


def _checked_name(member: tarfile.TarInfo, artifact: StoredArtifact, links: set[str], seen: set[str]) -> str:
    name = member.name.rstrip("/")
    parts = name.split("/")
    if not name or name.startswith("/") or "\0" in name or {"", ".", ".."} & set(parts):
        raise _refused(artifact, member.name, "the name leaves the tree")
    if not (member.isreg() or member.isdir() or member.issym()):
        raise _refused(artifact, member.name, "it is no file, folder or symbolic link")
    if name in seen and not member.isdir():
        raise _refused(artifact, member.name, "the name stands twice")
    seen.add(name)
    for end in range(1, len(parts) + 1):
        if "/".join(parts[:end]) in links:
            raise _refused(artifact, member.name, "it lies behind a symbolic link")
    return name


def _leaves(path: str, target: str) -> str:
    """Why a link from `path` to `target` may leave the tree, empty when it cannot.

    `..` counts only at the beginning, where it climbs real folders: behind another link it could climb anywhere.
    """
    parts = target.split("/")
    if target.startswith("/") or "\0" in target or not target:
        return "it leaves the tree"
    climbs = 0
    while climbs < len(parts) and parts[climbs] in ("..", "."):
        climbs += 1
    if ".." in parts[climbs:]:
        return "'..' may stand only at the beginning of a link"
    if parts[:climbs].count("..") > path.count("/"):
        return "it leaves the tree"
    return ""


def _make_parents(destination: Path, path: str, made: set[str]) -> None:
    parent = path.rpartition("/")[0]
    if parent not in made:
        os.makedirs(os.path.join(destination, parent), exist_ok=True)
        made.add(parent)


def _write_file(packed: BinaryIO, member: tarfile.TarInfo, target: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(target, flags, 0o755 if member.mode & 0o100 else 0o644)
    try:
        copied = _copy(packed.fileno(), descriptor, member.size, member.offset_data)
    finally:
        os.close(descriptor)
    if copied != member.size:
        raise EOFError(f"{member.name} ends early")


def _refused(artifact: StoredArtifact, member: str, why: str) -> ActionFailed:
    return ActionFailed(f"artifact {artifact.name!r} was not unpacked because of {member!r}: {why}")


def _key(digest: str) -> str:
    return f"trees/{digest[:2]}/{digest}.tar"


@contextmanager
def _workspace(store: ArtifactStore) -> Iterator[Path]:
    """A folder to pack in: inside a local store, so that keeping is a rename."""
    if store.folder is None:
        with tempfile.TemporaryDirectory(prefix="codepipeline-artifact-") as folder:
            yield Path(folder)
        return
    incoming = store.folder / "incoming"
    incoming.mkdir(parents=True, exist_ok=True)
    _clean(incoming)
    yield incoming


def _clean(incoming: Path) -> None:
    """Drop what a process left behind when it was killed."""
    for part in incoming.glob(f"{_PART}*"):
        try:
            if time.time() - part.stat().st_mtime > _STALE_SECONDS:
                part.unlink()
        except FileNotFoundError:
            continue


def _keep(store: ArtifactStore, packed: Path, key: str) -> None:
    if store.folder:
        target = store.folder / key
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(packed, target)
        return
    filesystem, root = _filesystem(store)
    if not filesystem.exists(f"{root}/{key}"):
        filesystem.put_file(str(packed), f"{root}/{key}")


@contextmanager
def _local_copy(store: ArtifactStore, artifact: StoredArtifact) -> Iterator[Path]:
    key = _key(artifact.sha256)
    if store.folder:
        yield store.folder / key
        return
    filesystem, root = _filesystem(store)
    with tempfile.TemporaryDirectory(prefix="codepipeline-artifact-") as folder:
        copy = Path(folder) / "tree.tar"
        filesystem.get_file(f"{root}/{key}", str(copy))
        yield copy


def _filesystem(store: ArtifactStore) -> tuple[Any, str]:
    try:
        filesystem, root = fsspec.url_to_fs(store.url, **store.options())
    except ImportError as error:
        raise ActionFailed(
            f"the artifact store {store.url!r} needs a package that is not installed ({error}); "
            "for s3:// URLs: pip install 'prefect-codepipeline[s3]'",
            code="ConfigurationError",
        ) from None
    return filesystem, root.rstrip("/")


def _hash(packed: Path) -> tuple[str, int]:
    with packed.open("rb", buffering=0) as file:
        digest = hashlib.sha256()
        buffer = memoryview(bytearray(_CHUNK))
        size = 0
        while read := file.readinto(buffer):
            digest.update(buffer[:read])
            size += read
    return digest.hexdigest(), size


def _verify(store: ArtifactStore, artifact: StoredArtifact, packed: Path) -> None:
    if _hash(packed)[0] != artifact.sha256:
        raise ActionFailed(
            f"artifact {artifact.name!r} is damaged in the store {store.url!r}: its content is not what was stored"
        )


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """The errors of disks and stores as failures that a person can act on."""
    try:
        yield
    except ActionFailed:
        raise
    except FileNotFoundError as error:
        raise ActionFailed(f"{what} failed: {error.filename or error} is not there") from error
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        why = "the disk is full" if full else error.strerror or str(error)
        raise ActionFailed(
            f"{what} failed: {why}{f' ({error.filename})' if error.filename else ''}"
        ) from error
    except (tarfile.TarError, EOFError) as error:
        raise ActionFailed(f"{what} failed: the stored tree cannot be read: {error}") from error
    except Exception as error:  # every store has errors of its own
        if type(error).__module__.partition(".")[0] in ("botocore", "aiobotocore", "aiohttp", "s3fs"):
            raise ActionFailed(f"{what} failed: {type(error).__name__}: {error}") from error
        raise
