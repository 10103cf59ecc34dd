"""The folder of the embedded set-up, and what it remembers from one command to the next."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import platformdirs

from prefect_codepipeline.errors import PrefectUnavailable
from prefect_codepipeline.private_files import make_private, private_opener

HOME_VARIABLE = "PREFECT_CODEPIPELINE_HOME"

State = dict[str, Any]
_PROCESS = {"pid": int, "started": int}
# What has which shape.
_SHAPES: dict[str, Any] = {
    "database": str,
    "limit": int,
    "port": {"number": int},
    "gateway-kept": {"runs": bool, "port": int},
    **dict.fromkeys(("postgresql", "server", "worker", "reconcile", "gateway"), _PROCESS),
}


def home_folder(create: bool = True) -> Path:
    """The folder of the set-up: `PREFECT_CODEPIPELINE_HOME`, else one in the user's data folder.

    Raises:
        PrefectUnavailable: the folder cannot be created.
    """
    home = Path(
        os.environ.get(HOME_VARIABLE) or platformdirs.user_data_path("prefect-codepipeline")
    ).absolute()
    if create:
        try:
            make_private(home / "logs")
            make_private(home / "prefect")
        except OSError as error:
            raise PrefectUnavailable(unusable(home, error)) from error
    return home


@contextlib.contextmanager
def locked(home: Path, *, waits: bool = True) -> Iterator[bool]:
    """Hold the set-up's lock: two commands that start it at once take turns, and the second finds it running.

    Without `waits`, the block is entered at once, with False if another process has the lock.

    Raises:
        PrefectUnavailable: the lock file cannot be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            # Every user who may read it can lock it.
            lock = stack.enter_context(open(home / "lock", "w", opener=private_opener))
        except OSError as error:
            raise PrefectUnavailable(unusable(home, error)) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


LARGEST_PORT = 65_535


def read_state(home: Path) -> State:
    """What was remembered; empty for a new set-up.

    Raises:
        PrefectUnavailable: the file cannot be read, or is damaged. Nothing is started then: parts may still run.
    """
    file = home / "state.json"
    try:
        state = json.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise PrefectUnavailable(f"{file} cannot be read: {error.strerror}; make it readable") from error
    except (ValueError, RecursionError):
        state = None
    if not isinstance(state, dict) or not all(_is_valid(*each) for each in state.items()):
        raise PrefectUnavailable(
            f"{file}, in which the embedded set-up keeps its processes, is damaged; end the processes of the set-up that "
            f"still run (they have {home} in their command or environment), remove the file, and start the set-up with "
            "`codepipeline up`: all data is kept"
        )
    return state


def _is_valid(name: str, value: Any) -> bool:
    shape = _SHAPES.get(name, list if name.endswith("-started-as") else None)
    if isinstance(shape, dict):
        kinds = isinstance(value, dict) and all(type(value.get(key)) is kind for key, kind in shape.items())
        return kinds and 0 <= value.get("number", 0) <= LARGEST_PORT
    return shape is None or isinstance(value, shape)


def write_state(home: Path, state: State) -> None:
    """Replace what is remembered, in one step.

    Raises:
        PrefectUnavailable: the file cannot be written.
    """
    part = home / "state.json.part"
    try:
        with open(part, "w", opener=private_opener) as file:
            file.write(json.dumps(state))
            file.flush()
            os.fsync(file.fileno())  # after a loss of power there is the old file or the new one
        os.replace(part, home / "state.json")
    except OSError as error:
        raise PrefectUnavailable(unusable(home, error)) from error


def unusable(home: Path, error: OSError) -> str:
    """The message for a folder that cannot be written."""
    remedy = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "make it writable"
    return (
        f"the folder of the embedded set-up, {home}, cannot be written: {error.strerror or error}; "
        f"{remedy}, or name another with {HOME_VARIABLE}"
    )
