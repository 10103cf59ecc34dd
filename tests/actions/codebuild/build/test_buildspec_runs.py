"""Real buildspecs that run for real, on the host; the tools they call are programs on PATH that note how they were called.

`tests/data/buildspec-runs.yml` says of each file what the source holds, what the tools do beside, which calls are made in
which order, how the build ends and what becomes of it. ORIGINS.csv says where each file is from.
"""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from prefect_codepipeline.actions.codebuild.build.buildspec_files import read_buildspec
from prefect_codepipeline.actions.codebuild.build.running import Build, BuildResult, run_build
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.actions.work import InputTree
from prefect_codepipeline.model.definition.action_settings import ActionSettings
from prefect_codepipeline.model.definition.declaration import ActionDeclaration

FILES = Path(__file__).parent.parent.parent.parent / "data" / "buildspec"
RUNS: dict[str, dict[str, Any]] = yaml.safe_load((FILES.parent / "buildspec-runs.yml").read_text())
TOOLS = [
    "ansible-inventory",
    "ansible-playbook",
    "apt",
    "apt-get",
    "aws",
    "cfn_nag_scan",
    "curl",
    "dagger",
    "docker",
    "gem",
    "git",
    "go",
    "gpg",
    "hostname",
    "java",
    "jq",
    "jsonlint",
    "klar",
    "lsb_release",
    "make",
    "mvn",
    "newman",
    "node",
    "npm",
    "pip",
    "pip3",
    "pylint",
    "python",
    "python3",
    "sam",
    "trivy",
    "wget",
    "yamllint",
    "yum",
    "zip",
]
SYSTEM = [
    "awk",
    "basename",
    "bash",
    "cat",
    "chmod",
    "cp",
    "cut",
    "dirname",
    "env",
    "find",
    "grep",
    "head",
    "hostname",
    "id",
    "ls",
    "mkdir",
    "mv",
    "nohup",
    "printf",
    "pwd",
    "rm",
    "sed",
    "sh",
    "sort",
    "tail",
    "tee",
    "touch",
    "tr",
    "true",
    "which",
    "xargs",
]
VARIABLES = {
    "S3_BUCKET": "builds", "AWS_DEFAULT_REGION": "eu-west-1", "AWS_ACCOUNT_ID": "111122223333", "IMAGE_REPO_NAME": "app",
    "REPO_URL": "registry/app", "ECR_REPOSITORY_URI": "registry/web", "TEMPLATE_BUCKET": "templates",
    "BUILD_OUTPUT_BUCKET": "out", "DEPLOY_BUCKET": "deploys",
}  # fmt: skip
COMMIT = "4f2a9c1d0b8e7f6a5c4d3e2f1a0b9c8d7e6f5a4b"


@dataclass
class Ran:
    """What became of a build."""

    result: BuildResult
    calls: list[str]
    artifacts: dict[str, list[str]]
    lines: list[str] = field(default_factory=list)


@pytest.fixture
def run(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)

    def run_file(name: str, case: dict[str, Any]) -> Ran:
        source = tmp_path / "source"
        for file, content in {"buildspec.yml": (FILES / name).read_text(), **case.get("files", {})}.items():
            place = source / file
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(content or "")
            place.chmod(0o755 if file.endswith(".sh") else 0o644)
        path = _programs(tmp_path, case.get("tools", {}))
        (tmp_path / "scratch").mkdir()
        kind = {"category": "Build", "owner": "AWS", "provider": "CodeBuild", "version": "1"}
        context = ActionContext(
            pipeline_name="release",
            pipeline_execution_id="e1",
            stage_name="Build",
            action=ActionDeclaration.model_validate({"name": "Build", "actionTypeId": kind}),
            action_execution_id="a1",
            scratch=tmp_path / "scratch",
            deadline=time.monotonic() + 60,
            input_artifacts=(InputTree("Source", source, revision_id=COMMIT),),
            settings=ActionSettings(run_on="host"),
            logger=logging.getLogger("runs"),
        )
        spec = read_buildspec(None, source, context)
        secrets = {
            name: f"secret-of-{name}" for name in (*spec.env.parameter_store, *spec.env.secrets_manager)
        }
        variables = {
            **spec.env.variables,
            **VARIABLES,
            **secrets,
            **case.get("variables", {}),
            "PATH": str(path),
        }
        build = Build(spec, variables, list(secrets.values()), outputs=case.get("outputs"))
        result = run_build(build, context)
        calls = (tmp_path / "calls").read_text().splitlines() if (tmp_path / "calls").exists() else []
        trees = {
            name: list(tree.files or _below(tree.directory)) for name, tree in result.output_artifacts.items()
        }
        lines = [line for record in caplog.records for line in record.getMessage().split("\n")]
        return Ran(result, [call.replace(str(tmp_path), "") for call in calls], trees, lines)

    return run_file


def _below(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


def _programs(folder: Path, tools: dict[str, str]) -> Path:
    """The one directory of PATH: what the system has that touches nothing else, and each tool as a program of ours.

    A tool notes its directory and its arguments, and does what the longest beginning of its command line among `tools`
    says, with `$@` for its arguments.
    """
    programs = folder / "bin"
    programs.mkdir()
    for name in SYSTEM:
        if found := shutil.which(name):
            (programs / name).symlink_to(found)
    cases = "\n".join(
        f"  {shlex.quote(beginning)}*)\n{does}\n;;" for beginning, does in sorted(tools.items(), reverse=True)
    )
    behaviour = folder / "behaviour"
    behaviour.write_text(
        f'printf "%s> %s\\n" "${{PWD#{folder}/source}}" "$*" >>{folder}/calls\n'
        f'line=$*; shift\ncase "$line" in\n{cases}\n  *) :;;\nesac\n'
    )
    for name in TOOLS:
        program = programs / name
        program.unlink(missing_ok=True)
        program.write_text(f'#!/bin/sh\nset -- {name} "$@"\n. {behaviour}\n')
        program.chmod(0o755)
    (programs / "date").write_text("#!/bin/sh\necho 20200102030405\n")
    (programs / "date").chmod(0o755)
    (programs / "sleep").write_text("#!/bin/sh\n")
    (programs / "sleep").chmod(0o755)
    return programs


def test_enough_files_run() -> None:
    assert len(RUNS) >= 25
    assert RUNS.keys() <= {path.name for path in FILES.iterdir()}


@pytest.mark.parametrize("name", RUNS)
def test_a_real_buildspec_runs(run, name: str) -> None:
    case = RUNS[name]
    done = run(name, case)

    seen = {"calls": done.calls, "fails": done.result.failure and done.result.failure.split("\n")[0]}
    if done.artifacts:
        seen["artifacts"] = done.artifacts
    if done.result.reports.one_line:
        seen["reports"] = done.result.reports.one_line
    if os.environ.get("SHOW_RUNS"):
        print(yaml.safe_dump({name: seen}, sort_keys=False, width=118))
    if case.get("side_by_side"):
        seen["calls"], case = sorted(done.calls), {**case, "calls": sorted(case["calls"])}
    for key in ("calls", "fails", "artifacts", "reports"):
        assert seen.get(key) == case.get(key), key
    for printed in case.get("prints", ()):
        assert printed in done.lines
    assert not any("secret-of-" in line for line in done.lines)
