"""The fork server: it has imported everything and forks a child for each flow run, which starts without imports.

It receives its environment, then requests, as lines of JSON on a socket. `{"number", "env", "cwd", "own"}` starts a
process: with `"run"` and `"entrypoint"` that flow run in Prefect's engine, with `"command"` that program instead, with
`"id"` and `"hooks"` the run's hooks. The answers are `{"number", "pid"}` at once and `{"number", "exit"}` when the child has ended, or
`{"number", "error"}`. After `{"retire"}` it accepts no more requests and ends with its last child. It has no threads
and no event loop, because forking would not be safe. Its children end with it: on SIGTERM they get 3 s to clean up; if
it is killed, the kernel kills them.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import importlib.util
import json
import os
import selectors
import shlex
import shutil
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, NoReturn

from prefect_codepipeline.actions.commands.hidden_environment import hide_environment

# Modules that every run imports. Modules that a later Prefect does not have are skipped.
PRELOADED = (
    "prefect",
    "prefect.engine",
    "prefect.flow_engine",
    "prefect.task_engine",
    "prefect.task_runners",
    "prefect.task_runs",
    "prefect.flow_runs",
    "prefect.runner",
    "prefect.results",
    "prefect.filesystems",
    "prefect.events.clients",
    "prefect.logging.handlers",
    "prefect.client.orchestration",
    "prefect.client.subscriptions",
    "prefect.concurrency.v1.sync",
    "prefect.deployments.base",
    "prefect.deployments.steps.core",
    "prefect.utilities.visualization",
    "websockets.asyncio.client",
    "anyio.streams.tls",
    "encodings.idna",
    "rich._emoji_codes",
    "prefect_codepipeline.deployments.worker.execution",
    "prefect_codepipeline.flows.pipeline",
    "prefect_codepipeline.flows.reconcile",
    "prefect_codepipeline.tasks.providers",
)
GRACE_SECONDS = 3.0
_PR_SET_PDEATHSIG = 1
# Blocked during a fork: a child must never run the handlers of this process.
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


@dataclass
class ForkServer:
    """The state of the process: its socket, and its children with their requests."""

    worker: int
    socket: socket.socket
    selector: selectors.BaseSelector
    unread: bytes = b""
    children: dict[int, dict[str, Any]] = field(default_factory=dict)
    retired: bool = False
    stopped: bool = False

    @property
    def is_over(self) -> bool:
        return self.stopped or not self.has_worker or (self.retired and not self.children)

    @property
    def has_worker(self) -> bool:
        return os.getppid() == self.worker


def main() -> None:
    """`python -m prefect_codepipeline.deployments.worker.fork_server DESCRIPTOR`: import, report that, fork until it is stopped."""
    worker = os.getppid()
    die_with_parent(signal.SIGTERM, worker)
    hide_environment()
    server = ForkServer(worker, socket.socket(fileno=int(sys.argv[1])), selectors.DefaultSelector())
    _receive_environment(server)
    _preload()
    _listen(server)
    _answer_with(server, ready=True)
    while not server.is_over:
        for key, _ in server.selector.select(timeout=5):
            if key.fileobj is server.socket:
                _answer(server)
            else:
                os.read(key.fd, 4096)  # a signal has arrived
        _reap(server)
    _end_children(server)


def _receive_environment(server: ForkServer) -> None:
    """Take the environment from the first line that the worker sends."""
    while b"\n" not in server.unread:
        part = server.socket.recv(1 << 16)
        if not part:
            sys.exit("the worker has ended")
        server.unread += part
    line, _, server.unread = server.unread.partition(b"\n")
    os.environ.update(json.loads(line))
    time.tzset()


def die_with_parent(number: signal.Signals, parent: int) -> None:
    """Let the kernel send this process a signal when its parent dies (Linux only).

    `parent` is the pid of the parent at the start. If that process has died already, this process exits.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number))
        if os.getppid() != parent:
            os._exit(1)


def _preload() -> None:
    environment = dict(os.environ)  # modules that are imported may change it
    gc.disable()  # what is imported stays
    from prefect_codepipeline.deployments.worker import prefect_engine

    for name in PRELOADED:
        if _exists(name):
            importlib.import_module(name)
    prefect_engine.prepare_to_run_flows(environment)
    gc.collect()
    gc.freeze()
    gc.enable()


def _exists(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _listen(server: ForkServer) -> None:
    def stop(_number: int, _frame: FrameType | None) -> None:
        server.stopped = True

    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    # Ctrl-C is sent to all processes of a terminal; the worker decides what ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server.selector.register(woken, selectors.EVENT_READ)
    server.selector.register(server.socket, selectors.EVENT_READ)


def _answer(server: ForkServer) -> None:
    part = server.socket.recv(1 << 16)
    if not part:  # the worker has ended
        server.stopped = True
    *lines, server.unread = (server.unread + part).split(b"\n")
    for line in lines:
        request = json.loads(line)
        if "retire" in request:
            server.retired = True
        else:
            _start(server, request)


def _start(server: ForkServer, request: dict[str, Any]) -> None:
    try:
        pid = _fork(server, request)
    except OSError as error:
        _answer_with(server, number=request["number"], error=f"no process could be forked: {error}")
        return
    server.children[pid] = request
    _answer_with(server, number=request["number"], pid=pid)


def _fork(server: ForkServer, request: dict[str, Any]) -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            server.selector.close()
            server.socket.close()
            _become_flow_run(request, parent)  # never returns
        return pid
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def _answer_with(server: ForkServer, **answer: Any) -> None:
    with contextlib.suppress(OSError):  # the worker, which waits for the answer, may have ended
        server.socket.sendall(json.dumps(answer).encode() + b"\n")


def _reap(server: ForkServer) -> None:
    for pid in list(server.children):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            number = server.children.pop(pid)["number"]
            _answer_with(server, number=number, exit=os.waitstatus_to_exitcode(status))


def _end_children(server: ForkServer) -> None:
    running = dict(server.children)
    _signal_groups(running, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while server.children and time.monotonic() < deadline:
        time.sleep(0.02)
        _reap(server)
    _signal_groups(running, signal.SIGKILL)
    while server.children:
        time.sleep(0.01)
        _reap(server)
    for request in running.values():  # a killed worker has not removed these folders
        if request["own"]:
            shutil.rmtree(request["cwd"], ignore_errors=True)


def _signal_groups(groups: Iterable[int], number: signal.Signals) -> None:
    for group in groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, number)


def _become_flow_run(request: dict[str, Any], server: int) -> NoReturn:
    """Do what `python -m prefect.engine` does in a new process."""
    try:
        os.setsid()
        die_with_parent(signal.SIGKILL, server)
        _forget_signals()
        _move_to(request["cwd"], request["env"])
        if "command" in request:
            program, *arguments = shlex.split(request["command"])
            os.execvp(program, [program, *arguments])
        _run(request)
    except Exception:  # a fork must never return to the server's code
        traceback.print_exc()
        sys.exit(1)
    sys.exit(0)


def _forget_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def _run(request: dict[str, Any]) -> None:
    from prefect_codepipeline.deployments.worker import prefect_engine

    prefect_engine.settle_in()
    if "hooks" in request:
        prefect_engine.run_hooks(request["id"], request["hooks"])
    else:
        prefect_engine.run_flow_run(request["run"], request["entrypoint"])


def _move_to(folder: str, environment: dict[str, str]) -> None:
    """Set the folder and the environment, and what Python derives from them at its start."""
    started_in, before = os.getcwd(), _entries(os.environ)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    time.tzset()
    if sys.path[:1] == [started_in]:
        del sys.path[0]
    rest = [entry for entry in sys.path if entry not in before]
    sys.path[:] = [folder, *_entries(environment), *rest]


def _entries(environment: Mapping[str, str]) -> list[str]:
    return [entry for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if entry]


if __name__ == "__main__":
    main()
