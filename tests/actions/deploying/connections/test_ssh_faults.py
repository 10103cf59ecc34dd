"""What hosts and networks do wrong: the error says whether trying again can help. Nothing hangs."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from host_calls import fed, happens, run_on, run_over
from ssh_hosts import SshHosts, descendants, plain_user, running, ssh_hosts, unused_port
from waiting import until

from prefect_codepipeline.actions.deploying.connections.connection import HostUnreachable
from prefect_codepipeline.actions.deploying.connections.opening import connected
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.codedeploy.group import Host, SshAccess

MARK = f".{os.getpid()}"


@pytest.fixture
def hosts() -> Iterator[SshHosts]:
    with ssh_hosts(1, plain_user()) as found:
        yield found


def temporary(host: Host, access: SshAccess) -> str:
    """The message of a refusal after which it is tried again."""
    with pytest.raises(HostUnreachable) as refused:
        run_on(host, access, ["true"])
    assert not refused.value.permanent
    return refused.value.message


def test_a_closed_port() -> None:
    port = unused_port("127.0.0.1")

    assert temporary(Host(name="web", address="127.0.0.1", port=port), SshAccess(known_hosts="")) == (
        f"cannot connect to host 'web' (127.0.0.1), at 127.0.0.1, port {port}: Connection refused"
    )


def test_no_route() -> None:
    message = temporary(Host(name="web", address="255.255.255.255"), SshAccess(known_hosts=""))

    assert message.startswith("cannot connect to host 'web' (255.255.255.255), at 255.255.255.255, port 22: ")


def test_a_name_that_is_not_known() -> None:
    assert temporary(Host(name="web", address="absent.invalid"), SshAccess(known_hosts="")) == (
        "cannot connect to host 'web' (absent.invalid), at absent.invalid, port 22: the name is not known"
    )


def test_a_host_that_accepts_and_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        begun = time.monotonic()
        message = temporary(
            Host(name="web", address="127.0.0.1", port=port),
            SshAccess(known_hosts="", connect_timeout_in_seconds=1),
        )

    assert message == (
        f"cannot connect to host 'web' (127.0.0.1), at 127.0.0.1, port {port}: no answer within 1 seconds"
    )
    assert time.monotonic() - begun < 5


def test_a_port_of_another_protocol() -> None:
    async def run() -> str:
        async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        host = Host(name="web", address="127.0.0.1", port=server.sockets[0].getsockname()[1])
        async with server:
            with pytest.raises(HostUnreachable) as refused:
                async with connected(host, SshAccess(known_hosts="", connect_timeout_in_seconds=5), "hosts"):
                    pass
        return refused.value.message

    assert asyncio.run(run()).startswith("cannot connect to host 'web' (127.0.0.1), at 127.0.0.1, port ")


def test_a_host_that_is_too_busy_for_logins(hosts: SshHosts) -> None:
    """sshd drops logins beyond MaxStartups."""
    hosts[0].settings["MaxStartups"] = "1:100:1"
    hosts[0].stop()
    hosts[0].start()

    with socket.create_connection((hosts[0].address, hosts[0].port)) as hung:
        assert hung.recv(100)  # sshd waits for its login
        assert "cannot connect to host 'web-1' (127.0.0.2)" in temporary(hosts[0].host, hosts.access())


def test_more_programs_than_sessions() -> None:
    """The host refuses a program beyond MaxSessions; the call can be repeated once another has ended."""
    with ssh_hosts(1, plain_user(), MaxSessions="1") as hosts:

        async def run() -> None:
            async with connected(hosts[0].host, hosts.access(), "hosts") as connection:
                first = asyncio.create_task(run_over(connection, ["sleep", f"1000{MARK}"]))
                await happens(lambda: running(f"sleep 1000{MARK}"))
                with pytest.raises(HostUnreachable) as refused:
                    await run_over(connection, ["true"])
                assert not refused.value.permanent
                assert refused.value.message.startswith(
                    "host 'web-1' (127.0.0.2) starts no further program for this connection: "
                )
                assert refused.value.message.endswith("; its sshd may have reached MaxSessions")
                # The end of a program needs a session, too: another connection has one.
                first.cancel()
                await asyncio.gather(first, return_exceptions=True)
                await happens(lambda: not running(f"sleep 1000{MARK}"))
                assert (await run_over(connection, ["echo", "again"]))[1] == [b"again"]

        asyncio.run(run())


@pytest.mark.parametrize("doing", ["reading", "feeding"])
def test_a_connection_that_breaks_in_a_call(hosts: SshHosts, doing: str) -> None:
    async def feed() -> AsyncIterator[bytes]:
        while doing == "feeding":
            yield bytes(100_000)
        yield b""

    async def run() -> HostUnreachable:
        async with connected(hosts[0].host, hosts.access(), "hosts") as connection:
            program = ["sh", "-c", "echo begun; cat >/dev/null; sleep 1000"]
            begun = asyncio.Event()
            call = asyncio.create_task(connection.run(program, feed(), lambda _line: begun.set()))
            await begun.wait()
            hosts[0].cut_connections()
            with pytest.raises(HostUnreachable) as broken:
                await call
            with pytest.raises(HostUnreachable):
                await run_over(connection, ["true"])
            return broken.value

    until(lambda: not descendants(hosts[0].process.pid))  # the logins of the test before
    error = asyncio.run(run())
    assert not error.permanent
    assert error.message.startswith("the connection to host 'web-1' (127.0.0.2) broke")


def test_a_host_that_falls_silent_in_a_call(hosts: SshHosts) -> None:
    """As if its power had failed: nothing comes any more, and no end of the connection either."""

    async def run() -> HostUnreachable:
        access = hosts.access(connect_timeout_in_seconds=2)
        async with connected(hosts[0].host, access, "hosts") as connection:
            begun = asyncio.Event()
            program = ["sh", "-c", "echo begun; sleep 1000"]
            call = asyncio.create_task(connection.run(program, fed(), lambda _line: begun.set()))
            await begun.wait()
            for process in hosts[0].sessions():
                os.kill(process, signal.SIGSTOP)
            with pytest.raises(HostUnreachable) as broken:
                await call
            return broken.value

    begun = time.monotonic()
    error = asyncio.run(run())
    assert not error.permanent
    assert error.message.startswith("the connection to host 'web-1' (127.0.0.2) broke")
    assert time.monotonic() - begun < 15


def test_a_silent_program_is_no_silent_host(hosts: SshHosts) -> None:
    access = hosts.access(connect_timeout_in_seconds=1)

    assert run_on(hosts[0].host, access, ["sh", "-c", "sleep 2.5; echo here"])[1] == [b"here"]


def test_a_login_that_may_run_nothing(hosts: SshHosts) -> None:
    """`nologin` says why on its standard output."""
    hosts[0].settings["ForceCommand"] = "/usr/sbin/nologin"
    hosts[0].stop()
    hosts[0].start()
    finished, lines = run_on(hosts[0].host, hosts.access(), ["true"])

    assert lines == []
    assert finished.exit_status == 1
    assert "This account is currently not available" in finished.errors


def test_what_start_files_of_the_shell_print_is_no_output(hosts: SshHosts) -> None:
    hosts[0].settings["ForceCommand"] = 'echo hello; printf "no newline"; eval "$SSH_ORIGINAL_COMMAND"'
    hosts[0].stop()
    hosts[0].start()

    assert run_on(hosts[0].host, hosts.access(), ["echo", "mine"])[1] == [b"mine"]


def test_without_asyncssh_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", [])
    monkeypatch.delitem(sys.modules, "asyncssh", raising=False)

    with pytest.raises(ActionFailed) as failed:
        run_on(Host(name="web", address="web"), SshAccess(), ["true"])
    assert failed.value.code == "ConfigurationError"
    assert str(failed.value) == (
        "host 'web' is reached over SSH, and asyncssh is not installed here; install it with: "
        "pip install 'prefect-codepipeline[ssh]'"
    )
