"""Programs on hosts: over SSH as root and as another user, and on this machine, it is all the same."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest
from host_calls import fed, happens, run_on, run_over
from ssh_hosts import SshHost, plain_user, running, ssh_hosts
from waiting import until

from prefect_codepipeline.actions.deploying.connections.connection import HostConnection
from prefect_codepipeline.actions.deploying.connections.opening import connected
from prefect_codepipeline.model.codedeploy.group import Host, SshAccess, Where

# The virtual environment may be in a folder that other users cannot read.
PYTHON = "/usr/bin/python3"
# How a program on the host can be told from those of other tests.
MARK = f".{os.getpid()}"


@dataclass
class Place:
    host: Host
    ssh: SshAccess
    where: Where
    user: str
    sshd: SshHost | None = None


@pytest.fixture(scope="module", params=["root", "plain", "local"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    if request.param == "local":
        user = subprocess.run(["id", "-un"], capture_output=True, text=True).stdout.strip()
        yield Place(Host(name="here", address="here"), SshAccess(), "local", user)
        return
    if request.param == "root" and os.getuid() != 0:
        pytest.skip("only root can have hosts with root as the user")
    user = "root" if request.param == "root" else plain_user()
    with ssh_hosts(1, user) as hosts:
        yield Place(hosts[0].host, hosts.access(), "hosts", user, hosts[0])


def test_output_errors_and_exit_status_are_apart(place: Place) -> None:
    script = "id -un; printf 'no newline'; echo oops >&2; exit 3"
    finished, lines = run_on(place.host, place.ssh, ["sh", "-c", script], where=place.where)

    assert lines == [place.user.encode(), b"no newline"]
    assert (finished.exit_status, finished.signal, finished.errors) == (3, None, "oops\n")


def test_the_program_is_fed_and_sees_the_end(place: Place) -> None:
    feed = os.urandom(3_000_000)
    finished, lines = run_on(place.host, place.ssh, ["wc", "-c"], feed, place.where)

    assert (finished.exit_status, lines) == (0, [b"3000000"])


def test_arguments_arrive_as_they_are(place: Place) -> None:
    arguments = [
        "a b",
        "",
        "'",
        '"',
        "$HOME",
        "`id`",
        "\\",
        "!x",
        "*",
        "new\nline",
        "ü",
        "--",
        "-n",
        ";",
        "#",
    ]
    program = [PYTHON, "-c", "import sys; print(sys.argv[1:])", *arguments]

    assert run_on(place.host, place.ssh, program, where=place.where)[1] == [repr(arguments).encode()]


def test_a_signal_is_named(place: Place) -> None:
    finished = run_on(place.host, place.ssh, ["sh", "-c", "kill -s TERM $$"], where=place.where)[0]

    assert (finished.exit_status, finished.signal) == (None, "TERM")


def test_a_program_that_is_not_there(place: Place) -> None:
    finished, lines = run_on(place.host, place.ssh, ["not-there"], where=place.where)

    assert (finished.exit_status, lines) == (127, [])
    assert "not-there" in finished.errors


def test_nothing_of_the_workers_environment_goes_to_the_host(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_WORKER", "secret")
    monkeypatch.setenv("LC_SECRET", "secret")
    lines = run_on(place.host, place.ssh, ["env"], where=place.where)[1]

    names = {line.partition(b"=")[0].decode() for line in lines}
    assert {"HOME", "USER", "LOGNAME", "PATH"} <= names
    assert not names & {"SECRET_OF_THE_WORKER", "LC_SECRET", "PREFECT_HOME", "SSH_AUTH_SOCK"}
    if place.where == "local":
        assert names == {"HOME", "USER", "LOGNAME", "PATH", "LANG"}


def test_a_line_of_50_mb_is_cut_and_memory_stays(place: Place) -> None:
    program = "import sys; [sys.stdout.write('x' * 1_000_000) for _ in range(50)]; print('\\nnext')"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    lines = run_on(place.host, place.ssh, [PYTHON, "-c", program], where=place.where)[1]

    assert [len(line) for line in lines] == [1_000_000, 4]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000


def test_of_errors_the_end_is_kept(place: Place) -> None:
    program = "import sys; sys.stderr.write('é' * 5_000_000 + 'the end')"
    finished = run_on(place.host, place.ssh, [PYTHON, "-c", program], where=place.where)[0]

    assert finished.errors == "é" * 1_993 + "the end"


def test_a_program_that_reads_slowly_slows_its_feed_down(place: Place) -> None:
    """Of what it has not read, only some megabytes are on the way."""
    given = 0

    async def feed() -> AsyncIterator[bytes]:
        nonlocal given
        for _ in range(1_000):
            given += 100_000
            yield bytes(100_000)

    async def run() -> None:
        async with connected(place.host, place.ssh, place.where) as connection:
            call = asyncio.create_task(connection.run(["sleep", "1000"], feed(), lambda _line: None))
            seen = -1
            while seen != given:  # until it grows no more
                seen = given
                await asyncio.sleep(0.5)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)

    asyncio.run(run())
    assert 0 < given < 10_000_000


def test_a_program_may_end_without_reading_its_feed(place: Place) -> None:
    async def feed() -> AsyncIterator[bytes]:
        while True:
            yield bytes(100_000)
            await asyncio.sleep(0)

    async def run() -> int | None:
        async with connected(place.host, place.ssh, place.where) as connection:
            return (await connection.run(["sh", "-c", "exit 5"], feed(), lambda _line: None)).exit_status

    assert asyncio.run(run()) == 5


def test_an_error_of_the_feed_ends_the_program(place: Place) -> None:
    async def feed() -> AsyncIterator[bytes]:
        yield b"x"
        await happens(lambda: running(f"sleep 999{MARK}"))
        raise OSError("disk error")

    async def run() -> None:
        async with connected(place.host, place.ssh, place.where) as connection:
            with pytest.raises(Exception, match="disk error"):
                await connection.run(["sleep", f"999{MARK}"], feed(), lambda _line: None)

    asyncio.run(run())
    until(lambda: not running(f"sleep 999{MARK}"))


def test_a_cancelled_call_ends_the_program_and_its_children(place: Place) -> None:
    """Also one that ignores TERM, and as root, to whose programs sshd passes on no signal."""
    stubborn = f"trap '' TERM; echo begun; sleep 1000{MARK} & sleep 1001{MARK}"

    async def run(connection: HostConnection) -> None:
        begun = asyncio.Event()
        program = ["sh", "-c", stubborn]
        call = asyncio.create_task(connection.run(program, fed(), lambda _line: begun.set()))
        await begun.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    async def all_calls() -> tuple[object, list[bytes]]:
        async with connected(place.host, place.ssh, place.where) as connection:
            await run(connection)
            return await run_over(connection, ["echo", "the connection is whole"])

    assert asyncio.run(all_calls())[1] == [b"the connection is whole"]
    assert running(f"sleep 1000{MARK}") == running(f"sleep 1001{MARK}") == []


def test_a_call_that_is_cancelled_at_once_leaves_no_program(place: Place) -> None:
    async def run() -> None:
        async with connected(place.host, place.ssh, place.where) as connection:
            for pause in (0, 0.001, 0.005, 0.02, 0.05):
                call = asyncio.create_task(
                    connection.run(["sleep", f"1002{MARK}"], fed(), lambda _line: None)
                )
                await asyncio.sleep(pause)
                call.cancel()
                await asyncio.gather(call, return_exceptions=True)

    asyncio.run(run())
    until(lambda: not running(f"sleep 1002{MARK}"), 5)


def test_calls_share_a_connection(place: Place) -> None:
    async def run() -> list[bytes]:
        async with connected(place.host, place.ssh, place.where) as connection:
            ended = await asyncio.gather(*(run_over(connection, ["echo", str(n)]) for n in range(5)))
            return [lines[0] for _finished, lines in ended]

    assert asyncio.run(run()) == [b"0", b"1", b"2", b"3", b"4"]
    if place.sshd:
        until(lambda: place.sshd and not place.sshd.sessions())


def test_a_detached_program_survives_the_connection(place: Place) -> None:
    script = f"setsid sleep 1003{MARK} </dev/null >/dev/null 2>&1 & echo begun"
    lines = run_on(place.host, place.ssh, ["sh", "-c", script], where=place.where)[1]

    assert lines == [b"begun"]
    [process] = running(f"sleep 1003{MARK}")
    os.kill(process, 9)
