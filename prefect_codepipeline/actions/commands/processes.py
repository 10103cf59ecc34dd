"""Run a shell script on this machine, in a process tree that ends with it, however it ends."""

from __future__ import annotations

import os
import selectors
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from prefect_codepipeline.actions.commands import supervisor
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.errors import ActionFailed

CLEAN_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Reads the whole script ($1; $2 is a newline) before any of it runs, by nothing but builtins. Being one line, it
# lets bash name the script's own lines in its messages.
_READ_AND_RUN = (
    '__codepipeline=; while IFS= read -r __codepipeline_line || [ -n "$__codepipeline_line" ]; do '
    '__codepipeline="$__codepipeline$__codepipeline_line$2"; done <"$1"; '
    'set -- "$__codepipeline"; unset __codepipeline __codepipeline_line; eval "$1"'
)

_SUPERVISOR = str(Path(supervisor.__file__).resolve())
_CHUNK_BYTES = 65_536
_TICK_SECONDS = 0.05

OnOutput = Callable[[bytes], None]


@dataclass(frozen=True)
class Script:
    """A shell script's file, the directory where it begins, and all the variables that it has."""

    path: Path
    directory: Path
    environment: Mapping[str, str]


def run_on_host(script: Script, on_output: OnOutput, context: ActionContext) -> int:
    """Run a shell script to its end, by bash where there is one, and return its exit code (128 + n for signal n).

    No process of it is left when this returns or raises, nor after the death of this process: daemons, children
    that called `setsid` and forked twice included (on macOS: the script's process group). They get SIGTERM, 2 s
    to leave (0.2 s when the execution was cancelled), and SIGKILL. Standard input is empty.

    Args:
        script: what to run.
        on_output: gets standard output and error as they come, and `b""` at least every 0.05 s.
        context: its deadline and its cancellation token are obeyed.

    Raises:
        ActionFailed: with code `Timeout`, the deadline came first.
        ActionAbandoned: the execution was cancelled.
    """
    shell = shutil.which("bash", path=CLEAN_PATH) or "/bin/sh"
    with _supervised(shell_command(shell, script), script, on_output) as process:
        follow_output(_output_of(process), on_output, context.check, _has_ended(process))
    return process.returncode


def shell_command(shell: str, script: Script) -> list[str]:
    """The arguments with which a shell, bash or any POSIX one, runs a script to its end."""
    return [shell, "-c", _READ_AND_RUN, Path(shell).name, str(script.path), "\n"]


def follow_output(
    source: int, on_output: OnOutput, check: Callable[[], None], is_over: Callable[[], bool]
) -> None:
    """Hand on what comes out of a descriptor until its end, or until `is_over` and nothing is left in it.

    `check` is called at least every 0.05 s and leaves by raising.
    """
    with selectors.DefaultSelector() as selector:
        selector.register(source, selectors.EVENT_READ)
        over = False
        while True:
            check()
            ready = selector.select(0 if over else _TICK_SECONDS)
            chunk = os.read(source, _CHUNK_BYTES) if ready else b""
            if not chunk and (ready or over):
                return
            on_output(chunk)
            over = over or is_over()


@contextmanager
def _supervised(command: list[str], script: Script, on_output: OnOutput) -> Iterator[subprocess.Popen[bytes]]:
    # Leaving a Popen closes the lifeline and waits for the supervisor, which ends whatever is left.
    with subprocess.Popen(
        [sys.executable, "-I", "-S", _SUPERVISOR, str(os.getpid()), *command],
        cwd=script.directory,
        env=dict(script.environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        bufsize=0,
        start_new_session=True,
    ) as process:
        try:
            yield process
        except ActionFailed:
            _end_gently(process, on_output)
            raise


def _end_gently(process: subprocess.Popen[bytes], on_output: OnOutput) -> None:
    assert process.stdin, "the supervisor is started with a pipe"
    with suppress(BrokenPipeError):
        process.stdin.write(supervisor.END_GENTLY)
    follow_output(_output_of(process), on_output, lambda: None, _has_ended(process))


def _has_ended(process: subprocess.Popen[bytes]) -> Callable[[], bool]:
    return lambda: process.poll() is not None


def _output_of(process: subprocess.Popen[bytes]) -> int:
    assert process.stdout, "the supervisor is started with a pipe"
    return process.stdout.fileno()
