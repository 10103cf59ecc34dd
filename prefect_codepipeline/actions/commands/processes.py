"""Run a shell script on this machine; no process of it remains, even after a crash of this process."""

from __future__ import annotations

import os
import selectors
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from prefect_codepipeline.actions.commands import supervisor
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.errors import ActionAbandoned, ActionFailed

CLEAN_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Reads the whole script ($1; $2 is a newline) before any of it runs, using only builtins. Because it is one line,
# the line numbers in bash's messages are those of the script.
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
    """A shell script's file, its working directory, and all its environment variables."""

    path: Path
    directory: Path
    environment: Mapping[str, str]


def run_on_host(
    script: Script, on_output: OnOutput, context: ActionContext, *, always_gently: bool = False
) -> int:
    """Run a shell script to its end, with bash if there is one, and return its exit code (128 + n for signal n).

    When this returns or raises, or this process dies, every process of the script is ended. On Linux that includes
    daemons and children that called `setsid` or forked twice; on macOS it is the script's process group. They get
    SIGTERM, 2 s to end (0.2 s if the execution was cancelled, unless `always_gently`), and SIGKILL. Standard input is
    empty.

    Args:
        script: the script to run.
        on_output: called with standard output and error as they arrive, and with `b""` at least every 0.05 s.
        context: of the action, with the deadline and the cancellation token.
        always_gently: the processes have something to put in order when they end, such as a release of helm.

    Raises:
        ActionFailed: with code `Timeout`, the deadline has passed.
        ActionAbandoned: the execution was cancelled.
    """
    shell = shutil.which("bash", path=CLEAN_PATH) or "/bin/sh"
    command = shell_command(shell, script)
    return run_program(command, script, on_output, context.check, always_gently=always_gently)


def run_program(
    command: Sequence[str],
    script: Script,
    on_output: OnOutput,
    check: Callable[[], None],
    *,
    always_gently: bool = False,
) -> int:
    """Run a program in the directory and the environment of `script`, and end it as `run_on_host` does.

    `check` is called all the time; what it raises ends the program.
    """
    with _supervised([*command], script, on_output, always_gently=always_gently) as process:
        follow_output(_output_of(process), on_output, check, _has_ended(process))
    return process.returncode


def shell_command(shell: str, script: Script) -> list[str]:
    """The command line with which bash or any POSIX shell runs a script to its end."""
    return [shell, "-c", _READ_AND_RUN, Path(shell).name, str(script.path), "\n"]


def follow_output(
    source: int, on_output: OnOutput, check: Callable[[], None], has_ended: Callable[[], bool]
) -> None:
    """Pass the output of a descriptor to `on_output` until its end, or until `has_ended` and all output was read.

    `check` is called at least every 0.05 s; an exception from it ends the reading.
    """
    with selectors.DefaultSelector() as selector:
        selector.register(source, selectors.EVENT_READ)
        ended = False
        while True:
            check()
            ready = selector.select(0 if ended else _TICK_SECONDS)
            chunk = os.read(source, _CHUNK_BYTES) if ready else b""
            if not chunk and (ready or ended):
                return
            on_output(chunk)
            ended = ended or has_ended()


@contextmanager
def _supervised(
    command: list[str], script: Script, on_output: OnOutput, *, always_gently: bool
) -> Iterator[subprocess.Popen[bytes]]:
    # The end of the block closes the lifeline and waits for the supervisor, which ends all remaining processes.
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
        except (ActionFailed, ActionAbandoned) as error:
            if always_gently or isinstance(error, ActionFailed):
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
