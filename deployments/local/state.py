"""The folder of the embedded set-up, and what it remembers from one command to the next."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import platformdirs

from prefect_codepipeline.errors import PrefectUnavailable

HOME_VARIABLE = "PREFECT_CODEPIPELINE_HOME"

State = dict[str, Any]


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
            (home / "logs").mkdir(parents=True, exist_ok=True)
            (home / "prefect").mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise PrefectUnavailable(_unusable(home, error)) from error
    return home


@contextlib.contextmanager
def locked(home: Path) -> Iterator[None]:
    """Hold the set-up's lock: two commands that start it at once take turns, and the second finds it running.

    Raises:
        PrefectUnavailable: the lock file cannot be written.
    """
    try:
        lock = (home / "lock").open("w")
    except OSError as error:
        raise PrefectUnavailable(_unusable(home, error)) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def read_state(home: Path) -> State:
    """What was remembered; empty for a new set-up, or when the file is damaged."""
    try:
        state: State = json.loads((home / "state.json").read_text())
    except (OSError, ValueError):
        return {}
    return state


def write_state(home: Path, state: State) -> None:
    """Replace what is remembered, in one step.

    Raises:
        PrefectUnavailable: the file cannot be written.
    """
    part = home / "state.json.part"
    try:
        part.write_text(json.dumps(state))
        os.replace(part, home / "state.json")
    except OSError as error:
        raise PrefectUnavailable(_unusable(home, error)) from error


def _unusable(home: Path, error: OSError) -> str:
    return (
        f"the folder of the embedded set-up, {home}, cannot be written: {error.strerror or error}; "
        f"make it writable, or name another with {HOME_VARIABLE}"
    )
