"""The bundle of a deployment: its AppSpec, and the archive that hosts get."""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from prefect_codepipeline.actions.work import InputTree
from prefect_codepipeline.documents.document import Document
from prefect_codepipeline.documents.reading import MAX_BYTES, read_document
from prefect_codepipeline.errors import ActionFailed, UnreadableDefinition, wrong_configuration
from prefect_codepipeline.model.appspec.parsing import parse_appspec
from prefect_codepipeline.model.appspec.parts import AppSpec
from prefect_codepipeline.model.appspec.plan import Kind, problems_with_bundle
from prefect_codepipeline.model.printable import printable
from prefect_codepipeline.model.problem import Problem

# The agent on the hosts looks for them in this order.
APPSPEC_NAMES = ("appspec.yml", "appspec.yaml")
_MOST_LISTED = 20


class Writer(Protocol):
    """What an archive is written to."""

    def write(self, data: bytes, /) -> object:
        """Take the next bytes."""
        ...


@dataclass(frozen=True)
class Bundle:
    """A bundle that was checked. `root` has the AppSpec file; `revision` is the SHA-256 of its archive, in hex.

    `warnings` are problems that do not keep it from being deployed, each in a sentence.
    """

    root: Path
    appspec: AppSpec
    revision: str
    warnings: tuple[str, ...] = ()

    def write_tar(self, stream: Writer) -> None:
        """Write the archive of the bundle: the same files give the same bytes, whenever and wherever they are packed.

        Raises:
            ActionFailed: a file cannot be read.
        """
        _write_tar(self.root, stream)


def bundle_of(tree: InputTree) -> Bundle:
    """The bundle in an input artifact.

    Raises:
        ActionFailed: with code `ConfigurationError`, it has no AppSpec file or it cannot be deployed: lists all problems.
    """
    return read_bundle(tree.directory, f"input artifact {tree.name!r}")


def read_bundle(directory: Path, what: str) -> Bundle:
    """The bundle in a folder, which messages call `what`. Raises as `bundle_of` does."""
    file = find_appspec(directory, what)
    root = file.parent
    entries = _entries(root, what)  # first: the AppSpec file may be a link out of the bundle
    document = _read(file, what)
    appspec, problems = parse_appspec(document.content, document.unquoted)
    if appspec is not None:
        reached = _reached_through_links(root, appspec, entries)
        problems = [*problems, *problems_with_bundle(appspec, entries | reached)]
    _raise_errors(problems, document, file.name, what)
    assert appspec is not None  # it has no errors
    warnings = tuple(_sentence(each, document) for each in problems)
    return Bundle(root, appspec, _revision(root), warnings)


def bundle_with(tree: InputTree, appspec: AppSpec) -> Bundle:
    """An input artifact as a bundle with that AppSpec. Raises `ActionFailed` for what no host can get."""
    _entries(tree.directory, f"input artifact {tree.name!r}")
    return Bundle(tree.directory, appspec, _revision(tree.directory))


def _revision(root: Path) -> str:
    hashed = hashlib.sha256()
    _write_tar(root, _Hashing(hashed))
    return hashed.hexdigest()


def _read(file: Path, what: str) -> Document:
    try:
        with file.open("rb") as content:
            return read_document(content.read(MAX_BYTES + 1), file.name)
    except OSError as error:
        raise wrong_configuration(f"{file.name} of {what} cannot be read: {error.strerror}") from None
    except UnreadableDefinition as error:
        raise wrong_configuration(f"{what} cannot be deployed: {error}") from None


def find_appspec(directory: Path, what: str) -> Path:
    """The AppSpec file at the root of a folder, or of the only folder in it, which counts as the root.

    Raises:
        ActionFailed: with code `ConfigurationError`, there is none.
    """
    if found := _appspec_in(directory):
        return found
    inside = list(directory.iterdir())
    if len(inside) == 1 and not inside[0].is_symlink() and (found := _appspec_in(inside[0])):
        return found
    elsewhere = sorted(
        str(path.relative_to(directory))
        for name in APPSPEC_NAMES
        for path in directory.rglob(name)
        if path.is_file()
    )
    found_at = f"; it is in {_named(elsewhere[0])}, where CodeDeploy does not look" if elsewhere else ""
    raise wrong_configuration(
        f"{what} has no {' or '.join(APPSPEC_NAMES)} at its root{found_at}; put it there, or let the build give an output "
        "artifact that has it at its root"
    )


def _appspec_in(directory: Path) -> Path | None:
    return next((directory / name for name in APPSPEC_NAMES if (directory / name).is_file()), None)


# -- problems


def _raise_errors(problems: list[Problem], document: Document, name: str, what: str) -> None:
    errors = [_sentence(each, document) for each in problems if each.severity == "error"]
    if not errors:
        return
    listed = errors[:_MOST_LISTED]
    if len(errors) > len(listed):
        listed.append(f"and {len(errors) - len(listed)} more")
    count = f"{len(errors)} problem{'' if len(errors) == 1 else 's'}"
    raise wrong_configuration(f"{name} of {what} cannot be deployed, {count}: " + "; ".join(listed))


def _sentence(problem: Problem, document: Document) -> str:
    place = document.place_of(problem.path)
    return f"line {place.line}, column {place.column}: {printable(str(problem), instead='?')}"


# -- files


def _entries(root: Path, what: str) -> dict[str, Kind]:
    """All files and folders below the root. Raises `ActionFailed` for what no host can get."""
    found: dict[str, Kind] = {}
    real = os.path.realpath(root)
    for path, entry in _walk(root, ""):
        if entry.is_symlink():
            _check_link(path, entry.path, real, what)
        elif not entry.is_dir() and not entry.is_file():
            raise wrong_configuration(f"{what}: {_named(path)} is neither a file, a folder nor a link")
        found[path] = "directory" if entry.is_dir(follow_symlinks=False) else "file"
    return found


def _check_link(path: str, place: str, root: str, what: str) -> None:
    target = os.readlink(place)
    goal = os.path.realpath(place)
    if os.path.isabs(target) or not (goal == root or goal.startswith(root + os.sep)):
        raise wrong_configuration(
            f"{what}: the link {_named(path)} leads to {_named(target)}, out of the bundle; put the file itself there"
        )


def _reached_through_links(root: Path, appspec: AppSpec, entries: dict[str, Kind]) -> dict[str, Kind]:
    """The sources and scripts of the AppSpec whose paths lead through a link, with all that is below them."""
    found: dict[str, Kind] = {}
    wanted = {each.source for each in appspec.files}
    wanted |= {script.location for scripts in appspec.hooks.values() for script in scripts}
    for path in wanted - entries.keys() - {""}:
        place = root / path
        if place.is_symlink() or place.is_file():
            found[path] = "file"
        elif place.is_dir():
            found[path] = "directory"
            for inner, entry in _walk(place, f"{path}/"):
                found[inner] = "directory" if entry.is_dir(follow_symlinks=False) else "file"
    return found


def _walk(folder: Path | str, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """What is below a folder, sorted by the bytes of the names; a folder comes before its content."""
    with os.scandir(folder) as entries:
        listed = sorted(entries, key=lambda entry: os.fsencode(entry.name))
    for entry in listed:
        yield prefix + entry.name, entry
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path, f"{prefix}{entry.name}/")


def _named(path: str) -> str:
    return repr(printable(path, instead="?"))


# -- the archive


@dataclass(frozen=True)
class _Hashing:
    """Takes an archive and keeps only its hash."""

    digest: hashlib._Hash

    def write(self, data: bytes, /) -> int:
        self.digest.update(data)
        return len(data)


def _write_tar(root: Path, stream: Writer) -> None:
    # GNU's format keeps names of any bytes and length. `w|` never seeks, and holds no file in memory.
    with tarfile.open(
        fileobj=cast("BinaryIO", stream),
        mode="w|",
        format=tarfile.GNU_FORMAT,
        encoding="utf-8",
        errors="surrogateescape",
    ) as archive:
        for path, entry in _walk(root, ""):
            _add(archive, path, entry)


def _add(archive: tarfile.TarFile, path: str, entry: os.DirEntry[str]) -> None:
    try:
        if entry.is_symlink():
            archive.addfile(_member(path, tarfile.SYMTYPE, 0o777, target=os.readlink(entry.path)))
        elif entry.is_dir(follow_symlinks=False):
            archive.addfile(_member(path, tarfile.DIRTYPE, entry.stat(follow_symlinks=False).st_mode))
        else:
            with open(entry.path, "rb") as file:
                status = os.fstat(file.fileno())
                archive.addfile(_member(path, tarfile.REGTYPE, status.st_mode, size=status.st_size), file)
    except OSError as error:
        raise ActionFailed(
            f"{_named(path)} of the bundle cannot be read: {error.strerror or error}", code="JobFailed"
        ) from error


def _member(path: str, kind: bytes, mode: int, *, size: int = 0, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(path)
    member.type, member.size, member.linkname = kind, size, target
    member.mode = stat.S_IMODE(mode)
    return member
