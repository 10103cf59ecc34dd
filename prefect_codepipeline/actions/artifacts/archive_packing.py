"""A tree becomes an archive and an archive becomes a tree, its bytes going from file to file inside the kernel."""

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
# The kernel has no such call, or not for these two files; reading and writing does it.
_NOT_IN_KERNEL = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM}


def pack(tree: OutputTree, archive: Path, store: ArtifactStore) -> int:
    """Write the archive of a tree; how many files and links it holds.

    Raises:
        UnfitTreeError: something in the tree cannot be in an artifact, or changed meanwhile.
        OSError: `archive` could not be written.
    """
    rules = TreeRules(store)
    root = os.path.abspath(tree.directory)
    listed = None if tree.files is None else _listed(tree.files)
    names = _walk(root) if listed is None else {part for name in listed for part in _with_parents(name)}
    count, pad = 0, 0
    with archive.open("wb", buffering=0) as packed:
        for name in sorted(names, key=os.fsencode):
            path = os.path.join(root, name)
            member = _describe(name, path)
            if member.kind == "folder" and listed and name in listed:
                raise UnfitTreeError(f"{name!r} is a folder: name the files in it")
            rules.admit(member)
            count += member.kind != "folder"
            _write_all(packed, b"\0" * pad + encode(member))
            pad = padding(member.size)
            if member.kind == "file":
                _append(path, member, packed)
        _write_all(packed, b"\0" * pad + END)
    return count


def unpack(archive: Path, destination: Path, store: ArtifactStore) -> None:
    """Make the tree of an archive in an empty directory.

    Raises:
        UnfitTreeError: the archive would leave the directory, is too large, or is no archive.
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


def _listed(files: Sequence[str]) -> set[str]:
    names = {str(PurePosixPath(file)) for file in files}
    for name in names:
        if name.startswith("/") or not {".", ".."}.isdisjoint(name.split("/")):
            raise UnfitTreeError(f"the name {name!r} leaves the tree, or is no name")
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
        f"{name!r} is no file, folder or symbolic link but {_kind_of_special(status.st_mode)}"
    )


def _kind_of_special(mode: int) -> str:
    return "a socket" if stat.S_ISSOCK(mode) else "a named pipe" if stat.S_ISFIFO(mode) else "a device"


def _append(path: str, member: Member, packed: BinaryIO) -> None:
    # Not to follow, nor to wait for, what took the file's place since it was described.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        source = os.open(path, flags)
    except OSError as error:
        raise _unreadable(member.name, error) from error
    try:
        before = os.fstat(source)
        copied = _copy(source, packed.fileno(), member.size) if before.st_size == member.size else -1
        after = os.fstat(source)
    finally:
        os.close(source)
    if copied != member.size or (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise UnfitTreeError(
            f"{member.name!r} changed while it was stored; what writes it must have ended by then"
        )


def _extract(packed: BinaryIO, member: Member, path: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    target = os.open(path, flags, 0o755 if member.executable else 0o644)
    try:
        copied = _copy(packed.fileno(), target, member.size)
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(target)
    if copied != member.size:
        raise UnfitTreeError(f"it ends within {member.name!r}")


def _copy(source: int, target: int, size: int) -> int:
    """Copy up to `size` bytes between the files' positions; how many there were."""
    copied = 0
    while copied < size:
        count = size - copied
        moved = _copy_in_kernel(source, target, count) or _copy_through_memory(source, target, count)
        if not moved:
            break
        copied += moved
    return copied


def _copy_in_kernel(source: int, target: int, count: int) -> int:
    """0 where the kernel cannot; some file systems say so by 0 themselves."""
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
        return UnfitTreeError(f"{name!r} is not there, or went away while it was stored")
    return UnfitTreeError(f"{name!r} cannot be read: {error.strerror}")
