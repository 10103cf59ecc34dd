"""A process that has everything imported and forks a child for each flow run: a start costs no imports.

Spoken to over a socket, in lines of JSON. `{"number", "id", "env", "cwd", "own"}` starts a run (with `"hooks"`: its
hooks; with `"command"`: that program, in place of Prefect's engine), answered by `{"number", "pid"}` at once and
`{"number", "exit"}` when the child has ended, or by `{"number", "error"}`. `{"retire"}` has it take no more and end with
its last child. It runs no thread and no event loop, or forking would not be safe. Its children end with it: on SIGTERM
they get 3 s to clean up, when it is killed the kernel kills them.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import importlib.util
import json
import os
import runpy
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

# What a run imports sooner or later; a name that a later Prefect does not have is left out.
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
    "prefect._internal.metrics",
    "websockets.asyncio.client",
    "anyio.streams.tls",
    "encodings.idna",
    "prefect_codepipeline.deployments.warm_execution",
    "prefect_codepipeline.flows.pipeline",
    "prefect_codepipeline.flows.reconcile",
    "prefect_codepipeline.tasks.providers",
)
GRACE_SECONDS = 3.0
_PR_SET_PDEATHSIG = 1
# Held back around a fork: a child must never run the handlers of this process.
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


@dataclass
class Warm:
    """What the process is doing: where it is spoken to, and its children with the requests that they came from."""

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
    """`python -m prefect_codepipeline.deployments.zygote DESCRIPTOR`: import, say so, fork until told to stop."""
    worker = os.getppid()
    die_with_parent(signal.SIGTERM, worker)
    _preload()
    warm = Warm(worker, socket.socket(fileno=int(sys.argv[1])), selectors.DefaultSelector())
    _listen(warm)
    _tell(warm, ready=True)
    while not warm.is_over:
        for key, _ in warm.selector.select(timeout=5):
            if key.fileobj is warm.socket:
                _answer(warm)
            else:
                os.read(key.fd, 4096)  # a signal has come
        _reap(warm)
    _end_children(warm)


def die_with_parent(number: signal.Signals, parent: int) -> None:
    """Have the kernel send this process a signal when its parent dies, where the kernel can (Linux).

    `parent` is who started it: when that one is dead already, this process ends here.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number))
        if os.getppid() != parent:
            os._exit(1)


def _preload() -> None:
    for name in PRELOADED:
        if _exists(name):
            importlib.import_module(name)
    # It is run as a program in each child, which must not find it imported.
    sys.modules.pop("prefect.engine", None)
    gc.collect()
    gc.freeze()


def _exists(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _listen(warm: Warm) -> None:
    def stop(_number: int, _frame: FrameType | None) -> None:
        warm.stopped = True

    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    # Ctrl-C reaches the whole group of a terminal; the worker decides what ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warm.selector.register(woken, selectors.EVENT_READ)
    warm.selector.register(warm.socket, selectors.EVENT_READ)


def _answer(warm: Warm) -> None:
    part = warm.socket.recv(1 << 16)
    if not part:  # the worker is gone
        warm.stopped = True
    *lines, warm.unread = (warm.unread + part).split(b"\n")
    for line in lines:
        request = json.loads(line)
        if "retire" in request:
            warm.retired = True
        else:
            _start(warm, request)


def _start(warm: Warm, request: dict[str, Any]) -> None:
    try:
        pid = _fork(warm, request)
    except OSError as error:
        _tell(warm, number=request["number"], error=f"no process could be forked: {error}")
        return
    warm.children[pid] = request
    _tell(warm, number=request["number"], pid=pid)


def _fork(warm: Warm, request: dict[str, Any]) -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            warm.selector.close()
            warm.socket.close()
            _become_flow_run(request, parent)  # never returns
        return pid
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def _tell(warm: Warm, **answer: Any) -> None:
    with contextlib.suppress(OSError):  # the worker may be gone, and with it whoever wanted to know
        warm.socket.sendall(json.dumps(answer).encode() + b"\n")


def _reap(warm: Warm) -> None:
    for pid in list(warm.children):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            number = warm.children.pop(pid)["number"]
            _tell(warm, number=number, exit=os.waitstatus_to_exitcode(status))


def _end_children(warm: Warm) -> None:
    running = dict(warm.children)
    _signal_groups(running, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while warm.children and time.monotonic() < deadline:
        time.sleep(0.02)
        _reap(warm)
    _signal_groups(running, signal.SIGKILL)
    while warm.children:
        time.sleep(0.01)
        _reap(warm)
    for request in running.values():  # a worker that was killed has not removed them
        if request["own"]:
            shutil.rmtree(request["cwd"], ignore_errors=True)


def _signal_groups(groups: Iterable[int], number: signal.Signals) -> None:
    for group in groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, number)


def _become_flow_run(request: dict[str, Any], zygote: int) -> NoReturn:
    """What `python -m prefect.engine` does in a fresh process."""
    try:
        os.setsid()
        die_with_parent(signal.SIGKILL, zygote)
        _forget_signals()
        _move_to(request["cwd"], request["env"])
        if "command" in request:
            program, *arguments = shlex.split(request["command"])
            os.execvp(program, [program, *arguments])
        _run(request)
    except Exception:  # nothing but the end of the process may lead out of a fork
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
    from prefect.context import refresh_global_settings_context
    from prefect.logging.configuration import setup_logging

    refresh_global_settings_context()
    setup_logging(incremental=False)
    if "hooks" in request:
        from prefect_codepipeline.deployments.warm_execution import run_hooks

        run_hooks(request["id"], request["hooks"])
    else:
        sys.argv = ["prefect.engine", request["id"]]
        runpy.run_module("prefect.engine", run_name="__main__")


def _move_to(folder: str, environment: dict[str, str]) -> None:
    """The folder and the environment, and what Python makes of them when it starts."""
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
