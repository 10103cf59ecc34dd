"""The state folder of a host: where everything is, and how it is written so that a crash leaves nothing half written."""

import errno
import fcntl
import json
import os
import re
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Optional, cast

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*\Z")


class Refused(Exception):
    """A call or an event that cannot be done, with the reason for people.

    `code` is for programs; `log` is the end of a script's output.
    """

    def __init__(self, code: str, message: str, script: Optional[str] = None, log: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.script = script
        self.log = log


class Place:
    """The folder of a deployment group on this host."""

    def __init__(self, state_folder: str, group_id: str) -> None:
        self.folder = os.path.join(os.path.abspath(os.path.expanduser(state_folder)), _checked(group_id))
        self.revisions = os.path.join(self.folder, "revisions")
        self.lock = os.path.join(self.folder, "lock.json")
        self.last_successful = os.path.join(self.folder, "last-successful.json")
        self.cleanup = os.path.join(self.folder, "cleanup.jsonl")
        self.history = os.path.join(self.folder, "history.jsonl")

    def revision(self, revision: str) -> str:
        return os.path.join(self.revisions, _checked(revision) + ".tar")

    def deployment(self, deployment: str) -> "DeploymentPlace":
        return DeploymentPlace(self, _checked(deployment))

    def create(self) -> None:
        # Users that scripts run as must reach the scripts: folders are open, files of records are not.
        os.makedirs(self.folder, 0o755, exist_ok=True)
        os.makedirs(self.revisions, 0o700, exist_ok=True)

    @contextmanager
    def mutex(self) -> Iterator[None]:
        """Only one process at a time reads and changes who has the group, and which programs are alive."""
        self.create()
        handle = os.open(os.path.join(self.folder, "mutex"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def busy_with(self) -> Optional[str]:
        """The deployment that has the group on this host, unless it has ended."""
        held = read_json(self.lock)
        if held is None or os.path.exists(self.deployment(held["deployment"]).ended):
            return None
        return cast(str, held["deployment"])


class DeploymentPlace:
    """The folder of one deployment on this host."""

    def __init__(self, group: Place, deployment: str) -> None:
        self.group = group
        self.name = deployment
        self.folder = os.path.join(group.folder, deployment)
        self.archive = os.path.join(self.folder, "deployment-archive")
        self.orders = os.path.join(self.folder, "orders.jsonl")
        self.journal = os.path.join(self.folder, "journal.jsonl")
        self.running = os.path.join(self.folder, "running")
        self.script = os.path.join(self.folder, "script.json")
        self.stop = os.path.join(self.folder, "stop")
        self.ended = os.path.join(self.folder, "ended.json")
        self.reserve = os.path.join(self.folder, "reserve")
        self.log = os.path.join(self.folder, "scripts.log")


def _checked(name: str) -> str:
    if not isinstance(name, str) or not _NAME.match(name):
        raise Refused("BadCall", "%r cannot be the name of a group, a deployment or a revision" % (name,))
    return name


def read_json(path: str) -> Optional[Dict[str, Any]]:
    """The content of a file, or None if there is no such file."""
    try:
        with open(path, "rb") as file:
            return cast(Dict[str, Any], json.loads(file.read().decode()))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def write_json(path: str, value: Dict[str, Any], sync: bool = True) -> None:
    """Replace a file in one step. With `sync` it is on the disk when this returns, whatever happens to the machine."""
    beside = "%s.new" % path
    with open(beside, "wb", opener=private) as file:
        file.write(json.dumps(value).encode())
        file.flush()
        if sync:
            os.fsync(file.fileno())
    os.rename(beside, path)
    if sync:
        sync_folder(os.path.dirname(path))


def read_lines(path: str, *names: str) -> List[Dict[str, Any]]:
    """The values of a file of JSON lines, without a last line that a crash cut off.

    A line that this program did not write, which lacks one of the names, is not there either: one would keep every later
    deployment from the host.
    """
    try:
        with open(path, "rb") as file:
            lines = file.read().split(b"\n")[:-1]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [value for value in map(_value, lines) if value is not None and set(names) <= set(value)]


def _value(line: bytes) -> Optional[Dict[str, Any]]:
    try:
        value = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def append_line(path: str, value: Dict[str, Any], sync: bool = True) -> None:
    """Add a value to a file of JSON lines. With `sync` it is on the disk when this returns."""
    new = not os.path.exists(path)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        end = _whole_lines(handle)
        os.ftruncate(handle, end)
        os.lseek(handle, end, os.SEEK_SET)
        try:
            write_all(handle, json.dumps(value).encode() + b"\n")
            if sync:
                os.fsync(handle)
        except OSError:
            os.ftruncate(handle, end)
            raise
    finally:
        os.close(handle)
    if new and sync:
        sync_folder(os.path.dirname(path))


def _whole_lines(handle: int) -> int:
    """Where the last whole line ends."""
    end = os.lseek(handle, 0, os.SEEK_END)
    while end > 0:
        start = max(0, end - 4096)
        found = os.pread(handle, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def write_all(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]


def sync_folder(path: str) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF):  # file systems that cannot sync a folder
            raise
    finally:
        os.close(handle)


def remove(path: str) -> None:
    """Remove a file or a folder, if it is there."""
    if os.path.isdir(path) and not os.path.islink(path):
        import shutil  # which few calls need

        shutil.rmtree(path)
        return
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def private(path: str, flags: int) -> int:
    """Open a file that other users cannot read."""
    return os.open(path, flags, 0o600)
