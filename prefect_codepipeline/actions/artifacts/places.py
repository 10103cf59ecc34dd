"""Where archives lie: files of a local folder, or objects of a store that fsspec reaches, named by their content.

What is there is whole and never changes: files come by a rename, objects by an upload that ends or never was.
"""

from __future__ import annotations

import errno
import math
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import fsspec
from platformdirs import user_cache_path

from prefect_codepipeline.blocks.artifact_store import ArtifactStore
from prefect_codepipeline.errors import ActionFailed

Result = TypeVar("Result")
# EFBIG is how a limit on the size of files looks.
FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CACHE_VARIABLE = "PREFECT_CODEPIPELINE_CACHE"
_STALE_SECONDS = 24 * 3600
_PART = ".part-"
# s3fs would hold ten parts of 50 MiB each; S3 takes 10,000 parts at most.
_S3_PARTS_AT_ONCE = 4
_S3_PART_BYTES = 8 << 20
_S3_PARTS = 10_000


def work_folder(store: ArtifactStore) -> Path:
    """Where archives are made: inside a local store, so that keeping one is a rename."""
    if store.folder:
        return store.folder / "incoming"
    return Path(os.environ.get(_CACHE_VARIABLE) or user_cache_path("prefect-codepipeline")) / "artifacts"


@contextmanager
def work_file(store: ArtifactStore) -> Iterator[Path]:
    """A file to make an archive in, gone afterwards; what killed processes left there goes, too."""
    folder = work_folder(store)
    folder.mkdir(parents=True, exist_ok=True)
    _drop_stale(folder)
    path = folder / f"{_PART}{uuid4().hex}"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def keep(store: ArtifactStore, archive: Path, digest: str) -> None:
    """Move an archive to its place, unless it is there already."""
    size = archive.stat().st_size
    if _size(store, digest) == size:
        return
    if store.folder is None:
        filesystem, path = _remote(store, _key(digest))
        options = _transfer_options(filesystem, size)
        with suppress(FileExistsError):  # Azure's client refuses what somebody else has just put there
            _ask(store, lambda: filesystem.put_file(str(archive), path, **options))
        return
    target = store.folder / _key(digest)
    target.parent.mkdir(parents=True, exist_ok=True)
    archive.chmod(stat.S_IMODE(archive.stat().st_mode) & ~0o222)
    os.replace(archive, target)


def keep_file(store: ArtifactStore, source: Path, key: str) -> None:
    """Copy a file to `<store>/<key>`, where people can open it; what is there is replaced.

    Raises:
        ActionFailed: the store did not do it.
        OSError: the file cannot be read, or the disk is full.
    """
    if store.folder is None:
        filesystem, path = _remote(store, key)
        options = _transfer_options(filesystem, source.stat().st_size)
        _ask(store, lambda: filesystem.put_file(str(source), path, **options))
        return
    target = store.folder / key
    target.parent.mkdir(parents=True, exist_ok=True)
    with work_file(store) as copy:
        shutil.copyfile(source, copy)
        os.replace(copy, target)


@contextmanager
def local_archive(store: ArtifactStore, digest: str, size: int) -> Iterator[Path | None]:
    """The file with an archive of `size` bytes: the stored one, or a copy for a while; None when that is not there.

    Raises:
        ActionFailed: what is there has another size.
    """
    found = _size(store, digest)
    if found is None:
        yield None
        return
    if found != size:
        raise ActionFailed(f"{where(store, digest)} is damaged: it has {found} bytes in place of {size}")
    if store.folder:
        yield store.folder / _key(digest)
        return
    with work_file(store) as copy:
        filesystem, path = _remote(store, _key(digest))
        options = _transfer_options(filesystem, size)
        _ask(store, lambda: filesystem.get_file(path, str(copy), **options))
        yield copy


def where(store: ArtifactStore, digest: str) -> str:
    """The archive's place as a person can look it up."""
    return f"{store.url}/{_key(digest)}"


def _key(digest: str) -> str:
    return f"trees/{digest[:2]}/{digest}.tar"


def _size(store: ArtifactStore, digest: str) -> int | None:
    """How many bytes the stored archive has, None when there is none."""
    if store.folder is None:
        filesystem, path = _remote(store, _key(digest))
        return _ask(store, lambda: _object_size(filesystem, path))
    try:
        return (store.folder / _key(digest)).stat().st_size
    except FileNotFoundError:
        return None


def _object_size(filesystem: Any, path: str) -> int | None:
    try:
        return int(filesystem.info(path, refresh=True)["size"])
    except FileNotFoundError:
        return None


def _remote(store: ArtifactStore, key: str) -> tuple[Any, str]:
    """The client of an object store, which has no types, and the object's path."""
    try:
        filesystem, root = _ask(store, lambda: fsspec.url_to_fs(store.url, **store.options()))
    except ImportError as error:
        advice = "pip install 'prefect-codepipeline[s3]'" if store.url.startswith("s3") else str(error)
        raise ActionFailed(
            f"the artifact store {store.url!r} needs a package that is not installed here: {advice}",
            code="ConfigurationError",
        ) from None
    return filesystem, f"{root.rstrip('/')}/{key}"


def _ask(store: ArtifactStore, question: Callable[[], Result]) -> Result:
    """Let somebody else's client do something; its own errors, of whatever kind, are the store's failure."""
    try:
        return question()
    except (ImportError, FileExistsError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL_DISK:
            raise
        raise ActionFailed(
            f"the artifact store {store.url!r} did not do what it was asked: {type(error).__name__}: {error}; "
            "check the ArtifactStore block, its credentials, and that this machine reaches it"
        ) from error


def _transfer_options(filesystem: Any, size: int) -> dict[str, int]:
    if "s3" not in filesystem.protocol:
        return {}
    part = max(_S3_PART_BYTES, math.ceil(size / _S3_PARTS))
    return {"chunksize": part, "max_concurrency": _S3_PARTS_AT_ONCE}


def _drop_stale(folder: Path) -> None:
    """Remove what a process left behind when it was killed."""
    for part in folder.glob(f"{_PART}*"):
        try:
            if time.time() - part.stat().st_mtime > _STALE_SECONDS:
                part.unlink()
        except FileNotFoundError:
            continue
