"""TCP ports of this machine: which are free, whose the others are, and how the set-up keeps its own.

A server that dies frees its port, and the next program that takes it receives what was meant for the server. So processes
that live longer hold the port too, by a socket that never listens: while one of them lives, no other user can take it.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import socket
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

# Below what systems give to outgoing connections: a port of those may be taken at any moment.
_CHOICE = range(10_000, 32_000)
_LISTENS = "0A"  # as in Linux's include/net/tcp_states.h
# Linux lets sockets share a port only if all of them ask for it and belong to one user. Other systems may give connections
# to a socket that does not listen.
_CAN_SHARE = sys.platform == "linux"
# In the variables of the gateway of the set-up: the port at which it listens beside the processes that hold it.
HELD_VARIABLE = "PREFECT_CODEPIPELINE_HELD_PORT"
_CLOSING_SECONDS = 3.0
_held: dict[int, list[socket.socket]] = {}


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


def listener_at(port: int) -> socket.socket:
    """The socket of a server of the set-up, not listening yet, beside those that hold its port.

    Raises:
        OSError: another program has the port.
    """
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _share(listener)
        listener.bind(("127.0.0.1", port))
        stack.pop_all()
        return listener


def hold(port: int) -> bool:
    """Keep other users from that port of 127.0.0.1 until this process ends; False if another program has it.

    As far as possible also from that of `::1`, which browsers try first for `localhost`.
    """
    if port in _held or not _CAN_SHARE:
        return port in _held
    holder = _holder(socket.AF_INET, "127.0.0.1", port)
    if holder is None:
        return False
    _held[port] = [each for each in (holder, _holder(socket.AF_INET6, "::1", port)) if each]
    return True


def _holder(family: socket.AddressFamily, address: str, port: int) -> socket.socket | None:
    try:
        with contextlib.ExitStack() as stack:
            holder = stack.enter_context(socket.socket(family))
            # Without SO_REUSEADDR, by which any user's socket could be bound beside one that does not listen.
            _share(holder)
            holder.bind((address, port))
            stack.pop_all()
            return holder
    except OSError:
        return None


def hold_port_of(url: str) -> None:
    """Hold the port of a server of the set-up, as far as possible, while this process sends it the password."""
    if port := urlsplit(url).port:
        hold(port)


def holders(ports: Iterable[int]) -> list[int]:
    """The descriptors of the sockets by which this process holds these ports, for a child that is to hold them too."""
    return [each.fileno() for port in ports for each in _held.get(port, ())]


def hold_only(ports: Iterable[int]) -> None:
    """Hold these ports, as far as possible, and release all others."""
    wanted = set(ports)
    for port in _held.keys() - wanted:
        for each in _held.pop(port):
            each.close()
    for port in wanted:
        hold(port)


def is_only_held(port: int) -> bool:
    """Whether nothing has the port but processes of this user that hold it, so that a server can listen there."""
    if not _CAN_SHARE or has_listener(port):
        return False
    try:
        listener_at(port).close()
    except OSError:
        return False
    return True


def _share(listener: socket.socket) -> None:
    if _CAN_SHARE:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


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


def wait_for_closing(port: int) -> None:
    """Wait while no process that can be seen has the listening socket: a killed server's last threads close it shortly."""
    deadline = time.monotonic() + _CLOSING_SECONDS
    while time.monotonic() < deadline and any(
        _process_with(f"socket:[{inode}]") is None for inode, _ in _listeners(port)
    ):
        time.sleep(0.05)


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
