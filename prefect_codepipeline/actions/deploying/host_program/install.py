"""The Install event: the files of the last deployment leave, those of this one come, then permissions.

The clean-up list names each path before it is written, so that also a half done installation can be cleaned.
"""

import errno
import json
import os
import stat
from typing import Any, Dict, List

from prefect_codepipeline.actions.deploying.host_program.permissions import forget_context, grant
from prefect_codepipeline.actions.deploying.host_program.places import (
    DeploymentPlace,
    Refused,
    read_lines,
    sync_folder,
    write_all,
)
from prefect_codepipeline.actions.deploying.host_program.plan import Plan, Step, beside

# New files are listed so many at a time: each sync of the list takes as long as many copies.
_LISTED_AT_ONCE = 100
_CHUNK = 1024 * 1024


def install(place: DeploymentPlace, order: Dict[str, Any]) -> List[str]:
    """Install the deployment's revision; the warnings.

    Raises:
        Refused: in the words of the agent.
    """
    appspec = order["appspec"]
    behavior = appspec.get("file_exists_behavior") or order["file_exists_behavior"]
    if not order.get("keep_last_files"):
        _remove_last(place.group.cleanup)
    plan = Plan(place.archive, appspec, behavior, order.get("root", ""))
    listed = CleanupList(place.group.cleanup)
    try:
        for steps in _portions(plan.steps):
            _carry_out(steps, listed)
        for each in plan.grants:
            context = grant(each.path, each.permission)
            if context is not None:
                listed.add([{"context": context}])
    finally:
        listed.close()
    return plan.warnings


class CleanupList:
    """What the next installation removes first."""

    def __init__(self, path: str) -> None:
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        self._ends = [0]
        sync_folder(os.path.dirname(path))

    def add(self, entries: List[Dict[str, str]]) -> None:
        """Add entries; they are on the disk when this returns."""
        for entry in entries:
            line = json.dumps(entry).encode() + b"\n"
            try:
                write_all(self._handle, line)
            except OSError:
                os.ftruncate(self._handle, self._ends[-1])
                raise
            self._ends.append(self._ends[-1] + len(line))
        os.fsync(self._handle)

    def drop_last(self, count: int) -> None:
        """Take back the last entries, whose paths were not written."""
        del self._ends[len(self._ends) - count :]
        os.ftruncate(self._handle, self._ends[-1])

    def close(self) -> None:
        os.close(self._handle)


def _portions(steps: List[Step]) -> List[List[Step]]:
    """Steps that are listed together. What replaces a file is alone: it must not be listed while the other file is there."""
    portions: List[List[Step]] = []
    for step in steps:
        alone = step.replaces or not portions or portions[-1][-1].replaces
        if alone or len(portions[-1]) == _LISTED_AT_ONCE:
            portions.append([])
        portions[-1].append(step)
    return portions


def _carry_out(steps: List[Step], listed: CleanupList) -> None:
    try:
        listed.add([{"path": step.path} for step in steps])
    except OSError as error:
        raise _failed("the list of installed files cannot be written", error)
    for number, step in enumerate(steps):
        try:
            if step.source is None:
                os.mkdir(step.path)
            else:
                _copy(step.source, step.path)
        except OSError as error:
            listed.drop_last(len(steps) - number)
            if step.source is None:
                raise _failed("the folder %s cannot be made" % step.path, error)
            raise _failed("%s cannot be copied to %s" % (step.source, step.path), error)


def _copy(source: str, target: str) -> None:
    """Write beside the target and take its place: a program that runs can be replaced, and no link is written through."""
    aside = beside(target)
    _unlink(aside)
    try:
        mode = os.lstat(source).st_mode
        if stat.S_ISLNK(mode):
            os.symlink(os.readlink(source), aside)
        elif stat.S_ISREG(mode):
            _write(source, aside, stat.S_IMODE(mode))
        else:
            raise OSError(errno.EINVAL, "it is no file, folder or link")
        os.rename(aside, target)
    except OSError:
        _unlink(aside)
        raise


def _write(source: str, target: str, mode: int) -> None:
    read = os.open(source, os.O_RDONLY)
    try:
        write = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            for data in iter(lambda: os.read(read, _CHUNK), b""):
                write_all(write, data)
            os.fchmod(write, mode)
        finally:
            os.close(write)
    finally:
        os.close(read)


def _remove_last(path: str) -> None:
    """Remove what the last installation has listed, the last first. A folder stays if there is anything else in it."""
    for entry in reversed(read_lines(path)):
        if "context" in entry:
            forget_context(entry["context"])
        if "path" not in entry:
            continue
        try:
            _remove_listed(entry["path"])
        except OSError as error:
            raise _failed("%s of the last deployment cannot be removed" % entry["path"], error)
    _unlink(path)
    sync_folder(os.path.dirname(path))


def _remove_listed(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        try:
            os.rmdir(path)
        except OSError:
            if not os.listdir(path):
                raise
        return
    _unlink(path)
    _unlink(beside(path))


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except (FileNotFoundError, NotADirectoryError):
        pass


def _failed(what: str, error: OSError) -> Refused:
    return Refused("UnknownError", "The deployment failed because %s: %s" % (what, error.strerror or error))
