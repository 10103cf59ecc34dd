"""An interactive shell on the host or in a container, for a terminal or for a script on standard input."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from prefect_codepipeline.actions.commands.container_copy import copy_in
from prefect_codepipeline.actions.commands.container_run import attached, created, directories_of, frames
from prefect_codepipeline.actions.commands.container_stream import readable, send
from prefect_codepipeline.actions.commands.containers import Engine
from prefect_codepipeline.actions.commands.processes import CLEAN_PATH
from prefect_codepipeline.actions.registry import ActionContext

_CHUNK_BYTES = 65_536


def shell_on_host(directory: Path, environment: Mapping[str, str], name: str) -> int:
    """Run bash, or sh, in a directory with its own environment; its exit code. `name` is displayed in the prompt."""
    shell = shutil.which("bash", path=CLEAN_PATH) or "/bin/sh"
    plain = ["--norc", "--noprofile"] if shell.endswith("bash") else []
    variables = _with_terminal(environment, name)
    with (
        subprocess.Popen([shell, *plain], cwd=directory, env=variables) as process,
        ignoring(signal.SIGINT),  # Ctrl-C is for the program in the shell
    ):
        return process.wait()


def shell_in_container(
    engine: Engine, directory: Path, environment: Mapping[str, str], context: ActionContext, name: str
) -> int:
    """Run the image's bash, or its sh, in a container that is removed at the end; its exit code."""
    from docker.errors import APIError

    is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    directories = directories_of(engine, context)
    command = ["sh", "-c", "exec $(command -v bash || command -v sh)"]
    variables = _with_terminal(environment, name) if is_terminal else dict(environment)
    try:
        container = created(engine, command, variables, directory, context, directories, tty=is_terminal)
        with container as running:
            return _run_session(engine, running, is_terminal)
    except APIError:  # the engine runs elsewhere and cannot mount our files
        container = created(engine, command, variables, directory, context, {}, tty=is_terminal)
        with container as running:
            copy_in(running, directories, (0, 0) if engine.options.as_root else (os.getuid(), os.getgid()))
            return _run_session(engine, running, is_terminal)


def _with_terminal(environment: Mapping[str, str], name: str) -> dict[str, str]:
    terminal = {"TERM": os.environ.get("TERM", "dumb")} if sys.stdin.isatty() else {}
    return {**environment, **terminal, "PS1": f"{name} $ "}


def _run_session(engine: Engine, container: Any, is_terminal: bool) -> int:
    stream = attached(engine, container)
    try:
        container.start()
        with readable(stream) as output, _terminal_of(container, is_terminal):
            write = _write if is_terminal else frames(_write)
            _forward(stream, output, write)
        return int(container.wait()["StatusCode"])
    finally:
        stream.close()


def _forward(stream: Any, output: int, write: Any) -> None:
    """Forward input to the container and its output to standard output, until the container ends."""
    sources = [output, sys.stdin.fileno()]
    while True:
        ready, _, _ = select.select(sources, [], [])
        if sys.stdin.fileno() in ready:
            typed = os.read(sys.stdin.fileno(), _CHUNK_BYTES)
            if typed:
                send(stream, typed)
            else:
                sources.remove(sys.stdin.fileno())
                with suppress(OSError):
                    getattr(stream, "_sock", stream).shutdown(socket.SHUT_WR)
        if output in ready:
            chunk = os.read(output, _CHUNK_BYTES)
            if not chunk:
                return
            write(chunk)


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _terminal_of(container: Any, is_terminal: bool) -> AbstractContextManager[None]:
    return raw_terminal(lambda size: _resize(container, size)) if is_terminal else nullcontext()


def _resize(container: Any, size: os.terminal_size) -> None:
    with suppress(Exception):  # a wrong window size must not end the session
        container.resize(height=size.lines, width=size.columns)


@contextmanager
def raw_terminal(resize: Callable[[os.terminal_size], object]) -> Iterator[None]:
    """Pass every key to a program elsewhere; the terminal's settings are restored afterwards.

    Args:
        resize: tells the program the size of the window, now and whenever it changes.
    """
    before = termios.tcgetattr(sys.stdin)
    sizes = signal.signal(signal.SIGWINCH, lambda *_: resize(shutil.get_terminal_size()))
    resize(shutil.get_terminal_size())
    try:
        tty.setraw(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
        signal.signal(signal.SIGWINCH, sizes)


@contextmanager
def ignoring(number: signal.Signals) -> Iterator[None]:
    """Ignore a signal within this block."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)
