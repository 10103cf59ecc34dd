"""Another user of the machine, who tries to get ports for himself."""

from __future__ import annotations

import mmap
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product

from waiting import until

NOBODY = 65_534
_OPTIONS = [(), (socket.SO_REUSEADDR,), (socket.SO_REUSEPORT,), (socket.SO_REUSEADDR, socket.SO_REUSEPORT)]


class Thief:
    """The process of the other user: which of the ports it has got, and that it goes on trying."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = ports
        self._shared = mmap.mmap(-1, 8 + len(ports))
        self.process = os.fork()
        if self.process == 0:
            self._try_for_ever()

    @property
    def got(self) -> list[int]:
        return [port for number, port in enumerate(self._ports) if self._shared[8 + number]]

    def tries(self, seconds: float = 10) -> None:
        """Wait until it has tried everything again."""
        before = self._rounds
        until(lambda: self._rounds > before + 2, seconds)

    @property
    def _rounds(self) -> int:
        return int.from_bytes(self._shared[:8], "little")

    def _try_for_ever(self) -> None:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            while True:
                for number, port in enumerate(self._ports):
                    self._shared[8 + number] |= self._gets(port)
                self._shared[:8] = (self._rounds + 1).to_bytes(8, "little")
        finally:
            os._exit(1)

    @staticmethod
    def _gets(port: int) -> bool:
        """Whether it can bind the port in any way; it gives it back at once."""
        found = False
        for options, address in product(_OPTIONS, ("127.0.0.1", "0.0.0.0", "::1", "::")):
            with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as own:
                for option in options:
                    own.setsockopt(socket.SOL_SOCKET, option, 1)
                found |= _binds(own, address, port)
        return found


def _binds(own: socket.socket, address: str, port: int) -> bool:
    try:
        own.bind((address, port))
    except OSError:
        return False
    return True


@contextmanager
def thief_of(ports: Sequence[int]) -> Iterator[Thief]:
    """A process of the user `nobody` that tries to bind the ports until the end of the block. Needs root."""
    thief = Thief(ports)
    try:
        yield thief
    finally:
        os.kill(thief.process, signal.SIGKILL)
        os.waitpid(thief.process, 0)
