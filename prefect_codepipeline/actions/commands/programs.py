"""Run programs of the worker for an action, such as docker, kubectl and helm: their output is logged, and ends with them.

They get no variable of the worker but `PATH`, the locale, proxies, certificates and what the action gives them.
"""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prefect_codepipeline.actions.commands.environment import (
    BuildEnvironment,
    environment_of,
    inherited_variables,
)
from prefect_codepipeline.actions.commands.failures import shortened
from prefect_codepipeline.actions.commands.log import CommandLog
from prefect_codepipeline.actions.commands.processes import Script, run_on_host
from prefect_codepipeline.actions.commands.shell_session import ShellSession
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.errors import ActionFailed


def require_program(name: str, why: str) -> None:
    """Raise `ActionFailed` with code `ConfigurationError` if the worker's PATH does not have the program."""
    if shutil.which(name) is None:
        raise ActionFailed(
            f"the program {name!r} is not on the PATH of the worker: {why}; install it on the worker",
            code="ConfigurationError",
        )


@dataclass(frozen=True)
class Ran:
    """A program that has ended: its exit code, the last lines of what it printed, and its captured output."""

    code: int
    tail: Sequence[str]
    output: bytes = field(repr=False, default=b"")

    @property
    def text(self) -> str:
        return "\n".join(self.tail)


@dataclass(frozen=True)
class Programs:
    """How the programs of one action run.

    Args:
        context: of the action.
        variables: more environment variables.
        secrets: texts that become `***` in the log and in failures.
        meanwhile: called at least every 0.05 seconds while a program runs.
    """

    context: ActionContext
    variables: Mapping[str, str] = field(repr=False, default_factory=dict)
    secrets: Iterable[str] = field(repr=False, default=())
    meanwhile: Callable[[], None] = lambda: None

    def run(self, command: Sequence[str], directory: Path, *, captured: bool = False) -> Ran:
        """Run a program to its end; nothing of it remains when this returns or raises, or this process dies.

        Args:
            command: the program and its arguments, which must not contain secrets: every user of the machine sees them.
            directory: where it runs.
            captured: its standard output is returned, and not logged.

        Raises:
            ActionFailed: with code `Timeout`, the deadline has passed.
            ActionAbandoned: the execution was cancelled.
        """
        environment = self._environment()
        folder = Path(tempfile.mkdtemp(prefix="program-", dir=self.context.scratch))
        output = folder / "output"
        output.touch(mode=0o600)
        shown = shlex.join(command)
        script = Script(folder / "script", directory, environment.variables)
        script.path.write_text(f"{shown} >{shlex.quote(str(output))}\n" if captured else f"{shown}\n")
        # The mark of a session of several commands is never printed: there is one command.
        session = ShellSession(script.path, (shown,), secrets.token_bytes(16), folder)
        log = CommandLog(self.context.logger, session, environment.secrets)
        log.begin(1)

        def receive(chunk: bytes) -> None:
            log.receive(chunk)
            self.meanwhile()

        try:
            code = run_on_host(script, receive, self.context, always_gently=True)
        except ActionFailed as error:
            log.close()
            doing = f"{command[0]} {shortened(log.mask(shlex.join(command[1:])))}"
            raise ActionFailed(f"{doing}: {error}", code=error.code) from error
        finally:
            log.close()
        return Ran(code, log.tail, output.read_bytes() if captured else b"")

    def _environment(self) -> BuildEnvironment:
        worker = inherited_variables(self.context, in_container=False)
        # Programs start others that are installed beside them, such as the credential helpers of kubectl.
        worker["PATH"] = os.environ.get("PATH", os.defpath)
        return environment_of({**worker, **self.variables}, self.secrets)
