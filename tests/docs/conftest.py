"""A shell for the pages whose commands are typed in a home of their own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Shell = Callable[[str], str]


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A shell with the commands `codepipeline` and `prefect` on its path."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, module in (("codepipeline", "prefect_codepipeline.cli"), ("prefect", "prefect.cli")):
        call = "main()" if name == "codepipeline" else "app()"
        attribute = call.removesuffix("()")
        (tools / name).write_text(f"#!{sys.executable}\nfrom {module} import {attribute}\n{call}\n")
        (tools / name).chmod(0o755)
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    environment = {
        **kept,
        "HOME": str(tmp_path),
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PREFECT_CODEPIPELINE_HOME": str(tmp_path / "home"),
        "PREFECT_CODEPIPELINE_ARTIFACTS": str(tmp_path / "artifacts"),
        "PREFECT_CODEPIPELINE_CACHE": str(tmp_path / "cache"),
    }

    def run(command: str) -> str:
        # `codepipeline up` prints an `export` line for `prefect`, which the reader of the tutorial runs.
        line = re.search(r"(export PREFECT_PROFILES_PATH=\S+)", environment.get("UP", ""))
        if line and command.startswith("prefect"):
            command = f"{line[1]}\n{command}"
        done = subprocess.run(
            ["bash", "-c", command], env=environment, capture_output=True, text=True, timeout=200, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        if command == "codepipeline up":
            environment["UP"] = done.stdout
        return done.stdout

    yield run
    assert json.loads(run("codepipeline down --json")) == {"wasRunning": False}, "the page ends with `down`"
