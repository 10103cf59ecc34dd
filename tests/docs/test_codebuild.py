"""The commands of docs/codebuild.md print the output in the page, and its Python code runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pages import ROOT, blocks_of

PAGE = (ROOT / "docs" / "codebuild.md").read_text(encoding="utf-8")


def test_the_page_prints_what_it_says(tmp_path: Path) -> None:
    [block] = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    session: list[tuple[str, list[str]]] = []
    for line in block.splitlines():
        if re.match(r"\$ (cat|codepipeline) ", line):
            session.append((line[2:], []))
        else:
            session[-1][1].append(line)
    program = tmp_path / "bin" / "codepipeline"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nfrom prefect_codepipeline.cli import main\nmain()\n")
    program.chmod(0o755)
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "buildspec.yml").write_text("\n".join(session[0][1]) + "\n")
    environment = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}

    assert len(session) == 4
    for command, lines in session:
        done = subprocess.run(
            command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
        )
        expected = lines[: lines.index("...")] if "..." in lines else lines
        assert (done.returncode, done.stderr) == (0, ""), command
        assert done.stdout.splitlines()[: len(expected)] == expected


def test_every_field_of_the_block_for_builds_here_is_documented() -> None:
    from prefect_codepipeline.blocks.codebuild_project import CodeBuildProject

    documented = set(re.findall(r"`(\w+)`", PAGE))
    fields = {name for name in CodeBuildProject.model_fields if not name.startswith("aws_")}

    assert fields - documented == set()


@pytest.mark.live
@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("page", ["codebuild.md", "codebuild-aws.md"])
def test_the_block_of_the_page_can_be_created(page: str) -> None:
    [code] = [text for language, text in blocks_of(ROOT / "docs" / page) if language == "python"]
    exec(compile(code, page, "exec"), {})


def test_every_option_of_the_command_is_documented() -> None:
    import inspect

    from prefect_codepipeline.cli.executions.build import build

    options = {f"--{name.replace('_', '-')}" for name in inspect.signature(build).parameters}
    assert {option for option in options if option not in PAGE} == set()
