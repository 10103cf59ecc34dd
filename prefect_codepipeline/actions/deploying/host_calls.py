"""Calls to the program on a host, which is sent with each call and never installed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from prefect_codepipeline.actions.deploying.connections.connection import Finished, HostConnection
from prefect_codepipeline.errors import CodePipelineError

_PACKAGE = f"{__package__}.host_program"
# Its modules are imported when they are needed: each call pays for what it uses.
_LOADER = """\
import json, sys
from importlib.machinery import ModuleSpec
if sys.version_info < (3, 6):
    print(json.dumps({"error": "it is version %d.%d" % sys.version_info[:2], "code": "OldPython", "end": True}))
    sys.exit()
MODULES = json.loads(MODULES)
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name in MODULES:
            return ModuleSpec(name, self, is_package=name == "codedeploy_host")
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        exec(compile(MODULES[module.__name__], module.__name__, "exec"), module.__dict__)
sys.meta_path.insert(0, Finder())
import codedeploy_host.calls
codedeploy_host.calls.main()
"""
# Isolated: nothing of the user's own Python is imported.
_OPTIONS = ("-I", "-S")
_COMMAND = 'import sys;exec(compile(sys.stdin.buffer.read(int(sys.argv[1])),"codedeploy","exec"))'
_CHUNK = 256 * 1024
_RETRIED = {"StillRunning"}
# So much of what a host says is shown; it may be anything.
_SHOWN_CHARACTERS = 2_000
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$")]

Entry = Mapping[str, Any]


class HostFailed(CodePipelineError):  # noqa: N818 - the name of what happened
    """A host refused a call, or could not do it.

    Args:
        message: what was attempted, what came back, and what to do.
        code: for programs.
        retry: whether the same call may succeed later.
    """

    def __init__(self, message: str, code: str, retry: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.retry = retry


@dataclass(frozen=True)
class Deployed:
    """A deployment that succeeded on the host, and its revision."""

    deployment: _Name
    revision: _Name


@dataclass(frozen=True)
class Survey:
    """What is on a host.

    Args:
        python: its version.
        user: who the deployment runs as.
        uid: of the user; 0 is root.
        has_revision: whether the revision need not be sent.
        busy_with: the deployment that has the group there, which may be the one that asks.
        last_successful: of the group.
        journal: the lines of the deployment's journal, or None if it was never started there.
    """

    python: str
    user: str
    uid: int
    has_revision: bool
    busy_with: _Name | None
    last_successful: Deployed | None
    journal: int | None


@dataclass(frozen=True)
class Followed:
    """Where a deployment on a host is.

    Args:
        lines: of its journal so far: the next offset.
        running: whether events of its last order are still to come.
        outcome: Succeeded, Failed or Stopped once all its orders have ended. None if it runs, or was never started.
    """

    lines: int
    running: bool
    outcome: Literal["Succeeded", "Failed", "Stopped"] | None


class HostCalls:
    """The calls to one host for one deployment group.

    Args:
        connection: to the host.
        state_folder: on the host; `~` is the user's home.
        group_id: of the deployment group.
        python: the program on the host.
    """

    def __init__(self, connection: HostConnection, state_folder: str, group_id: str, python: str) -> None:
        self._connection = connection
        self._common = {"state_folder": state_folder, "group_id": group_id}
        self._python = python

    async def survey(self, deployment: str, revision: str) -> Survey:
        """Look what is on the host."""
        answer = await self._call("survey", {"deployment": deployment, "revision": revision})
        return _understood("survey", answer, _SURVEY)

    async def send(self, revision: str, tar: Path) -> None:
        """Send a revision.

        Args:
            revision: the SHA-256 of the tar.
            tar: a file on this machine, which is written once for all hosts.
        """
        await self._call("receive", {"revision": revision}, tar=tar)

    async def start(self, order: Mapping[str, Any]) -> str | None:
        """Start an order, which then needs no connection. Nothing is started twice.

        Returns:
            The deployment that the group is busy with on this host, or None if the order was started, now or before.
        """
        answer = await self._call("start", {"order": order})
        return _understood("start", answer.get("busy_with"), _BUSY_WITH)

    async def follow(
        self, deployment: str, offset: int, seconds: float, on_entry: Callable[[Entry], None]
    ) -> Followed:
        """Hand over the journal's lines from an offset on, until the order has ended, or for so many seconds."""
        wanted = {"deployment": deployment, "offset": offset, "seconds": seconds}
        answer = await self._call("follow", wanted, on_entry=on_entry)
        return _understood("follow", answer, _FOLLOWED)

    async def stop(self, deployment: str) -> bool:
        """Stop a deployment: no further event, and the running script gets TERM, later KILL. Whether it still runs."""
        answer = await self._call("stop", {"deployment": deployment})
        return bool(answer.get("running"))

    async def finish(self, deployment: str, outcome: str) -> None:
        """End a deployment on the host. May be repeated; the first outcome stays."""
        await self._call("finish", {"deployment": deployment, "outcome": outcome})

    async def _call(
        self,
        verb: str,
        values: Mapping[str, Any],
        tar: Path | None = None,
        on_entry: Callable[[Entry], None] = lambda _entry: None,
    ) -> Mapping[str, Any]:
        program = program_text()
        call = {"verb": verb, **self._common, **values}
        answers: list[Mapping[str, Any]] = []

        def on_line(line: bytes) -> None:
            answer = _read_answer(line)
            if answer is None or answers:
                return
            if answer.get("end"):
                answers.append(answer)
            elif "entry" in answer:
                on_entry(answer["entry"])

        command = [self._python, *_OPTIONS, "-c", _COMMAND, str(len(program))]
        finished = await self._connection.run(command, _feed(program, call, tar), on_line)
        if not answers:
            raise _unanswered(verb, self._python, finished)
        if "error" in answers[0]:
            raise _refused(answers[0], self._python)
        return answers[0]


_SURVEY = TypeAdapter(Survey)
_BUSY_WITH: TypeAdapter[str | None] = TypeAdapter(_Name | None)
_FOLLOWED = TypeAdapter(Followed)
_Said = TypeVar("_Said")


def _understood(verb: str, said: Any, form: TypeAdapter[_Said]) -> _Said:
    """An answer in its form. A host that is not itself may say anything, and fails alone."""
    try:
        return form.validate_python(said)
    except ValidationError as error:
        places = ", ".join(dict.fromkeys(".".join(map(str, each["loc"])) for each in error.errors()))
        message = (
            f"the host gave an answer to the call `{verb}` that the program there does not give: {places}"
        )
        raise HostFailed(message[:_SHOWN_CHARACTERS], "HostProgram") from None


@cache
def program_text() -> bytes:
    """The program for hosts: one Python file, with its modules as text in it."""
    folder = Path(__file__).parent / "host_program"
    modules = {
        f"codedeploy_host.{path.stem}".removesuffix(".__init__"): path.read_text("utf-8").replace(
            _PACKAGE, "codedeploy_host"
        )
        for path in folder.glob("*.py")
    }
    return f"MODULES = {json.dumps(modules)!r}\n{_LOADER}".encode()


async def _feed(program: bytes, call: Mapping[str, Any], tar: Path | None) -> AsyncIterator[bytes]:
    yield program + json.dumps(call).encode() + b"\n"
    if tar is not None:
        with tar.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk


def _read_answer(line: bytes) -> Mapping[str, Any] | None:
    """An answer of the program, or None: a login shell may print lines of its own."""
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def _unanswered(verb: str, python: str, finished: Finished) -> HostFailed:
    errors = finished.errors.strip()
    if finished.exit_status in (126, 127):
        return _no_python(f"`{python}` cannot be run: {errors}")
    if finished.exit_status is None:
        message = f"the program on the host was ended by signal {finished.signal} during the call `{verb}`"
        return HostFailed(message, "Ended", retry=True)
    message = (
        f"the program on the host ended with exit code {finished.exit_status} in the call `{verb}`: {errors}"
    )
    return HostFailed(message, "HostProgram")


def _refused(answer: Mapping[str, Any], python: str) -> HostFailed:
    error, code = (str(answer.get(name))[:_SHOWN_CHARACTERS] for name in ("error", "code"))
    if code == "OldPython":
        return _no_python(f"`{python}` is too old: {error}")
    return HostFailed(error, code, retry=code in _RETRIED)


def _no_python(reason: str) -> HostFailed:
    message = f"{reason}. Install Python 3.6 or newer on the host, or set `python` of the deployment group"
    return HostFailed(message, "NoPython")
