"""Extract tar archives that are not trusted: nothing is written outside of the directory, whatever they contain.

Artifacts have stricter rules, see `archive_member`.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from prefect_codepipeline.actions.artifacts.archive_member import MAX_DEPTH, MAX_NAME_BYTES

MOST_MEMBERS = 1_000_000


class UnfitMemberError(ValueError):
    """A member of an archive cannot be written below the directory; says why."""


class TooManyMembersError(tarfile.TarError):
    """An archive has more members than any tree."""


def members_of(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The members in their order. None is kept, because a small archive may have very many.

    Raises:
        TooManyMembersError: there are more than `MOST_MEMBERS`.
    """
    count = 0
    while (member := tar.next()) is not None:
        tar.members.clear()  # type: ignore[attr-defined]  # the documented way to use less memory
        count += 1
        if count > MOST_MEMBERS:
            raise TooManyMembersError(f"it has more than {MOST_MEMBERS:,} files and folders")
        yield member


def extract_member(tar: tarfile.TarFile, member: tarfile.TarInfo, name: str, directory: Path) -> None:
    """Write a member below a directory under a relative name; an existing file or link is replaced.

    Links stay links, wherever they point to: nothing is ever written through one.

    Raises:
        UnfitMemberError: the name points outside the directory, or the member is not a file, folder or link.
        OSError: it could not be written.
    """
    place = _place(name, directory)
    if member.isdir():
        _make_room(place, for_folder=True)
        place.mkdir(exist_ok=True)
        return
    # A sparse file of a few bytes can fill the disk.
    if member.issparse() or not (member.isreg() or member.issym() or member.islnk()):
        raise UnfitMemberError("it is not a file, a folder or a link")
    _make_room(place)
    if member.issym():
        os.symlink(member.linkname, place)
        return
    source = tar.extractfile(member) if member.isreg() else None
    if source is None:
        raise UnfitMemberError("it is a hard link to a file that does not exist")
    with source, place.open("xb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
    place.chmod(member.mode & 0o777)
    # Build tools compare modification times.
    os.utime(place, (member.mtime, member.mtime))


def link_member(member: tarfile.TarInfo, name: str, target: str, directory: Path) -> None:
    """Create a hard link to a file that was extracted before. Raises as `extract_member` does."""
    place, source = _place(name, directory), _place(target, directory)
    if source.is_symlink() or not source.is_file():
        raise UnfitMemberError(f"it is a hard link to {member.linkname!r}, which is not a file")
    _make_room(place)
    os.link(source, place, follow_symlinks=False)


def _place(name: str, directory: Path) -> Path:
    """The path of a name. Its parent folders are created; none of them may be a link."""
    if len(name) > MAX_NAME_BYTES or name.count("/") >= MAX_DEPTH:
        raise UnfitMemberError(
            f"its name has more than {MAX_NAME_BYTES} bytes, or it is more than {MAX_DEPTH} folders deep"
        )
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise UnfitMemberError("its name is empty, invalid, or points outside the directory")
    place = directory
    for part in path.parts[:-1]:
        place = place / part
        if place.is_symlink() or (place.exists() and not place.is_dir()):
            raise UnfitMemberError(f"it is below {part!r}, which is not a folder")
        place.mkdir(exist_ok=True)
    return place / path.name


def _make_room(place: Path, for_folder: bool = False) -> None:
    if place.is_symlink() or (place.exists() and not place.is_dir()):
        place.unlink()
    elif place.exists() and not for_folder:
        raise UnfitMemberError("a folder with its name exists")
