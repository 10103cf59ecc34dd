"""A process between a worker and the processes of one action, so that none of them outlives the worker.

It runs as a script and imports only the standard library: it starts in 20 ms, while `import prefect` takes two
seconds. Standard input is the lifeline: a byte on it requests the end. When the worker dies, even by SIGKILL, the
pipe closes, which has the same effect. On Linux this process adopts every orphan below it (PR_SET_CHILD_SUBREAPER),
so children that call `setsid` or fork twice are found and ended too. On other systems only the process group is ended.

    supervisor.py PARENT_PID COMMAND [ARGUMENT...]
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Container
from contextlib import suppress

GRACE_SECONDS = 2.0
SHORT_GRACE_SECONDS = 0.2
END_GENTLY = (
    b"e"  # SIGTERM, the full grace, SIGKILL; any other byte and the end of the pipe mean the short grace
)

_LIFELINE = 0
_CHECK_SECONDS = 1.0
_KILL_SECONDS = 10.0  # processes of another user cannot be killed
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def supervise(parent: int, command: list[str]) -> int:
    """Run the command, end all its remaining processes, and return its exit code (128 + n for signal n)."""
    wakeup = _wake_up_on_signals()
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    shell = _start(command)
    status: int | None = None
    grace: float | None = None
    while status is None and grace is None:
        select.select([_LIFELINE, wakeup], [], [], _CHECK_SECONDS)
        status = _reap(wakeup).get(shell)
        grace = _requested_grace(parent)
    status = _end_all(shell, parent, GRACE_SECONDS if grace is None else grace).get(shell, status)
    return _exit_code(status)


def _wake_up_on_signals() -> int:
    """A descriptor that becomes readable when a child ends or a signal arrives."""
    reader, writer = os.pipe()
    for end in (reader, writer):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _remember)
    return reader


# Its id and its program: a process between fork and exec may miss the signal, and gets it again as another program.
Process = tuple[int, bytes]

_end_signals: list[int] = []


def _remember(number: int, _frame: object) -> None:
    if number != signal.SIGCHLD:
        _end_signals.append(number)


def _start(command: list[str]) -> int:
    child = os.fork()
    if child:
        return child
    try:
        os.setsid()
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        for number in (
            signal.SIGCHLD,
            signal.SIGTERM,
            signal.SIGINT,
            signal.SIGQUIT,
            signal.SIGHUP,
            signal.SIGPIPE,
            signal.SIGXFSZ,
        ):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.execvpe(command[0], command, os.environ)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", flush=True)
    os._exit(127)


def _requested_grace(parent: int) -> float | None:
    """The seconds that the processes have to end, or None while no end was requested."""
    if select.select([_LIFELINE], [], [], 0)[0]:
        return GRACE_SECONDS if os.read(_LIFELINE, 1) == END_GENTLY else SHORT_GRACE_SECONDS
    # A process forked from the worker may hold the pipe open after the worker's death.
    if _end_signals or os.getppid() != parent:
        return SHORT_GRACE_SECONDS
    return None


def _end_all(shell: int, parent: int, grace: float) -> dict[int, int]:
    """End every process below this one; the wait status of each that ended, by process id."""
    ended: dict[int, int] = {}
    signalled: set[Process] = set()
    grace_ends = time.monotonic() + grace
    while _has_children(ended) and time.monotonic() < grace_ends:
        signalled |= _signal_all(shell, signal.SIGTERM, signalled)
        time.sleep(0.02)
        if grace == GRACE_SECONDS and (shorter := _requested_grace(parent)) is not None:
            grace_ends = min(grace_ends, time.monotonic() + shorter)
    kill_ends = time.monotonic() + _KILL_SECONDS
    while _has_children(ended) and time.monotonic() < kill_ends:
        _signal_all(shell, signal.SIGKILL)
        time.sleep(0.005)
    return ended


def _has_children(ended: dict[int, int]) -> bool:
    try:
        while True:
            process, status = os.waitpid(-1, os.WNOHANG)
            if not process:
                return True
            ended[process] = status
    except ChildProcessError:
        return False


def _reap(wakeup: int) -> dict[int, int]:
    with suppress(BlockingIOError):
        os.read(wakeup, 4096)
    ended: dict[int, int] = {}
    _has_children(ended)
    return ended


def _signal_all(shell: int, number: int, but: Container[Process] = ()) -> set[Process]:
    if sys.platform != "linux" and (shell, b"") not in but:
        with suppress(OSError):
            os.killpg(shell, number)
        return {(shell, b"")}
    found = set(_descendants(os.getpid()))
    for process in found:
        if process not in but:
            with suppress(OSError):
                os.kill(process[0], number)
    return found


def _descendants(of: int) -> list[Process]:
    children: dict[int, list[Process]] = {}
    for entry in os.listdir("/proc") if sys.platform == "linux" else ():
        if entry.isdigit():
            name, parent = _name_and_parent(entry)
            children.setdefault(parent, []).append((int(entry), name))
    found = list(children.get(of, ()))
    for process, _ in found:
        found.extend(children.get(process, ()))
    return found


def _name_and_parent(process: str) -> tuple[bytes, int]:
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            # The second field is the program's name in brackets, and may contain spaces and brackets.
            name, _, fields = file.read().rpartition(b")")
            return name, int(fields.split()[1])
    except OSError:
        return b"", 0


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _exit_code(status: int | None) -> int:
    if status is None:
        return 128 + signal.SIGKILL
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(supervise(int(sys.argv[1]), sys.argv[2:]))
