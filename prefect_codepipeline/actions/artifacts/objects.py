"""Small objects and parts in an artifact store, beside its trees, by keys such as `uploads/…`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from prefect_codepipeline.actions.artifacts.archive_packing import copy_bytes
from prefect_codepipeline.actions.artifacts.places import (
    remote,
    request,
    shared_bits,
    transfer_options,
    work_file,
)
from prefect_codepipeline.blocks.artifact_store import ArtifactStore
from prefect_codepipeline.private_files import make_private


def write_object(store: ArtifactStore, key: str, content: bytes) -> None:
    """Write `<store>/<key>`; an existing object is replaced as a whole.

    Raises:
        ActionFailed: the store failed.
        OSError: the disk is full.
    """
    if store.folder is None:
        filesystem, path = remote(store, key)
        request(store, lambda: filesystem.pipe_file(path, content))
        return
    with work_file(store) as copy:
        copy.write_bytes(content)
        move_object(store, key, copy)


def move_object(store: ArtifactStore, key: str, source: Path) -> None:
    """Move a work file of the store to `<store>/<key>`; an existing object is replaced. Raises as `write_object` does."""
    if store.folder is None:
        filesystem, path = remote(store, key)
        options = transfer_options(filesystem, source.stat().st_size)
        request(store, lambda: filesystem.put_file(str(source), path, **options))
        return
    target = store.folder / key
    make_private(target.parent, store.folder)
    source.chmod(0o644 & shared_bits(store.folder))
    os.replace(source, target)


def read_object(store: ArtifactStore, key: str) -> bytes | None:
    """The content of `<store>/<key>`, or None if the store does not have it. Raises `ActionFailed`: the store failed."""
    if store.folder is None:
        filesystem, path = remote(store, key)

        def read() -> bytes | None:
            with suppress(FileNotFoundError):
                return bytes(filesystem.cat_file(path))
            return None

        return request(store, read)
    with suppress(FileNotFoundError):
        return (store.folder / key).read_bytes()
    return None


def append_object(store: ArtifactStore, key: str, target: BinaryIO) -> None:
    """Append the content of `<store>/<key>` to an unbuffered file.

    Raises:
        FileNotFoundError: the store does not have it.
        ActionFailed: the store failed.
        OSError: the disk is full.
    """
    if store.folder:
        _append(store.folder / key, target)
        return
    with work_file(store) as copy:
        filesystem, path = remote(store, key)
        options = transfer_options(filesystem, 0)

        def fetch() -> bool:
            try:
                filesystem.get_file(path, str(copy), **options)
            except FileNotFoundError:
                return False
            return True

        if not request(store, fetch):
            raise FileNotFoundError(f"{store.url}/{key}")
        _append(copy, target)


def _append(source: Path, target: BinaryIO) -> None:
    with source.open("rb", buffering=0) as file:
        copy_bytes(file.fileno(), target.fileno(), os.fstat(file.fileno()).st_size)


def list_objects(store: ArtifactStore, key: str) -> dict[str, int]:
    """What is below `<store>/<key>/`, in any depth: names relative to it, with their sizes in bytes.

    Raises:
        ActionFailed: the store failed.
    """
    if store.folder is None:
        filesystem, path = remote(store, key)

        def find() -> dict[str, int]:
            filesystem.invalidate_cache(path)
            found = filesystem.find(path, detail=True)
            # s3fs remembers folders: one that has lost its last file is found as if it were one itself.
            files = {name: each["size"] for name, each in found.items() if each["type"] == "file"}
            return {name.removeprefix(path).lstrip("/"): size for name, size in files.items()}

        return request(store, find)
    found: dict[str, int] = {}
    for folder, _, files in os.walk(store.folder / key):
        for name in files:
            file = Path(folder, name)
            with suppress(FileNotFoundError):
                found[file.relative_to(store.folder / key).as_posix()] = file.stat().st_size
    return found


def remove_objects(store: ArtifactStore, keys: Sequence[str]) -> None:
    """Remove `<store>/<key>` for each key; it may be gone already. Raises `ActionFailed`: the store failed."""
    if store.folder is None:
        places = [remote(store, key) for key in keys]

        def remove() -> None:
            with suppress(FileNotFoundError):
                places[0][0].rm([path for _, path in places])

        if places:
            request(store, remove)
        return
    for key in keys:
        (store.folder / key).unlink(missing_ok=True)
    for folder in {(store.folder / key).parent for key in keys}:
        with suppress(OSError):  # it has other files
            folder.rmdir()
