"""A proxy before a Prefect server that lets in only requests with a certain header, on sockets too; with TLS if it has a certificate.

Each connection carries one request, or one socket. What the proxy refuses, the server never sees.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import ssl
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from own_loop import OwnLoop

_END = b"\r\n\r\n"


@dataclass
class GuardingProxy(OwnLoop):
    """`header` and `value`: what a request needs. `sockets`: whether sockets get through at all. `passed`: what got through.

    `redirected`: what the server answered with another address, which is its own and leads past the proxy.
    """

    upstream: str
    header: str
    value: str
    status: int = 401
    challenge: str = ""
    sockets: bool = True
    certificate: Path | None = None
    passed: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    redirected: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        """Of Prefect's API behind it."""
        return f"http{'s' if self.certificate else ''}://127.0.0.1:{self.port}/api"

    async def _serve(self, started: Future[asyncio.AbstractEventLoop]) -> None:
        self._ends = asyncio.Event()
        tls = None
        if self.certificate:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(self.certificate, self.certificate.with_suffix(".key"))
        server = await asyncio.start_server(self._handle, "127.0.0.1", 0, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        started.set_result(asyncio.get_running_loop())
        await self._ends.wait()
        server.close()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(_END)
            request, *lines = head.decode("latin-1").strip().split("\r\n")
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
            }
            is_socket = headers.get("upgrade", "").lower() == "websocket"
            what = f"{'socket ' if is_socket else ''}{request.split()[1]}"
            if headers.get(self.header.lower()) != self.value or (is_socket and not self.sockets):
                self.refused.append(what)
                await self._refuse(reader, writer, int(headers.get("content-length", 0)))
            else:
                self.passed.append(what)
                await self._pass_on(reader, writer, request, headers, is_socket)
        writer.close()

    async def _refuse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, length: int) -> None:
        await reader.readexactly(length)
        asked = f"WWW-Authenticate: {self.challenge}\r\n" if self.challenge else ""
        writer.write(
            f"HTTP/1.1 {self.status} Refused\r\n{asked}Content-Length: 3\r\nConnection: close\r\n\r\nno\n".encode()
        )
        await writer.drain()

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        request: str,
        headers: dict[str, str],
        is_socket: bool,
    ) -> None:
        upstream = urlsplit(self.upstream)
        headers["host"] = upstream.netloc
        if not is_socket:
            headers["connection"] = "close"
        lines = [request, *(f"{name}: {value}" for name, value in headers.items())]
        there, back = await asyncio.open_connection(upstream.hostname, upstream.port)
        back.write("\r\n".join(lines).encode("latin-1") + _END)
        await asyncio.gather(_copy(reader, back), self._answer(request.split()[1], there, writer))

    async def _answer(self, path: str, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        status = await there.readline()
        if status.split()[1:2] in ([b"307"], [b"308"]):
            self.redirected.append(path)
        writer.write(status)
        await _copy(there, writer)


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while part := await source.read(1 << 16):
            sink.write(part)
            await sink.drain()
    sink.close()


def make_certificate(path: Path) -> Path:
    """Write the certificate of an authority of the test's own for 127.0.0.1, and its key beside it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "the test's own")])
    now = datetime.now(timezone.utc)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain, none = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.with_suffix(".key").write_bytes(key.private_bytes(serialization.Encoding.PEM, plain, none))
    return path
