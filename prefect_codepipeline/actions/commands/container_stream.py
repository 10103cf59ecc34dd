"""The stream to and from a container, over a socket, TLS or ssh."""

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
    """A file descriptor with the output of a stream, until its end; valid in the `with` block."""
    plain = getattr(stream, "_sock", stream)  # a file made of a socket
    if isinstance(plain, socket.socket) and not isinstance(plain, ssl.SSLSocket):
        yield stream.fileno()
        return
    # With TLS and ssh, decrypted data is not in a file descriptor, so a thread copies it into a pipe.
    output, into = os.pipe()
    threading.Thread(target=_pump, args=(plain, into), name="container-output", daemon=True).start()
    try:
        yield output
    finally:
        os.close(output)


def send(stream: Any, data: bytes) -> None:
    """Send to a stream; does nothing if the stream is closed."""
    plain = getattr(stream, "_sock", stream)
    with suppress(OSError):
        plain.sendall(data)


def _pump(stream: Any, into: int) -> None:
    try:
        while chunk := stream.recv(_CHUNK_BYTES):
            view = memoryview(chunk)
            while view:
                view = view[os.write(into, view) :]
    except OSError:  # the reader has closed the pipe, or the engine is gone
        pass
    finally:
        os.close(into)
