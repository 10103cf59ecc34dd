"""A load balancer on loopback: a real TCP proxy for HTTP, whose hosts leave and return by commands of their own.

Each connection of a client gets a new one to the next host, and nothing is tried again: what a host refuses, the client sees.
The commands ask a control port: `block` and `allow` change which hosts get connections, `wait` succeeds when a host has none,
or answers. `GET /errors` of that port answers 500 once a host has answered a request with 500 or more.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from concurrent.futures import Future
from dataclasses import dataclass, field

from own_loop import OwnLoop

# What runs on the worker, with the host and the event in its environment.
CONTROL = """
import os, sys, urllib.request
path = f"/{sys.argv[2]}/{os.environ['HOST']}/{os.environ['LIFECYCLE_EVENT']}"
try:
    print(urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}{path}", timeout=10).read().decode())
except urllib.error.HTTPError as error:
    sys.exit(error.read().decode())
"""


@dataclass
class LoopbackProxy(OwnLoop):
    """Its hosts by name, with address and port of their services. `log` has what the commands did."""

    hosts: dict[str, tuple[str, int]]
    allowed: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    errors: int = 0
    port: int = 0
    control_port: int = 0
    _open: Counter[str] = field(default_factory=Counter)
    _turn: int = 0

    def command(self, verb: str) -> list[str]:
        """The command of a deployment group's traffic."""
        return [sys.executable, "-c", CONTROL, str(self.control_port), verb]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def errors_url(self) -> str:
        return f"http://127.0.0.1:{self.control_port}/errors"

    async def _serve(self, started: Future[asyncio.AbstractEventLoop]) -> None:
        self._ends = asyncio.Event()
        proxy = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        control = await asyncio.start_server(self._control, "127.0.0.1", 0)
        self.port, self.control_port = (each.sockets[0].getsockname()[1] for each in (proxy, control))
        started.set_result(asyncio.get_running_loop())
        await self._ends.wait()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request and its response."""
        name = self._next()
        try:
            if name is None:
                writer.write(b"HTTP/1.0 503 No host\r\n\r\n")
                return
            self._open[name] += 1
            try:
                request = await reader.readuntil(b"\r\n\r\n")
                response = await _ask(self.hosts[name], request)
            finally:
                self._open[name] -= 1
            if response[9:10] == b"5":
                self.errors += 1
            writer.write(response or b"HTTP/1.0 502 No response of the host\r\n\r\n")
        except (OSError, asyncio.IncompleteReadError):
            writer.write(b"HTTP/1.0 502 The host is not reached\r\n\r\n")
        finally:
            await _close(writer)

    def _next(self) -> str | None:
        if not self.allowed:
            return None
        self._turn += 1
        return self.allowed[self._turn % len(self.allowed)]

    async def _control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        is_good, said = await self._do(*request.split()[1].strip("/").split("/"))
        status = "200 OK" if is_good else "500 Not yet"
        writer.write(f"HTTP/1.0 {status}\r\n\r\n{said}".encode())
        await _close(writer)

    async def _do(self, verb: str, host: str = "", event: str = "") -> tuple[bool, str]:
        if verb == "errors":
            return not self.errors, f"{self.errors} errors"
        if verb == "wait" and event == "BlockTraffic":
            return not self._open[host], f"{self._open[host]} open connections"
        if verb == "wait":
            response = await _ask(self.hosts[host], b"GET /health HTTP/1.0\r\n\r\n", or_nothing=True)
            return response.startswith(b"HTTP/1.0 200"), response.decode() or "no answer"
        self.log.append(f"{verb} {host}")
        if verb == "block" and host in self.allowed:
            self.allowed.remove(host)
        elif verb == "allow" and host not in self.allowed:
            self.allowed.append(host)
        return True, f"{verb} {host}: {', '.join(self.allowed)} have traffic"


async def _ask(place: tuple[str, int], request: bytes, *, or_nothing: bool = False) -> bytes:
    try:
        reader, writer = await asyncio.open_connection(*place)
        try:
            writer.write(request)
            return await reader.read()
        finally:
            await _close(writer)
    except OSError:
        if or_nothing:
            return b""
        raise


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        await writer.wait_closed()
    except OSError:
        return
