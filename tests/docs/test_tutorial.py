"""Every command of docs/tutorial.md is run, in its order, in a separate home."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from waiting import until

TUTORIAL = Path(__file__).parent.parent.parent / "docs" / "tutorial.md"
Shell = Callable[[str], str]


@pytest.mark.long
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
