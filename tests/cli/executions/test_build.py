"""`codepipeline build`: what it refuses before a build starts, and its answer for programs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from prefect_codepipeline.cli.executions.build import build
from prefect_codepipeline.errors import CodePipelineError

NAME = "CODEBUILD_RESOLVED_SOURCE_VERSION"


@pytest.mark.parametrize("option", ["--env", "--env-file"])
def test_a_reserved_variable_is_refused_by_name(tmp_path: Path, option: str) -> None:
    (tmp_path / "buildspec.yml").write_text("version: 0.2\nphases: {build: {commands: [echo built]}}\n")
    (tmp_path / "env").write_text(f"{NAME}=0123\n")
    given = {"env": [f"{NAME}=0123"]} if option == "--env" else {"env_file": tmp_path / "env"}

    with pytest.raises(CodePipelineError, match=f"^{option} {NAME}: .* reserved"):
        build(source=tmp_path, **given)
    assert build(source=tmp_path, env=["MINE=1"]) == 0


SPEC = """\
version: 0.2
env: {exported-variables: [VERSION]}
phases:
  build:
    commands: [export VERSION=7, echo said, mkdir out, echo made > out/made.txt, 'exit $CODE']
artifacts: {base-directory: out, files: ['**/*']}
"""


@pytest.mark.parametrize("code", [0, 3])
def test_the_answer_for_programs_is_the_only_output(tmp_path: Path, code: int) -> None:
    (tmp_path / "buildspec.yml").write_text(SPEC)
    main = [sys.executable, "-c", "from prefect_codepipeline.cli import main; main()"]
    options = ["--env", f"CODE={code}", "--artifacts", "kept", "--json"]
    done = subprocess.run([*main, "build", *options], cwd=tmp_path, capture_output=True, text=True)

    answer = json.loads(done.stdout)
    assert "said" in done.stderr.splitlines()
    if code:
        assert (done.returncode, answer["buildStatus"]) == (1, "FAILED")
        assert "exit status 3" in answer["failure"]
        return
    assert (done.returncode, answer["buildStatus"], answer["failure"]) == (0, "SUCCEEDED", None)
    assert [phase["phaseType"] for phase in answer["phases"]] == ["BUILD"]
    assert answer["exportedVariables"] == {"VERSION": "7"}
    assert answer["artifacts"] == [{"name": "artifacts", "folder": "kept", "files": ["made.txt"]}]
    assert (tmp_path / "kept" / "made.txt").read_text() == "made\n"
