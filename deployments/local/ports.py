"""TCP ports of this machine: which are free, and whose the others are."""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import socket
from collections.abc import Iterator
from pathlib import Path

# Below what systems give to outgoing connections: a port of those may be taken at any moment.
_CHOICE = range(10_000, 32_000)
_LISTENS = "0A"  # as in Linux's include/net/tcp_states.h


def free_port() -> int:
    """A port that is free at this moment."""
    while True:
        port = random.choice(_CHOICE)
        if is_free(port):
            return port


def is_free(port: int) -> bool:
    """Whether a server could listen on that port of 127.0.0.1."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def has_listener(port: int) -> bool:
    """Whether a server listens on that port of 127.0.0.1; an outgoing connection may also have it for a while."""
    with socket.socket() as connection:
        connection.settimeout(1)
        try:
            connection.connect(("127.0.0.1", port))
        except ConnectionRefusedError:
            return False
        except OSError:
            return True
        return True


def owner_of(port: int) -> str:
    """Who listens on the port, as far as this system tells: `python3 (process 42)`, `a process of user ana`."""
    for inode, user in _listeners(port):
        if process := _process_with(f"socket:[{inode}]"):
            name = Path(f"/proc/{process}/comm").read_text().strip()
            return f"{name} (process {process})"
        return f"a process of user {_name_of(user)}"
    return "another program"


def _listeners(port: int) -> Iterator[tuple[str, int]]:
    """Inode and user of the sockets that listen on the port."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                _, local, _, state, _, _, _, user, _, inode = line.split()[:10]
                if state == _LISTENS and int(local.rpartition(":")[2], 16) == port:
                    yield inode, int(user)


def _process_with(target: str) -> int | None:
    """A process that has this open; None if only processes that may not be read have it."""
    for process in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            for entry in os.scandir(f"/proc/{process}/fd"):
                if os.readlink(entry.path) == target:
                    return int(process)
    return None


def _name_of(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
