"""Pack a tree into an archive and unpack it again; file content is copied inside the kernel where possible."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from prefect_codepipeline.actions.artifacts.archive_member import (
    END,
    Member,
    TreeRules,
    UnfitTreeError,
    encode,
    padding,
    read_member,
)
from prefect_codepipeline.actions.work import OutputTree
from prefect_codepipeline.blocks.artifact_store import ArtifactStore

_CHUNK = 1 << 20
# The kernel cannot copy between these two files; their content is read and written instead.
_NOT_IN_KERNEL = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM}


def pack(tree: OutputTree, archive: Path, store: ArtifactStore) -> int:
    """Write the archive of a tree and return the number of its files and links.

    Raises:
        UnfitTreeError: the tree contains something that an artifact cannot contain, or it changed while it was packed.
        OSError: `archive` could not be written.
    """
    rules = TreeRules(store)
    root = os.path.abspath(tree.directory)
    listed = None if tree.files is None else _check_listed(tree.files)
    names = _walk(root) if listed is None else {part for name in listed for part in _with_parents(name)}
    count, pad = 0, 0
    with archive.open("wb", buffering=0) as packed:
        for name in sorted(names, key=os.fsencode):
            path = os.path.join(root, name)
            member = _describe(name, path)
            if member.kind == "folder" and listed and name in listed:
                raise UnfitTreeError(f"{name!r} is a folder; list the files in it instead")
            rules.admit(member)
            count += member.kind != "folder"
            _write_all(packed, b"\0" * pad + encode(member))
            pad = padding(member.size)
            if member.kind == "file":
                _append(path, member, packed)
        _write_all(packed, b"\0" * pad + END)
    return count


def unpack(archive: Path, destination: Path, store: ArtifactStore) -> None:
    """Unpack an archive into an empty directory.

    Raises:
        UnfitTreeError: a member leads out of the directory, the tree is too large, or the archive is not valid.
        OSError: `destination` could not be written.
    """
    rules = TreeRules(store)
    pad = 0
    with archive.open("rb", buffering=0) as packed:
        while (member := read_member(packed, pad)) is not None:
            rules.admit(member)
            path = os.path.join(destination, member.name)
            if member.kind == "folder":
                os.mkdir(path)
            elif member.kind == "link":
                os.symlink(member.target, path)
            else:
                _extract(packed, member, path)
            pad = padding(member.size)


def _check_listed(files: Sequence[str]) -> set[str]:
    names = {str(PurePosixPath(file)) for file in files}
    for name in names:
        if name.startswith("/") or not {".", ".."}.isdisjoint(name.split("/")):
            raise UnfitTreeError(f"the name {name!r} leads out of the tree, or is not a valid name")
    return names


def _with_parents(name: str) -> Iterator[str]:
    while name:
        yield name
        name = name.rpartition("/")[0]


def _walk(root: str) -> Iterator[str]:
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(os.path.join(root, folder)) as entries:
                found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        except OSError as error:
            raise _unreadable(folder or root, error) from error
        for name, is_folder in found:
            path = f"{folder}/{name}" if folder else name
            yield path
            if is_folder:
                folders.append(path)


def _describe(name: str, path: str) -> Member:
    try:
        status = os.lstat(path)
        if stat.S_ISREG(status.st_mode):
            return Member(name, "file", status.st_size, bool(status.st_mode & stat.S_IXUSR))
        if stat.S_ISDIR(status.st_mode):
            return Member(name, "folder")
        if stat.S_ISLNK(status.st_mode):
            return Member(name, "link", target=os.readlink(path))
    except OSError as error:
        raise _unreadable(name, error) from error
    raise UnfitTreeError(
        f"{name!r} is not a file, folder or symbolic link but {_kind_of_special(status.st_mode)}"
    )


def _kind_of_special(mode: int) -> str:
    return "a socket" if stat.S_ISSOCK(mode) else "a named pipe" if stat.S_ISFIFO(mode) else "a device"


def _append(path: str, member: Member, packed: BinaryIO) -> None:
    # The file may have been replaced since `_describe`: do not follow a link, do not wait for a pipe.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        source = os.open(path, flags)
    except OSError as error:
        raise _unreadable(member.name, error) from error
    try:
        before = os.fstat(source)
        copied = copy_bytes(source, packed.fileno(), member.size) if before.st_size == member.size else -1
        after = os.fstat(source)
    finally:
        os.close(source)
    if copied != member.size or (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise UnfitTreeError(
            f"{member.name!r} changed while it was stored; make sure that no process still writes it at the end of the "
            "action"
        )


def _extract(packed: BinaryIO, member: Member, path: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    target = os.open(path, flags, 0o755 if member.executable else 0o644)
    try:
        copied = copy_bytes(packed.fileno(), target, member.size)
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(target)
    if copied != member.size:
        raise UnfitTreeError(f"the archive ends in the middle of {member.name!r}")


def copy_bytes(source: int, target: int, size: int) -> int:
    """Copy up to `size` bytes between the files' current positions and return how many were copied."""
    copied = 0
    while copied < size:
        count = size - copied
        moved = _copy_in_kernel(source, target, count) or _copy_through_memory(source, target, count)
        if not moved:
            break
        copied += moved
    return copied


def _copy_in_kernel(source: int, target: int, count: int) -> int:
    """Return how many bytes were copied; 0 if the kernel cannot copy, which some file systems also report as 0."""
    if not hasattr(os, "copy_file_range"):
        return 0
    try:
        return os.copy_file_range(source, target, min(count, 1 << 30))
    except OSError as error:
        if error.errno in _NOT_IN_KERNEL:
            return 0
        raise


def _copy_through_memory(source: int, target: int, count: int) -> int:
    data = memoryview(os.read(source, min(count, _CHUNK)))
    written = 0
    while written < len(data):
        written += os.write(target, data[written:])
    return written


def _write_all(file: BinaryIO, data: bytes) -> None:
    written = 0
    while written < len(data):
        written += file.write(data[written:])


def _unreadable(name: str, error: OSError) -> UnfitTreeError:
    if isinstance(error, FileNotFoundError):
        return UnfitTreeError(f"{name!r} does not exist, or was removed while the artifact was stored")
    return UnfitTreeError(f"{name!r} cannot be read: {error.strerror}")
