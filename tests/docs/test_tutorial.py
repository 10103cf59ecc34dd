"""Every command of docs/tutorial.md is run, in its order, in a separate home."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from waiting import until

TUTORIAL = Path(__file__).parent.parent.parent / "docs" / "tutorial.md"
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
    assert json.loads(run("codepipeline down --json")) == {"wasRunning": False}, (
        "the tutorial ends with `down`"
    )


@pytest.mark.live
def test_every_command_of_the_tutorial_works(shell: Shell, tmp_path: Path) -> None:
    text = TUTORIAL.read_text().replace("/tmp/site-", f"{tmp_path}/site-")
    folder = tmp_path / "tutorial"
    folder.mkdir()
    for name, language in (("site.json", "json"), ("site.settings.yaml", "yaml")):
        found = re.search(rf"```{language}\n(.*?)```", text, re.DOTALL)
        assert found
        (folder / name).write_text(found[1])

    printed = ""
    for command in commands(text):
        if command.startswith("codepipeline approve"):
            until(lambda: any(a["token"] for stage in status(shell) for a in stage["actions"]))
        if command.startswith("cat "):
            until(lambda: all(stage["status"] == "Succeeded" for stage in status(shell)))
        printed += shell(command)

    assert "<h1>Hello</h1>" in printed
    assert "waiting for approval" in printed or "InProgress" in printed
    assert "sign in with: http://127.0.0.1:" in printed, "`open` prints the link that signs in"
    assert "site: deleted, 1 version" in printed
    assert "warning" not in printed


def commands(text: str) -> list[str]:
    """The commands after `$ ` in the console blocks, without the installation: the tests have installed the package.

    Continued lines are joined, and so are the first four commands.
    """
    found: list[str] = []
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        lines = "\n".join(
            line.removeprefix("$ ") if line.startswith("$ ") else f"\0{line}" for line in block.splitlines()
        )
        found += lines.replace("\\\n\0", "").split("\n")
    found = [command for command in found if not command.startswith("uv tool install")]
    return [" && ".join(found[:4]), *found[4:]]


def status(shell: Shell) -> list[dict[str, object]]:
    stages: list[dict[str, object]] = json.loads(shell("codepipeline status site --json"))["executions"][0][
        "stages"
    ]
    return stages
