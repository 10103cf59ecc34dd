"""The commands of docs/importing.md print the output in the page."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
_BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)


def commands() -> list[tuple[str, list[str]]]:
    """Each command of the page that needs no AWS account, with its output lines."""
    found: list[tuple[str, list[str]]] = []
    for block in _BLOCK.findall((ROOT / "docs" / "importing.md").read_text(encoding="utf-8")):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return [(command, lines) for command, lines in found if not command.startswith("aws ")]


@pytest.mark.long
def test_the_page_prints_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    program = tmp_path / "bin" / "codepipeline"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nfrom prefect_codepipeline.cli import main\nmain()\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    environment = {
        **kept,
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "PREFECT_CODEPIPELINE_HOME": str(tmp_path / "none"),
        "PREFECT_HOME": str(tmp_path / "prefect"),
    }
    known = commands()
    assert len(known) == 8

    for command, lines in known:
        done = subprocess.run(
            command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.stderr == ""
        expected = lines[: lines.index("...")] if "..." in lines else lines
        assert done.stdout.splitlines()[: len(expected)] == expected
    assert (tmp_path / "again.yaml").read_text().startswith("AWSTemplateFormatVersion")
