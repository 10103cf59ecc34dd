"""Start a script so that it can be found again whatever happens, and end it with everything below it."""

import os
import signal
import time
from typing import Any, Callable, Dict, List, Optional, Set

TERM_SECONDS = 10.0
_LOOK_SECONDS = 0.05


def boot_id() -> str:
    """Changes when the machine is restarted; empty if the system has none."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""


def started_at(process: int) -> str:
    """When a process started, in the system's own words; with its id it is the name of a process. Empty if it has ended."""
    fields = _stat(process)
    if fields is not None:
        return "" if fields[0] in ("Z", "X") else fields[19]
    if os.path.isdir("/proc/self"):
        return ""
    import subprocess  # which only systems without /proc need

    shown = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(process)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    return shown.stdout.decode().strip()


def end_remains(script: Optional[Dict[str, Any]]) -> None:
    """End the script that a killed program has left, if it is still there."""
    if script is None or script["boot_id"] != boot_id():
        return
    if script["started"] and started_at(script["pid"]) == script["started"]:
        end_all(script["pid"])


def end_all(leader: int, rest: Callable[[], None] = lambda: time.sleep(_LOOK_SECONDS)) -> None:
    """TERM to the process group and to everything below it; KILL to what is left ten seconds later.

    `rest` is called while processes have time to end.
    """
    ended = _signal_all(leader, signal.SIGTERM, set())
    deadline = time.monotonic() + TERM_SECONDS
    while time.monotonic() < deadline and _is_left(leader, ended):
        rest()
    _signal_all(leader, signal.SIGKILL, ended)
    deadline = time.monotonic() + TERM_SECONDS
    while time.monotonic() < deadline and _is_left(leader, ended):
        rest()


def _signal_all(leader: int, number: int, known: Set[int]) -> Set[int]:
    """Signal the group, and what is below its leader but has a group of its own, as `su -c` has; the ids of the latter."""
    apart = {each for each in _below(leader) | known if _is_alive(each) and _group(each) != leader}
    _try_signal(-leader, number)
    for process in apart:
        _try_signal(process, number)
    return apart


def _is_left(leader: int, apart: Set[int]) -> bool:
    try:
        os.waitpid(leader, os.WNOHANG)
    except ChildProcessError:
        pass  # it is reaped already, or no child of this program
    if _stat(os.getpid()) is None:  # a system without /proc
        return _try_signal(-leader, 0)
    members = (each for each in _processes() if _group(each) == leader)
    return any(_is_alive(each) for each in members) or any(_is_alive(each) for each in apart)


def _try_signal(process: int, number: int) -> bool:
    try:
        os.kill(process, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is there, and of another user
    return True


def _below(leader: int) -> Set[int]:
    children: Dict[int, List[int]] = {}
    for process in _processes():
        fields = _stat(process)
        if fields is not None:
            children.setdefault(int(fields[1]), []).append(process)
    found = [leader]
    for process in found:
        found.extend(children.get(process, []))
    return set(found[1:])


def _processes() -> List[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()] if os.path.isdir("/proc") else []


def _is_alive(process: int) -> bool:
    fields = _stat(process)
    return fields is not None and fields[0] not in ("Z", "X")


def _group(process: int) -> int:
    fields = _stat(process)
    return -1 if fields is None else int(fields[2])


def _stat(process: int) -> Optional[List[str]]:
    """State, parent, group and so on, from the third field of /proc/PID/stat; the second may contain spaces and brackets."""
    try:
        with open("/proc/%d/stat" % process, "rb") as file:
            return file.read().rpartition(b")")[2].decode().split()
    except OSError:
        return None
