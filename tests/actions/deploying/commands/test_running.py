"""Commands of a deployment group as real processes: what they get, how they end, and that nothing of them remains."""

from __future__ import annotations

import ast
import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import until

from prefect_codepipeline.actions.deploying.commands import guard, running
from prefect_codepipeline.actions.deploying.commands.running import Ended, Runner, run_command
from prefect_codepipeline.actions.deploying.connections.connection import HostUnreachable
from prefect_codepipeline.actions.deploying.connections.local import LocalConnection
from prefect_codepipeline.actions.deploying.connections.opening import connected

SLOW = "trap '' TERM; echo $$ >{file}; sleep 100 & echo $! >>{file}; wait; sleep 100"


@pytest.fixture(autouse=True)
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "GRACE_SECONDS", 0.3)


def run(*command: str, seconds: float = 20, runner: Runner | None = None, **variables: str) -> Ended:
    return asyncio.run(run_command(runner or Runner.on_worker(), command, variables, seconds))


def test_a_command_gets_its_variables_and_nothing_of_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-worker")

    ended = run("env", HOST="web-1", ADDRESS="10.0.0.1")

    assert ended.succeeded
    names = {line.partition("=")[0] for line in ended.output.splitlines()}
    assert names - {"LC_CTYPE"} == {"HOME", "USER", "LOGNAME", "PATH", "LANG", "HOST", "ADDRESS"}
    assert {"HOST=web-1", "ADDRESS=10.0.0.1"} <= set(ended.output.splitlines())


def test_no_shell_reads_a_command() -> None:
    words = ("$(id)", "a; echo b", "'\"", "*", "line\nbreak", "")

    ended = run(sys.executable, "-c", "import sys; print(sys.argv[1:])", *words, HOST="$(id)")

    assert ended.output == repr(list(words))


def test_a_host_that_is_not_itself_does_not_fill_the_memory(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nyes '|more' | head -c 3000000\necho '{\"exit_status\": 0, \"cut\": 0}'\n")
    python.chmod(0o755)

    ended = run("true", runner=Runner(LocalConnection(), str(python), "web-1"))

    assert ended.succeeded
    assert len(ended.output) < 300_000


def test_output_and_errors_are_together_and_standard_input_is_empty() -> None:
    ended = run("sh", "-c", "echo one; echo two >&2; cat; printf 'caf\\351'; exit 3")

    assert (ended.exit_status, ended.output) == (3, "one\ntwo\ncaf\N{REPLACEMENT CHARACTER}")
    assert ended.how(20) == "exited with 3"
    assert ended.code == "ScriptFailed"
    assert ended.last_words() == "; its last output: one / two / caf\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("program", ["no-such-program", "/etc/passwd", "with\0null"])
def test_a_command_that_cannot_be_started(program: str) -> None:
    ended = run(program)

    assert not ended.succeeded
    assert ended.how(20).startswith("could not be started: ")
    assert ended.code == "ScriptMissing"


def test_a_host_without_python() -> None:
    ended = run("true", runner=Runner(LocalConnection(), "no-python", "the host"))

    assert ended.how(20) == "could not be started: no-python: No such file or directory"


def test_a_signal_that_ends_a_command() -> None:
    assert run("sh", "-c", "kill -USR1 $$").how(20) == "was ended by SIGUSR1"


def test_at_the_end_of_its_time_all_processes_are_ended(tmp_path: Path) -> None:
    ended = run("sh", "-c", SLOW.format(file=tmp_path / "pids"), seconds=1)

    assert ended.timed_out
    assert not ended.succeeded
    assert ended.how(1) == "did not end within 1 seconds and was ended"
    assert ended.code == "ScriptTimedOut"
    assert_gone(tmp_path / "pids")


def test_what_a_command_leaves_running_is_ended_and_is_not_waited_for(tmp_path: Path) -> None:
    began = time.monotonic()

    ended = run("sh", "-c", f"sleep 100 & echo $! >{tmp_path}/pids; echo done")

    assert (ended.exit_status, ended.output) == (0, "done")
    assert time.monotonic() - began < 10
    assert_gone(tmp_path / "pids")


def test_a_call_that_is_cancelled_ends_its_command(tmp_path: Path) -> None:
    file = tmp_path / "pids"

    async def cancel() -> None:
        running = asyncio.create_task(
            run_command(Runner.on_worker(), ["sh", "-c", SLOW.format(file=file)], {}, 100)
        )
        await asyncio.to_thread(until, lambda: lines_of(file) == 2)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(cancel())

    assert_gone(file)


def test_what_a_login_shell_prints_and_where_it_is_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise ImportError('not that of Python')")
    shell = f"cd {tmp_path}; echo welcome; echo {{; echo {{}}; exec"

    class Login(LocalConnection):
        async def run(self, command: Any, feed: Any, on_line: Any) -> Any:
            return await super().run(["sh", "-c", f'{shell} "$@"', "sh", *command], feed, on_line)

    ended = run("echo", "here", runner=Runner(Login(), "python3", "the host"))

    assert (ended.exit_status, ended.output) == (0, "here")


def test_a_worker_that_is_killed_leaves_no_command(tmp_path: Path) -> None:
    file = tmp_path / "pids"
    text = (
        "import asyncio, sys; from prefect_codepipeline.actions.deploying.commands import running as g; "
        "g.GRACE_SECONDS = 0.3; asyncio.run(g.run_command(g.Runner.on_worker(), ['sh', '-c', sys.argv[1]], {}, 100))"
    )
    worker = subprocess.Popen([sys.executable, "-c", text, SLOW.format(file=file)])
    until(lambda: lines_of(file) == 2)

    worker.kill()
    worker.wait()

    until(lambda: not living(file), 20, lambda: living(file))


def test_much_output_is_bounded_and_its_end_is_kept() -> None:
    ended = run("sh", "-c", "head -c 20000000 /dev/zero | tr '\\0' x; echo; seq 20000; exit 4")

    assert ended.exit_status == 4
    assert len(ended.output) < 80_000
    assert "bytes are left out here]" in ended.output
    assert ended.output.endswith("\n19999\n20000")


@pytest.fixture
def over_ssh() -> Iterator[Callable[[Callable[[Runner], Awaitable[Any]]], Any]]:
    """Runs a test's function with a runner on a real host."""
    ssh_hosts = pytest.importorskip("ssh_hosts").ssh_hosts
    with ssh_hosts(1) as hosts:

        async def with_runner(use: Callable[[Runner], Awaitable[Any]]) -> Any:
            async with connected(hosts[0].host, hosts.access(), "hosts") as connection:
                return await use(Runner(connection, "python3", "the host"))

        yield lambda use: asyncio.run(with_runner(use))


def test_on_a_host_a_command_gets_its_variables_and_is_ended_in_time(over_ssh: Any, tmp_path: Path) -> None:
    words = ("$(id)", "a; echo b", "'\"", "line\nbreak", "")
    file = tmp_path / "pids"

    async def use(runner: Runner) -> tuple[Ended, Ended]:
        shown = "import os, sys; print(os.environ['HOST'], sys.argv[1:])"
        return (
            await run_command(runner, ["python3", "-c", shown, *words], {"HOST": "$(id)"}, 20),
            await run_command(runner, ["sh", "-c", SLOW.format(file=file)], {}, 1),
        )

    good, late = over_ssh(use)

    assert good.output == f"$(id) {list(words)!r}"
    assert late.how(1) == "did not end within 1 seconds and was ended"
    assert_gone(file)


def test_on_a_host_a_command_ends_with_its_call_and_with_its_connection(
    over_ssh: Any, tmp_path: Path
) -> None:
    cancelled, cut = tmp_path / "cancelled", tmp_path / "cut"

    async def use(runner: Runner) -> None:
        running = asyncio.create_task(run_command(runner, ["sh", "-c", SLOW.format(file=cancelled)], {}, 100))
        await asyncio.to_thread(until, lambda: lines_of(cancelled) == 2)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert_gone(cancelled)
        left = asyncio.create_task(run_command(runner, ["sh", "-c", SLOW.format(file=cut)], {}, 100))
        await asyncio.to_thread(until, lambda: lines_of(cut) == 2)
        await runner.connection.close()
        with pytest.raises(HostUnreachable):
            await left

    over_ssh(use)

    until(lambda: not living(cut), 20, lambda: living(cut))


def test_the_guard_is_python_of_the_oldest_hosts() -> None:
    ast.parse(Path(guard.__file__).read_text(), feature_version=(3, 6))


def lines_of(file: Path) -> int:
    return len(file.read_text().splitlines()) if file.exists() else 0


def living(file: Path) -> list[int]:
    found = []
    for pid in map(int, file.read_text().split()):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state != "Z":
            found.append(pid)
    return found


def assert_gone(file: Path) -> None:
    left = living(file)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []
