"""The `codepipeline` command for tests, forked from a process that has imported what it imports.

A new Python needs 0.3 s of a processor to import the commands, and another second to import Prefect; the tests call
hundreds of them. Each call is still a process of its own, with its own arguments, environment, folder and standard streams.
Commands that do without Prefect are forked from a process that has not imported it.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

MAIN = "from prefect_codepipeline.cli import main; main()"
# What users run without importing Prefect; tests/cli/test_without_prefect.py shows it of most.
_LIGHT = {
    "approval-link", "approve", "down", "executions", "list", "logs", "override", "reject", "retry", "rollback", "start",
    "status", "stop", "transition", "up", "validate",
}  # fmt: skip
_WITH_PREFECT = {
    "connection", "delete", "deploy", "deployment", "event-webhook", "export", "hosts", "import", "key", "plan", "schedule", "secret",
    "setup", "slack", "trigger", "webhook",
}  # fmt: skip
_LIGHT_MODULES = (
    "encodings.idna",
    "httpcore",
    "httpx",
    "prefect_codepipeline.deployments.local.embedded",
    "prefect_codepipeline.prefect_api.client",
)
_HEAVY_MODULES = (
    "prefect.client.orchestration",
    "prefect.client.schemas.actions",
    "prefect_codepipeline.actions.deploying.rollout.by_hand",
    "prefect_codepipeline.deployments.collection",
    "prefect_codepipeline.deployments.checking.deployment_groups",
    "prefect_codepipeline.deployments.checking.needed",
    "prefect_codepipeline.deployments.create",
    "prefect_codepipeline.deployments.resource_blocks",
    "prefect_codepipeline.deployments.resource_schedules",
    "prefect_codepipeline.deployments.resource_transitions",
    "prefect_codepipeline.deployments.resource_webhooks",
)
_OF_PREFECT = {
    "prefect_codepipeline.cli.executions.shell_environment",
    "prefect_codepipeline.cli.executions.shell_on_target",
}
# Only the reconcile loop and flows go by these times. Modules of commands read the others when they are imported.
_NOT_OF_COMMANDS = {f"PREFECT_CODEPIPELINE_{name}_SECONDS" for name in ("POLL", "RECONCILE", "WAIT")}
_servers: dict[tuple[bool, frozenset[tuple[str, str]]], _Server] = {}


def run_command(arguments: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """`codepipeline` with these arguments; the options are some of `subprocess.run`: `env`, `cwd`, `input`, `timeout`."""
    verb = next(iter(arguments), "")
    if verb not in _LIGHT | _WITH_PREFECT or "stdin" in options or not hasattr(socket, "send_fds"):
        return run_python(MAIN, arguments, **options)
    return _server(verb in _WITH_PREFECT, options).run(MAIN, arguments, **options)


def run_without_prefect(program: str, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """A program with these arguments where Prefect is not imported."""
    if not hasattr(socket, "send_fds"):
        return run_python(program, arguments)
    return _server(False, {}).run(program, arguments)


def run_program(program: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """The same for a program of a test, as a text in Python; Prefect is imported already."""
    if not hasattr(socket, "send_fds"):
        return run_python(program, (), **options)
    return _server(True, options).run(program, (), **options)


def run_python(program: str, arguments: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """The program in a Python that has to import everything."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **{"timeout": 200, **options})


def _server(with_prefect: bool, options: Mapping[str, Any]) -> _Server:
    times = frozenset(_times(options.get("env") or os.environ).items())
    if (with_prefect, times) not in _servers:
        _servers[with_prefect, times] = _Server(with_prefect, dict(times))
    return _servers[with_prefect, times]


def _times(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if name.startswith("PREFECT_CODEPIPELINE_")
        and name.endswith("_SECONDS")
        and name not in _NOT_OF_COMMANDS
    }


class _Server:
    """The process that forks, seen from the tests. It ends when these have ended."""

    def __init__(self, with_prefect: bool, times: Mapping[str, str]) -> None:
        others = {
            name: value for name, value in os.environ.items() if not name.startswith("PREFECT_CODEPIPELINE_")
        }
        self._requests, its_end = socket.socketpair()
        with its_end:
            command = [sys.executable, __file__, str(its_end.fileno()), "prefect" if with_prefect else ""]
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[its_end.fileno()],
                env={**others, **times},
                start_new_session=True,
            )
        atexit.register(self._stop)

    def _stop(self) -> None:
        self._requests.close()
        self._process.wait()

    def run(
        self,
        program: str,
        arguments: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: os.PathLike[str] | str | None = None,
        input: str = "",
        timeout: float = 200,
    ) -> subprocess.CompletedProcess[str]:
        request = {
            "program": program,
            "arguments": list(map(str, arguments)),
            "env": dict(os.environ if env is None else env),
            "cwd": os.fspath(cwd or os.getcwd()),
        }
        ours, its = socket.socketpair()
        with ours, its, _streams(input) as streams:
            socket.send_fds(self._requests, [b"+"], [its.fileno(), *(each.fileno() for each in streams)])
            its.close()
            ours.sendall(json.dumps(request).encode() + b"\n")
            code = self._exit_code(ours, arguments, timeout)
            said = [_text(each) for each in streams[1:]]
        return subprocess.CompletedProcess(["codepipeline", *arguments], code, *said)

    def _exit_code(self, ours: socket.socket, arguments: Sequence[str], timeout: float) -> int:
        ours.settimeout(timeout)
        with ours.makefile() as answers:
            pid = int(answers.readline())
            try:
                return int(answers.readline())
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(["codepipeline", *arguments], timeout) from None


@contextlib.contextmanager
def _streams(text: str) -> Any:
    """Files for the standard input, with that text, the output and the errors."""
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
        files[0].write(text.encode())
        files[0].seek(0)
        yield files


def _text(file: Any) -> str:
    file.seek(0)
    return str(file.read().decode())


def main() -> None:
    """The process itself: import, then fork for each request."""
    requests = socket.socket(fileno=int(sys.argv[1]))
    _import_commands(with_prefect=bool(sys.argv[2]))
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    children: dict[int, socket.socket] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is not requests:
                    os.read(key.fd, 4096)
                elif not _fork(requests, children):
                    return
            _reap(children)


def _import_commands(*, with_prefect: bool) -> None:
    import prefect_codepipeline.cli

    names = [
        each.name
        for each in pkgutil.walk_packages(prefect_codepipeline.cli.__path__, "prefect_codepipeline.cli.")
    ]
    for name in (*_LIGHT_MODULES, *(_HEAVY_MODULES if with_prefect else ()), *names):
        if with_prefect or name not in _OF_PREFECT:
            importlib.import_module(name)
    assert with_prefect or "prefect" not in sys.modules, "the commands that need no Prefect would have it"
    gc.collect()
    gc.freeze()


def _fork(requests: socket.socket, children: dict[int, socket.socket]) -> bool:
    """Fork a command for the next request; False if there will be none."""
    said, descriptors, _, _ = socket.recv_fds(requests, 1, 4)
    if not said:
        return False
    answers = socket.socket(fileno=descriptors[0])
    pid = os.fork()
    if pid == 0:
        requests.close()
        _become(answers, descriptors[1:])
    for each in descriptors[1:]:
        os.close(each)
    children[pid] = answers
    answers.sendall(f"{pid}\n".encode())
    return True


def _reap(children: dict[int, socket.socket]) -> None:
    for pid in list(children):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            with children.pop(pid) as answers, contextlib.suppress(OSError):
                answers.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _become(answers: socket.socket, streams: Sequence[int]) -> NoReturn:
    """Be the command: what comes after the imports in `python -c`."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with answers, answers.makefile() as lines:
        request = json.loads(lines.readline())
    for number, each in enumerate(streams):
        os.dup2(each, number)
        os.close(each)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    if "prefect.context" in sys.modules:
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()
    sys.argv = ["-c", *request["arguments"]]
    exec(compile(request["program"], "<string>", "exec"), {"__name__": "__main__"})
    sys.exit(0)


if __name__ == "__main__":
    main()
