"""Programs on the PATH that record how they are called, and answer as a test says."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_PROGRAM = """#!{python} -IS
import json, os, sys
folder = {folder!r}
files = {{}}
for name in ("DOCKER_CONFIG", "KUBECONFIG"):
    path = os.environ.get(name, "")
    path = os.path.join(path, "config.json") if os.path.isdir(path) else path
    if os.path.exists(path):
        files[name] = [open(path).read(), oct(os.stat(path).st_mode & 0o777)]
for argument in sys.argv[1:]:
    if argument.startswith("/") and os.path.isfile(argument):
        files[argument] = [open(argument).read(), ""]
call = dict(name={name!r}, argv=sys.argv[1:], environment=dict(os.environ), cwd=os.getcwd(), files=files)
with open(os.path.join(folder, "calls"), "a") as file:
    file.write(json.dumps(call) + "\\n")
exec(compile(open(os.path.join(folder, {name!r} + ".py")).read(), {name!r}, "exec"))
"""


@dataclass(frozen=True)
class Call:
    """One call of a program; `files` has the content and mode of the files that it was given by name."""

    name: str
    argv: list[str]
    environment: dict[str, str]
    cwd: str
    files: dict[str, list[str]]

    def __str__(self) -> str:
        return " ".join([self.name, *self.argv])


class RecordedPrograms:
    """The programs, and how they were called. A program runs the Python code that it was given."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir(parents=True)

    def add(self, name: str, code: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(_PROGRAM.format(python=sys.executable, folder=str(self.folder), name=name))
        path.chmod(0o755)
        (self.folder / f"{name}.py").write_text(code)

    def calls(self, name: str = "") -> list[Call]:
        file = self.folder / "calls"
        lines = file.read_text().splitlines() if file.exists() else []
        found: list[dict[str, Any]] = [json.loads(line) for line in lines]
        return [Call(**each) for each in found if not name or each["name"] == name]


@pytest.fixture
def recorded_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RecordedPrograms:
    """They are the only programs on the PATH besides those of the system's shell."""
    programs = RecordedPrograms(tmp_path / "programs")
    shell = tmp_path / "programs" / "shell"
    shell.mkdir()
    for name in ("sh", "bash", "sleep", "cat"):
        os.symlink(f"/bin/{name}", shell / name)
    monkeypatch.setenv("PATH", f"{tmp_path / 'programs' / 'bin'}:{shell}")
    return programs
