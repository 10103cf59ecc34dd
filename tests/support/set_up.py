"""A separate embedded set-up for a test, which may be killed and started again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from commands import run_command, run_program
from waiting import until

ROOT = Path(__file__).parent.parent.parent
_CONNECTED = "import json\nfrom prefect_codepipeline.cli.session import connect\nconnect()\n"


def texts_of(process: int) -> set[str]:
    """The arguments and variables of a process, as far as they can be read: parts of a set-up hide their variables."""
    texts: set[str] = set()
    for name in ("cmdline", "environ"):
        with contextlib.suppress(OSError):
            texts |= set(Path(f"/proc/{process}/{name}").read_bytes().decode(errors="replace").split("\0"))
    return texts


class SetUp:
    """An embedded set-up in a folder of the test, which the test uses only through the command line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = Path(tempfile.mkdtemp(dir=os.environ.get("CODEPIPELINE_TEST_HOMES") or folder)) / "home"
        plugin = ROOT / "tests" / "plugin"
        kept = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
        self.environment = {
            **kept,
            "PYTHONPATH": str(plugin),
            "PREFECT_CODEPIPELINE_HOME": str(self.home),
            "PREFECT_CODEPIPELINE_ARTIFACTS": str(folder / "artifacts"),
            "PREFECT_CODEPIPELINE_RECONCILE_SECONDS": "1",
            "PREFECT_HOME": str(self.home / "prefect"),
        }

    def cli(self, *arguments: str, check: bool = True) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done.stdout

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run_command(arguments, env=self.environment)

    def run_with_input(self, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run_command(arguments, env=self.environment, input=text)

    def python(self, program: str) -> str:
        """The output of a program that is connected to this set-up; `json` is imported."""
        done = run_program(_CONNECTED + program, env=self.environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def facts(self, execution_ids: list[str]) -> dict[str, list[dict[str, Any]]]:
        """The facts of executions as JSON, by execution."""
        found: dict[str, list[dict[str, Any]]] = json.loads(
            self.python(
                "from prefect_codepipeline.engine.executions.record import RecordOf\n"
                f"read = {{each: RecordOf(each).read() for each in {execution_ids!r}}}\n"
                "print(json.dumps({each: [fact.model_dump(mode='json') for fact in facts] for each, facts in read.items()}))"
            )
        )
        return found

    @property
    def state(self) -> dict[str, Any]:
        """The set-up's state file: its parts and their processes."""
        state: dict[str, Any] = json.loads((self.home / "state.json").read_text())
        return state

    def pids(self) -> list[int]:
        return [self.state[part]["pid"] for part in ("postgresql", "server", "worker", "reconcile")]

    def processes(self) -> list[int]:
        """The ids of all processes that were started with this home, also of those whose parents have ended."""
        marks = {f"PREFECT_CODEPIPELINE_HOME={self.home}", f"codepipeline_home={self.home}"}
        return [
            process
            for process in map(int, filter(str.isdecimal, os.listdir("/proc")))
            if marks & texts_of(process)
        ]

    def kill_everything(self) -> None:
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.wait(lambda: not self.processes())

    def status(self, name: str) -> dict[str, Any]:
        """The latest execution of the pipeline."""
        latest: dict[str, Any] = json.loads(self.cli("status", name, "--json"))["executions"][0]
        return latest

    def executions(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.cli("executions", name, "--limit", "200", "--json"))
        return found

    def wait(self, condition: Any, seconds: float = 90) -> None:
        # Most conditions are commands, and what they wait for stays.
        until(condition, seconds, longest_pause=1.5)
