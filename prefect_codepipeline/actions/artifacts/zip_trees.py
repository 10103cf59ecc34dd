"""Trees as ZIP archives, the format of artifacts of CodeBuild and CodePipeline in AWS."""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias
from zipfile import _EndRecData  # type: ignore[attr-defined]  # finds the same end as `ZipFile` does

from prefect_codepipeline.actions.artifacts.archive_member import (
    Kind,
    Member,
    TreeRules,
    UnfitTreeError,
    check_name,
)
from prefect_codepipeline.blocks.artifact_store import ArtifactStore

_LONGEST_TARGET = 4096
# A ZIP of few bytes can imply very many folders with long names.
_MOST_NAME_BYTES = 100_000_000
_ENTRY = zipfile.stringCentralDir  # type: ignore[attr-defined]
_ECD_SIZE, _ECD_LOCATION, _ZIP64_END_BYTES = 5, 9, 76
_CHUNK = 1 << 20
# What Java reads, in which AWS is written. A header of LZMA can ask for 4 GiB of memory.
_COMPRESSIONS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}


def zip_tree(directory: Path, archive: Path) -> None:
    """Write everything below a directory into a ZIP archive; symbolic links stay links.

    Raises:
        OSError: a file could not be read, or the archive not be written.
    """
    with zipfile.ZipFile(
        archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1, strict_timestamps=False
    ) as packed:
        for path in _below(directory):
            name = str(path.relative_to(directory))
            if path.is_symlink():
                info = zipfile.ZipInfo(name)
                info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
                packed.writestr(info, os.readlink(path))
            elif path.is_file() or path.is_dir():
                packed.write(path, name)


def unzip_tree(archive: Path, destination: Path, limits: ArtifactStore | None = None) -> None:
    """Extract a ZIP archive into an empty directory; nothing is written outside of it.

    Args:
        archive: the file.
        destination: an empty directory.
        limits: the store that the tree is for, which limits its size; by default the usual limits.

    Raises:
        UnfitTreeError: the archive would write outside the directory, is too large, or is not an archive.
        OSError: `destination` could not be written.
    """
    store = limits or ArtifactStore(url=str(destination.absolute()))
    with checked_members(archive, store) as (packed, members):
        for member, info in members:
            _extract(packed, member, info, destination / member.name)


Members: TypeAlias = list[tuple[Member, zipfile.ZipInfo | None]]


@contextmanager
def checked_members(archive: Path, store: ArtifactStore) -> Iterator[tuple[zipfile.ZipFile, Members]]:
    """A ZIP archive and its checked members in the order of artifacts, each with its entry unless it is implied.

    Raises:
        UnfitTreeError: also in the block, when the content of a member cannot be read.
    """
    try:
        _check_count(archive, store.max_tree_files)
        with zipfile.ZipFile(archive) as packed:
            yield packed, _checked(packed, store)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise UnfitTreeError(f"it is not a readable ZIP archive: {error}") from error


def _below(directory: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(directory):
        folders.sort()
        yield from (Path(folder, name) for name in sorted([*folders, *files]))


def _check_count(archive: Path, most: int) -> None:
    """Count the entries before `ZipFile` makes an object of each. Their number in the archive's end may be a lie."""
    with archive.open("rb") as file:
        end = _EndRecData(file)
        if end is None:
            return  # `ZipFile` says that it is not an archive
        file.seek(max(0, end[_ECD_LOCATION] - end[_ECD_SIZE] - _ZIP64_END_BYTES))
        count, last = 0, b""
        while chunk := file.read(_CHUNK):
            count += (last + chunk).count(_ENTRY)
            last = chunk[1 - len(_ENTRY) :]
    if count > most:
        raise UnfitTreeError(f"the archive has {count} entries; the limit is {most}")


def _checked(packed: zipfile.ZipFile, store: ArtifactStore) -> Members:
    """The checked members in the order of their names, including folders that the archive only implies."""
    members: dict[str, tuple[Member, zipfile.ZipInfo | None]] = {}
    room = _MOST_NAME_BYTES
    for info in packed.infolist():
        name = info.filename.rstrip("/").removeprefix("./")
        if not name or name == ".":
            continue
        check_name(name)
        if info.compress_type not in _COMPRESSIONS:
            raise UnfitTreeError(f"{name!r} is compressed by method {info.compress_type}; use deflate")
        for folder in _parents(name):
            if folder not in members:
                members[folder] = (Member(folder, "folder"), None)
                room -= len(folder)
        room -= len(name)
        if room < 0 or len(members) > store.max_tree_files:
            raise UnfitTreeError("the archive has too many files and folders, or too long names")
        if name in members and not (info.is_dir() and members[name][0].kind == "folder"):
            raise UnfitTreeError(f"the archive contains {name!r} twice")
        members[name] = (_member(packed, info, name), info)
    ordered = sorted(members.values(), key=lambda each: os.fsencode(each[0].name))
    rules = TreeRules(store)
    for member, _ in ordered:
        rules.admit(member)
    return ordered


def _member(packed: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> Member:
    mode = info.external_attr >> 16
    kind: Kind = "folder" if info.is_dir() else "link" if stat.S_ISLNK(mode) else "file"
    if kind == "link" and info.file_size > _LONGEST_TARGET:
        raise UnfitTreeError(f"the symbolic link {name!r} has a target of {info.file_size} bytes")
    target = packed.read(info).decode(errors="replace") if kind == "link" else ""
    return Member(name, kind, info.file_size if kind == "file" else 0, bool(mode & 0o111), target)


def _parents(name: str) -> Iterator[str]:
    parts = name.split("/")[:-1]
    return ("/".join(parts[: end + 1]) for end in range(len(parts)))


def _extract(packed: zipfile.ZipFile, member: Member, info: zipfile.ZipInfo | None, path: Path) -> None:
    if member.kind == "folder" or info is None:
        path.mkdir(exist_ok=True)
    elif member.kind == "link":
        path.symlink_to(member.target)
    else:
        with packed.open(info) as source, path.open("xb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
        path.chmod(0o755 if member.executable else 0o644)
