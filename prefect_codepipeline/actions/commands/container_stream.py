"""The stream to and from a container, by whatever way its engine is reached: a socket, TLS or ssh."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

_CHUNK_BYTES = 65_536


@contextmanager
def readable(stream: Any) -> Iterator[int]:
    """A descriptor that gives what comes out of a stream, and its end; valid while the block runs."""
    plain = getattr(stream, "_sock", stream)  # a file made of a socket
    if isinstance(plain, socket.socket) and not isinstance(plain, ssl.SSLSocket):
        yield stream.fileno()
        return
    # What TLS and ssh have decrypted does not lie in a descriptor.
    output, into = os.pipe()
    threading.Thread(target=_pump, args=(plain, into), name="container-output", daemon=True).start()
    try:
        yield output
    finally:
        os.close(output)


def send(stream: Any, data: bytes) -> None:
    """Send to a stream. One that is closed already takes nothing."""
    plain = getattr(stream, "_sock", stream)
    with suppress(OSError):
        plain.sendall(data)


def _pump(stream: Any, into: int) -> None:
    try:
        while chunk := stream.recv(_CHUNK_BYTES):
            view = memoryview(chunk)
            while view:
                view = view[os.write(into, view) :]
    except OSError:  # nobody reads any more, or the engine is gone
        pass
    finally:
        os.close(into)
