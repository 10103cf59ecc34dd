"""Revisions on this host: received as archives, and unpacked for a deployment to work in."""

import hashlib
import os
import tarfile
from typing import IO, Dict, Set, cast

from prefect_codepipeline.actions.deploying.host_program import processes
from prefect_codepipeline.actions.deploying.host_program.holdings import (
    CHUNK,
    INCOMING,
    has_revision,
    note_use,
)
from prefect_codepipeline.actions.deploying.host_program.places import (
    DeploymentPlace,
    Place,
    Refused,
    private,
    remove,
    sync_folder,
    write_all,
)


def receive(place: Place, revision: str, stream: IO[bytes]) -> None:
    """Store the archive of a revision, whose name is the SHA-256 of it.

    Raises:
        Refused: it is another archive, or there is no room. Nothing is left of it.
    """
    place.create()
    _remove_abandoned(place)
    incoming = os.path.join(place.revisions, "%s%d" % (INCOMING, os.getpid()))
    try:
        digest = _store(stream, incoming)
        if digest != revision:
            raise Refused(
                "WrongRevision", "The bundle arrived as %s, and is not the revision %s" % (digest, revision)
            )
        with place.mutex():
            os.rename(incoming, place.revision(revision))
            note_use(place, revision=revision, boot_id=processes.boot_id())
    except OSError as error:
        raise Refused(
            "NotReceived", "The bundle cannot be stored in %s: %s" % (place.revisions, error.strerror)
        )
    finally:
        remove(incoming)


def _store(stream: IO[bytes], path: str) -> str:
    hashed = hashlib.sha256()
    handle = private(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        while True:
            data = stream.read(CHUNK)
            if not data:
                return hashed.hexdigest()
            hashed.update(data)
            write_all(handle, data)
    finally:
        os.close(handle)


def _remove_abandoned(place: Place) -> None:
    for name in os.listdir(place.revisions):
        if name.startswith(INCOMING) and not processes.started_at(int(name[len(INCOMING) :])):
            remove(os.path.join(place.revisions, name))


def make_archive(place: DeploymentPlace, revision: str) -> None:
    """Unpack the revision for the deployment, whose scripts may write there.

    Raises:
        Refused: it is not here, it has an entry that would be written elsewhere, or there is no room.
    """
    if not has_revision(place.group, revision):
        source = place.group.revision(revision)
        raise _failed("the revision is not on the host, or not whole: %s" % source)
    beside = "%s.new" % place.archive
    try:
        remove(beside)
        os.mkdir(beside, 0o755)
        _unpack(place.group.revision(revision), beside)
        remove(place.archive)
        os.rename(beside, place.archive)
        sync_folder(place.folder)
    except (OSError, EOFError, tarfile.TarError) as error:
        reason = getattr(error, "strerror", None) or error
        raise _failed("the revision cannot be unpacked to %s: %s" % (place.archive, reason))
    finally:
        remove(beside)


def _unpack(archive: str, folder: str) -> None:
    modes: Dict[str, int] = {}
    known: Set[str] = {folder}
    with tarfile.open(archive, "r:") as tar:
        for member in tar:
            path = os.path.normpath(os.path.join(folder, member.name))
            if path != folder and not path.startswith(folder + os.sep):
                raise _failed("the bundle has an entry outside of its folder: %s" % member.name)
            _make_ancestors(path, folder, known)
            if member.isdir():
                os.makedirs(path, 0o755, exist_ok=True)
                modes[path] = member.mode & 0o7777
            elif member.issym():
                _check_link(folder, path, member)
                os.symlink(member.linkname, path)
            elif member.isreg():
                _write(tar, member, path)
            else:
                raise _failed("the bundle has an entry that is no file, folder or link: %s" % member.name)
    for path, mode in modes.items():
        os.chmod(path, mode | 0o700)


def _make_ancestors(path: str, folder: str, known: Set[str]) -> None:
    """Nothing is written through a link that came before."""
    parent = os.path.dirname(path)
    if path == folder or parent in known:
        return
    _make_ancestors(parent, folder, known)
    if os.path.islink(parent):
        raise _failed("the bundle has an entry below a link: %s" % path[len(folder) + 1 :])
    os.makedirs(parent, 0o755, exist_ok=True)
    known.add(parent)


def _check_link(folder: str, path: str, member: tarfile.TarInfo) -> None:
    target = os.path.normpath(os.path.join(os.path.dirname(path), member.linkname))
    if target != folder and not target.startswith(folder + os.sep):
        raise _failed("the bundle has a link that leads out of it: %s" % member.name)


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> None:
    source = cast(IO[bytes], tar.extractfile(member))
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        left = member.size
        while left:
            data = source.read(min(left, CHUNK))
            left -= len(data)
            write_all(handle, data)
        os.fchmod(handle, member.mode & 0o7777)
    finally:
        os.close(handle)


def _failed(reason: str) -> Refused:
    return Refused("UnknownError", "The deployment failed because %s" % reason)
