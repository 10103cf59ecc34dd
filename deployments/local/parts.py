"""The parts of the embedded set-up are processes: start one, know it again, stop it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect_codepipeline.deployments.worker.fork_server import die_with_parent
from prefect_codepipeline.errors import PrefectUnavailable
from prefect_codepipeline.private_files import make_private, private_opener

STOP_SECONDS = 10.0
# Less than PostgreSQL needs for its next segment of the log.
_FULL_BYTES = 20_000_000


def spawn(
    home: Path,
    part: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    dies_with_parent: bool = False,
    waits: bool = False,
    **options: Any,
) -> subprocess.Popen[bytes]:
    """Start a part as the leader of a session of its own, with `<home>/logs/<part>.log` as its output.

    With `waits`, its standard input is a pipe to this process; otherwise it is empty.
    `options` go to `subprocess.Popen`: another folder, another user.

    Raises:
        PrefectUnavailable: its log cannot be written, or its program cannot be started.
    """
    parent = os.getpid()

    def prepare() -> None:
        # A process started in the background of a script ignores SIGINT, and its children would too.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if dies_with_parent:
            die_with_parent(signal.SIGTERM, parent)

    path = log_file(home, part)
    try:
        make_private(path.parent)
        if path.exists():  # the log of the process before says why that one ended
            path.replace(path.with_suffix(".log.1"))
        with open(path, "wb", opener=private_opener) as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE if waits else subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=options.pop("cwd", home),
                env=dict(environment),
                start_new_session=True,
                preexec_fn=prepare,
                **options,
            )
    except (OSError, subprocess.SubprocessError) as error:
        raise PrefectUnavailable(f"the {part} could not be started: {error}") from error


def home_option(home: Path | str) -> tuple[str, str]:
    """An option that Python ignores."""
    return ("-X", f"codepipeline_home={home}")


def spawn_python(
    home: Path,
    part: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    dies_with_parent: bool = False,
    waits: bool = False,
    keeps: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a part that is a Python program, with the Python that runs this one.

    Its command names the folder of the set-up, so that people find its processes: their environment is hidden.
    `keeps` are descriptors that it leaves open until it ends.
    """
    command = [sys.executable, *home_option(home), *arguments]
    options: dict[str, Any] = {"dies_with_parent": dies_with_parent, "waits": waits, "pass_fds": keeps}
    return spawn(home, part, command, environment, **options)


def log_file(home: Path, part: str) -> Path:
    """Where a part writes its log."""
    return home / "logs" / f"{part}.log"


def log_tail(home: Path, part: str, characters: int = 2000) -> str:
    """The end of a part's log, for an error message."""
    try:
        return log_file(home, part).read_text(errors="replace").strip()[-characters:]
    except OSError as error:
        return f"({error})"


def log_reason(home: Path, part: str) -> str:
    """Why a part has ended, by its log: the error at the end of a traceback, else the last lines; and a full disk."""
    tail = log_tail(home, part)
    errors = re.findall(r"^[\w.]+(?:Error|Exception|Exit)\w*: .*", tail, re.MULTILINE)
    reason = errors[-1] if errors else tail.replace("Traceback (most recent call last):", "")
    free = shutil.disk_usage(home).free
    full = f"(the disk of {home} is full: {free // 1_000_000} MB free)" if free < _FULL_BYTES else ""
    return "\n".join(filter(None, [reason.strip(), full])) or "(its log is empty)"


def identity(pid: int) -> dict[str, int]:
    """What a process is known by later: a pid alone may have been given to another process by then."""
    return {"pid": pid, "started": _start_time(pid) or 0}


def is_alive(identity: dict[str, int] | None) -> bool:
    """Whether the process with this identity still runs."""
    return bool(identity) and identity is not None and _start_time(identity["pid"]) == identity["started"]


def is_zombie(pid: int) -> bool:
    """Whether a process has ended, but its parent has not asked for its exit code yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False


def stop(identity: dict[str, int] | None, number: signal.Signals = signal.SIGTERM) -> None:
    """End a process and the session it leads: `number` first, SIGKILL when it is still there 10 s later."""
    if identity is None or not is_alive(identity):
        return
    for each in (number, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            if each == signal.SIGKILL:
                os.killpg(identity["pid"], each)
            else:
                os.kill(identity["pid"], each)
        deadline = time.monotonic() + STOP_SECONDS
        while is_alive(identity) and time.monotonic() < deadline:
            time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(identity["pid"], signal.SIGKILL)


def _start_time(pid: int) -> int | None:
    """When a process started, in the ticks of its system; None for a process that is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return _start_time_by_ps(pid)
    return None if fields[0] == "Z" else int(fields[19])


def _start_time_by_ps(pid: int) -> int | None:
    if sys.platform == "linux":
        return None
    answer = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    text = answer.stdout.strip()
    return int(time.mktime(time.strptime(text))) if text else None
