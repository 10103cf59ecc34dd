"""Copy directories into a container and back, for engines that cannot mount the files of this machine."""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

from prefect_codepipeline.actions.artifacts.tar_trees import (
    TooManyMembersError,
    UnfitMemberError,
    extract_member,
    link_member,
    members_of,
)
from prefect_codepipeline.errors import ActionFailed

if TYPE_CHECKING:
    from docker.models.containers import Container


def copy_in(container: Container, directories: Mapping[str, Path], owner: tuple[int, int]) -> None:
    """Copy directories into a container that has not started; the keys are the paths in the container."""
    with tempfile.TemporaryFile() as archive:
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for place, directory in directories.items():
                for folder in _missing_folders(container, place):
                    tar.addfile(_folder(folder))
                _add(tar, place, directory, owner)
        archive.seek(0)
        container.put_archive("/", archive)


def copy_out(container: Container, directories: Mapping[str, Path], warn: Callable[[str], None]) -> None:
    """Replace the directories' content with that in an ended container; `warn` reports what cannot be copied."""
    for place, directory in directories.items():
        with tempfile.TemporaryFile() as archive:
            stream, _ = container.get_archive(place)
            for chunk in stream:
                archive.write(chunk)
            archive.seek(0)
            try:
                _replace(archive, directory, warn)
            except TooManyMembersError as error:
                raise ActionFailed(
                    f"{place} cannot be copied back from the container: {error}; let the build remove what later "
                    "actions do not need"
                ) from None


def _add(tar: tarfile.TarFile, place: str, directory: Path, owner: tuple[int, int]) -> None:
    def owned(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid, member.gid = owner
        member.uname = member.gname = ""
        return member

    tar.add(directory, place.lstrip("/"), filter=owned)


def _missing_folders(container: Container, place: str) -> list[str]:
    """The parent folders of a place that do not exist in the image; existing ones keep their owner and mode."""
    parents = [str(parent) for parent in reversed(PurePosixPath(place).parents)][1:]
    return [parent for parent in parents if not _has(container, parent)]


def _has(container: Container, path: str) -> bool:
    api = container.client.api
    url = api._url("/containers/{0}/archive", container.id)
    return bool(api.head(url, params={"path": path}, timeout=api.timeout).status_code == 200)


def _folder(path: str) -> tarfile.TarInfo:
    folder = tarfile.TarInfo(path.lstrip("/"))
    folder.type, folder.mode = tarfile.DIRTYPE, 0o755
    return folder


def _replace(archive: IO[bytes], directory: Path, warn: Callable[[str], None]) -> None:
    for child in directory.iterdir():
        shutil.rmtree(child) if child.is_dir() and not child.is_symlink() else child.unlink()
    with tarfile.open(fileobj=archive) as tar:
        for member in members_of(tar):
            # The first part of the name is the directory itself.
            name = member.name.partition("/")[2]
            if not name:
                continue
            try:
                if member.islnk():
                    link_member(member, name, member.linkname.partition("/")[2], directory)
                else:
                    extract_member(tar, member, name, directory)
            except UnfitMemberError as error:
                warn(f"{name[:200]} is not copied back from the container: {error}")
    _make_accessible(directory)


def _make_accessible(directory: Path) -> None:
    """Give the owner all rights to the folders; otherwise the worker could neither read nor remove them."""
    for folder, _, _ in os.walk(directory):
        with suppress(OSError):
            os.chmod(folder, stat.S_IMODE(os.stat(folder).st_mode) | stat.S_IRWXU)
