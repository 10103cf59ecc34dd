"""Builds that misbehave: each ends as it should, says why, and leaves the worker alive and clean."""

from __future__ import annotations

import json
import logging
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prefect_codepipeline.actions.codebuild.build.buildspec_files import read_buildspec
from prefect_codepipeline.actions.codebuild.build.running import Build, BuildResult, run_build
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.actions.work import InputTree
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.definition.action_settings import ActionSettings
from prefect_codepipeline.model.definition.declaration import ActionDeclaration


@pytest.fixture
def run(tmp_path: Path):
    """Run commands as the build phase; the result, and how many characters were logged."""

    def run_commands(
        *commands: str, folder: Path = tmp_path, seconds: float = 60
    ) -> tuple[BuildResult, list[str]]:
        source, scratch = folder / "source", folder / "scratch"
        source.mkdir()
        scratch.mkdir()
        records: list[str] = []
        logger = logging.Logger("bad", logging.INFO)
        logger.addFilter(lambda record: bool(records.append(record.getMessage()[-200:])))
        spec = {
            "version": "0.2",
            "phases": {"build": {"commands": list(commands)}, "post_build": {"commands": ["echo after"]}},
        }
        kind = {"category": "Build", "owner": "AWS", "provider": "CodeBuild", "version": "1"}
        context = ActionContext(
            pipeline_name="release",
            pipeline_execution_id="e1",
            stage_name="Build",
            action=ActionDeclaration.model_validate({"name": "Build", "actionTypeId": kind}),
            action_execution_id="a1",
            scratch=scratch,
            deadline=time.monotonic() + seconds,
            input_artifacts=(InputTree("Source", source),),
            settings=ActionSettings(run_on="host"),
            logger=logger,
        )
        return run_build(Build(read_buildspec(json.dumps(spec), source, context)), context), records

    return run_commands


def test_200_mb_of_output_take_little_memory(run):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result, records = run("yes 'a line of some length, as a build prints it' | head -c 200000000")

    assert result.failure is None
    assert "after" in records[-1]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000  # KiB


@pytest.mark.parametrize(
    ("command", "exit_status"),
    [
        pytest.param("head -c 50000000 /dev/zero | tr '\\0' x", None, id="a line of 50 MB"),
        pytest.param("head -c 100000 /dev/urandom", None, id="binary"),
        pytest.param("printf '\\377\\376\\200 caf\\351\\n'", None, id="no UTF-8"),
        pytest.param("setsid sh -c 'sleep 71 & exec sleep 72' >/dev/null 2>&1 &", None, id="a daemon"),
        pytest.param("trap '' TERM INT; (trap '' TERM; sleep 73) & echo on", None, id="ignores SIGTERM"),
        pytest.param("exec true", None, id="exec of a program that succeeds"),
        pytest.param("exec false", 1, id="exec of a program that fails"),
        pytest.param("set -u; echo $NO_SUCH_VARIABLE", (1, 127), id="set -u"),
        pytest.param("set -o pipefail; false | true", 1, id="pipefail"),
        pytest.param("trap 'echo trapped' EXIT; exit 4", 4, id="a trap of one's own"),
        pytest.param("return 5", (1, 2, 5), id="return"),
        pytest.param("echo 'unbalanced", (1, 2), id="an unbalanced quote"),
        pytest.param("if true; then", (1, 2), id="an unfinished if"),
        pytest.param("}; exit 0; {", (1, 2), id="braces that would close ours"),
        pytest.param("cat <<EOF\nhere $((1+1))\nEOF\nfalse", 1, id="a here-document"),
        pytest.param('read -r line; test -z "$line"', None, id="reads standard input"),
        pytest.param("exec 7>&-; true", None, id="closes a descriptor of ours"),
        pytest.param("printf '\\036%s 99\\036\\n' 0123456789abcdef", None, id="a forged mark"),
        pytest.param("unset -f __codepipeline_ended; true", (None, 127), id="takes our functions away"),
        pytest.param("# nothing but a comment", None, id="a comment"),
        pytest.param(f": {'x' * 90_000}", None, id="90 KB of command"),
    ],
)
def test_odd_commands_end_as_they_should(run, command, exit_status):
    result, records = run(command)
    wanted = exit_status if isinstance(exit_status, tuple) else (exit_status,)

    if result.failure is None:
        assert None in wanted
    else:
        assert any(code is not None and f"Reason: exit status {code}" in result.failure for code in wanted), (
            result.failure
        )
        assert result.failure.startswith("phase BUILD, command 1 of 1")
    assert "after" in "".join(records[-2:])
    left = subprocess.run(["pgrep", "-f", "^sleep 7[123]$"], capture_output=True, text=True)
    assert left.stdout == ""


def test_a_thousand_commands_run_in_order(run):
    result, _ = run(*[f"test $(cat n 2>/dev/null || echo 0) = {n}; echo {n + 1} >n" for n in range(1000)])

    assert result.failure is None
    assert result.commands == 1001


def test_a_command_with_a_nul_is_refused(run):
    with pytest.raises(ActionFailed, match=r"NUL|YAML_FILE_ERROR") as refused:
        run("echo a\0b")
    assert refused.value.code == "ConfigurationError"


def test_a_full_disk_says_so(run, tmp_path):
    if os.getuid() != 0 or not shutil.which("mount"):
        pytest.skip("only root can mount a small disk")
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", small], check=True)
    try:
        result, _ = run("head -c 9000000 /dev/zero >big", folder=small)
    finally:
        subprocess.run(["umount", "-l", small], check=True)

    assert "phase BUILD" in result.failure
    assert ": the disk is full" in result.failure


def test_a_build_runs_where_prefect_is_not_imported():
    code = (
        "import sys; from prefect_codepipeline.cli import main\n"
        "try: main(['build', '--source', 'examples/hello'])\n"
        "except SystemExit as end: print(end.code, sorted({'prefect', 'boto3', 'docker', 'prefect_docker'} & set(sys.modules)))"
    )
    root = Path(__file__).parent.parent.parent.parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "0 []"
