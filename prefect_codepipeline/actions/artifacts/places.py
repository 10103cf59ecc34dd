"""Where archives are stored: in a local folder, or as objects in a store of fsspec, named by a hash of their content.

A stored archive is always complete and never changes: a file appears by a rename, an object by a complete upload.
"""

from __future__ import annotations

import errno
import math
import os
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import fsspec

from prefect_codepipeline.actions.artifacts.cache_folder import cache_root
from prefect_codepipeline.blocks.artifact_store import ArtifactStore
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.private_files import make_private

Result = TypeVar("Result")
# EFBIG: the process has a limit on the size of files.
FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_STALE_SECONDS = 24 * 3600
_PART = ".part-"
# By default s3fs keeps ten parts of 50 MiB in memory. S3 accepts at most 10,000 parts.
_S3_PARTS_AT_ONCE = 4
_S3_PART_BYTES = 8 << 20
_S3_PARTS = 10_000


def work_folder(store: ArtifactStore) -> Path:
    """Where archives are created: inside a local store, so that storing one is a rename."""
    return store.folder / "incoming" if store.folder else cache_root() / "artifacts"


@contextmanager
def work_file(store: ArtifactStore) -> Iterator[Path]:
    """A temporary file for an archive, removed afterwards; also removes stale files of killed processes."""
    folder = work_folder(store)
    make_private(folder, store.folder)
    _drop_stale(folder)
    path = folder / f"{_PART}{uuid4().hex}"
    path.touch(0o600, exist_ok=False)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def place_archive(store: ArtifactStore, archive: Path, digest: str) -> None:
    """Move an archive to its place in the store, unless the store has it already."""
    if not archive.exists():  # it was moved there before
        return
    size = archive.stat().st_size
    if _size(store, digest) == size:
        return
    if store.folder is None:
        filesystem, path = remote(store, tree_key(digest))
        options = transfer_options(filesystem, size)
        with suppress(
            FileExistsError
        ):  # Azure's client refuses an object that another process has just stored
            request(store, lambda: filesystem.put_file(str(archive), path, **options))
        return
    target = store.folder / tree_key(digest)
    make_private(target.parent, store.folder)
    archive.chmod(0o444 & shared_bits(store.folder))
    os.replace(archive, target)


def keep_file(store: ArtifactStore, source: Path, key: str) -> None:
    """Copy a file to `<store>/<key>`, where users can open it; an existing file is replaced.

    Raises:
        ActionFailed: the store failed.
        OSError: the file cannot be read, or the disk is full.
    """
    if store.folder is None:
        filesystem, path = remote(store, key)
        options = transfer_options(filesystem, source.stat().st_size)
        request(store, lambda: filesystem.put_file(str(source), path, **options))
        return
    target = store.folder / key
    make_private(target.parent, store.folder)
    with work_file(store) as copy:
        shutil.copyfile(source, copy)
        copy.chmod(0o644 & shared_bits(store.folder))
        os.replace(copy, target)


def shared_bits(folder: Path) -> int:
    """The bits of a store's own folder: its files are for those for whom the user has opened it, and for no others."""
    return stat.S_IMODE(folder.stat().st_mode) | 0o600


@contextmanager
def local_archive(store: ArtifactStore, digest: str, size: int) -> Iterator[Path | None]:
    """The file of a stored archive of `size` bytes, or a temporary copy of it; None if the store does not have it.

    Raises:
        ActionFailed: the stored archive has another size.
    """
    found = _size(store, digest)
    if found is None:
        yield None
        return
    if found != size:
        raise ActionFailed(f"{where(store, digest)} is damaged: it has {found} bytes instead of {size}")
    if store.folder:
        yield store.folder / tree_key(digest)
        return
    with work_file(store) as copy:
        filesystem, path = remote(store, tree_key(digest))
        options = transfer_options(filesystem, size)
        request(store, lambda: filesystem.get_file(path, str(copy), **options))
        yield copy


def where(store: ArtifactStore, digest: str) -> str:
    """The path or URL of an archive, for messages."""
    return f"{store.url}/{tree_key(digest)}"


def tree_key(digest: str) -> str:
    """The key of an archive in its store."""
    return f"trees/{digest[:2]}/{digest}.tar"


def _size(store: ArtifactStore, digest: str) -> int | None:
    """The size of the stored archive in bytes, or None if the store does not have it."""
    if store.folder is None:
        filesystem, path = remote(store, tree_key(digest))
        return request(store, lambda: _object_size(filesystem, path))
    try:
        return (store.folder / tree_key(digest)).stat().st_size
    except FileNotFoundError:
        return None


def _object_size(filesystem: Any, path: str) -> int | None:
    try:
        return int(filesystem.info(path, refresh=True)["size"])
    except FileNotFoundError:
        return None


def remote(store: ArtifactStore, key: str) -> tuple[Any, str]:
    """The client of an object store (fsspec has no type hints) and the object's path."""
    try:
        filesystem, root = request(store, lambda: fsspec.url_to_fs(store.url, **store.options()))
    except ImportError as error:
        extra = "install prefect-codepipeline there with its extra `s3`: README.md, Install it"
        advice = extra if store.url.startswith("s3") else str(error)
        raise ActionFailed(
            f"the artifact store {store.url!r} needs a package that is not installed in {sys.prefix}; {advice}",
            code="ConfigurationError",
        ) from None
    return filesystem, f"{root.rstrip('/')}/{key}"


def request(store: ArtifactStore, operation: Callable[[], Result]) -> Result:
    """Call the client of a store; any exception type that the client raises becomes a failure of the store."""
    try:
        return operation()
    except (ImportError, FileExistsError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL_DISK:
            raise
        raise ActionFailed(
            f"the request to the artifact store {store.url!r} failed: {type(error).__name__}: {error}; "
            "check the ArtifactStore block, its credentials, and that this machine can reach the store"
        ) from error


def transfer_options(filesystem: Any, size: int) -> dict[str, int]:
    """Options for the transfer of a file of that size: few parts at once, which are kept in memory."""
    if "s3" not in filesystem.protocol:
        return {}
    part = max(_S3_PART_BYTES, math.ceil(size / _S3_PARTS))
    return {"chunksize": part, "max_concurrency": _S3_PARTS_AT_ONCE}


def _drop_stale(folder: Path) -> None:
    """Remove the unfinished files of killed processes."""
    for part in folder.glob(f"{_PART}*"):
        try:
            if time.time() - part.stat().st_mtime > _STALE_SECONDS:
                part.unlink()
        except FileNotFoundError:
            continue
