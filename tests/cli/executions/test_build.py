"""`codepipeline build`: what it refuses before a build starts."""

from __future__ import annotations

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
