"""`start --watch` at a real terminal: the live tree, the question, and the whole reason at the end."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading
from typing import Any

import pytest
from waiting import until

from prefect_codepipeline.deployments.create import deploy_pipeline

pytestmark = pytest.mark.live
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A command at a terminal of 60 columns: what it has printed so far, and what the user types."""

    def __init__(self, *arguments: str) -> None:
        self._master, slave = pty.openpty()
        command = [sys.executable, "-c", "from prefect_codepipeline.cli import main; main()", *arguments]
        environment = {**os.environ, "COLUMNS": "60", "LINES": "40", "TERM": "xterm", "NO_COLOR": "1"}
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment)
        os.close(slave)
        self._printed = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                self._printed += os.read(self._master, 4096)
            except OSError:  # the command has ended
                return

    @property
    def text(self) -> str:
        return _CONTROL.sub("", self._printed.decode(errors="replace")).replace("\r", "")

    def type(self, line: str) -> None:
        os.write(self._master, f"{line}\n".encode())

    def end(self) -> int:
        code = self.process.wait(timeout=100)
        self._reader.join(timeout=20)
        os.close(self._master)
        return code


def test_an_approval_is_asked_for_and_a_failure_is_told_whole(world: Any) -> None:
    missing = world.folder / "-".join(f"word{number}" for number in range(30))
    deploy_pipeline(
        world.declare([world.action("Ok", category="Approval"), world.action("Ship", 2, FailUnless=missing)])
    )
    terminal = Terminal("start", world.name, "--watch")

    until(lambda: "y approves, n rejects" in terminal.text, 100)
    assert "waiting for approval" in terminal.text
    terminal.type("perhaps")
    until(lambda: "'perhaps' is no answer" in terminal.text, 30)
    terminal.type("y")
    until(lambda: "comment" in terminal.text, 30)
    terminal.type("fine")
    code = terminal.end()

    end = terminal.text[terminal.text.rindex(f"{world.name} v1") :]
    assert code == 1
    assert "✔ Ok" in end
    assert re.sub(r"[│\s]", "", f"there is no {missing.name}") in re.sub(r"[│\s]", "", end)
    assert f"retry with: codepipeline retry {world.name} S1 --execution" in re.sub(r"\s+", " ", end)

    listed = Terminal("executions", world.name)
    assert listed.end() == 0
    assert re.search(r"^\S{36}  Failed  .*  StartPipelineExecution \S+@\S+", listed.text, re.MULTILINE)
