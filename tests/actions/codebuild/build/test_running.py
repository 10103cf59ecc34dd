"""Buildspecs that run, on the host: phases and what follows which, state, failures, retries, variables."""

from __future__ import annotations

import getpass
import logging
import shlex
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from prefect_codepipeline.actions.codebuild.build.buildspec_files import read_buildspec
from prefect_codepipeline.actions.codebuild.build.running import Build, BuildResult, run_build
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.actions.work import InputTree
from prefect_codepipeline.errors import ActionAbandoned, ActionFailed
from prefect_codepipeline.model.definition.action_settings import ActionSettings
from prefect_codepipeline.model.definition.declaration import ActionDeclaration


@dataclass
class Ran:
    """A build that ended, what it printed without our own lines, and what it reported of its progress."""

    result: BuildResult
    lines: list[str]
    log: list[str]
    progress: list[str]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "source"
    directory.mkdir()
    return directory


@pytest.fixture
def context(tmp_path: Path, source: Path) -> ActionContext:
    (tmp_path / "scratch").mkdir()
    kind = {"category": "Build", "owner": "AWS", "provider": "CodeBuild", "version": "1"}
    return ActionContext(
        pipeline_name="release",
        pipeline_execution_id="e1",
        stage_name="Build",
        action=ActionDeclaration.model_validate({"name": "Build", "actionTypeId": kind}),
        action_execution_id="a1",
        scratch=tmp_path / "scratch",
        deadline=time.monotonic() + 60,
        input_artifacts=(InputTree("Source", source, revision_id="4f2a"),),
        settings=ActionSettings(run_on="host"),
        logger=logging.getLogger("build"),
    )


@pytest.fixture
def run(context, source, caplog) -> Callable[..., Ran]:
    """Run a buildspec, given as its text."""
    caplog.set_level(logging.INFO)

    def run_text(text: str, more: ActionContext | None = None, **fields) -> Ran:
        spec = read_buildspec(textwrap.dedent(text), source, context)
        progress: list[str] = []
        ours = replace(more or context, report_progress=progress.append)
        result = run_build(Build(spec, **{"variables": spec.env.variables, **fields}), ours)
        log = [line for record in caplog.records for line in record.getMessage().split("\n")]
        lines = [line for line in log if not line.startswith(("$ ", "Phase "))]
        return Ran(result, lines, log, progress)

    return run_text


def phases(**phases: str) -> str:
    """A buildspec that says which commands ran; a phase with `fail` in it fails, one with `on:X` has on-failure X."""
    text = "version: 0.2\nphases:\n"
    for name, how in phases.items():
        on_failure = next((word[3:] for word in how.split() if word.startswith("on:")), None)
        text += f"  {name}:\n"
        text += f"    on-failure: {on_failure}\n" if on_failure else ""
        text += f"    commands:\n      - echo {name}\n"
        text += "      - sh -c 'exit 3'\n      - echo not here\n" if "fail" in how.split() else ""
        text += f"    finally:\n      - echo {name} finally\n" if "finally" in how.split() else ""
        if "finally-fails" in how.split():
            text += f"    finally:\n      - echo {name} finally\n      - 'false'\n      - echo not here\n"
    return text


@pytest.mark.parametrize(
    ("how", "ran", "failed"),
    [
        pytest.param({}, "install pre_build build post_build", [], id="all is well"),
        pytest.param({"install": "fail"}, "install", ["INSTALL"], id="install ends all"),
        pytest.param({"pre_build": "fail"}, "install pre_build", ["PRE_BUILD"], id="pre_build ends all"),
        pytest.param(
            {"build": "fail"}, "install pre_build build post_build", ["BUILD"], id="post_build runs"
        ),
        pytest.param({"post_build": "fail"}, "install pre_build build post_build", ["POST_BUILD"], id="last"),
        pytest.param(
            {"install": "fail on:CONTINUE"}, "install pre_build build post_build", ["INSTALL"], id="CONTINUE"
        ),
        pytest.param(
            {"pre_build": "fail on:CONTINUE"},
            "install pre_build build post_build",
            ["PRE_BUILD"],
            id="goes on",
        ),
        pytest.param({"build": "fail on:ABORT"}, "install pre_build build", ["BUILD"], id="ABORT"),
        pytest.param(
            {"build": "fail on:CONTINUE", "post_build": "fail"},
            "install pre_build build post_build",
            ["BUILD", "POST_BUILD"],
            id="two fail",
        ),
        pytest.param({"install": "fail finally"}, "install 'install finally'", ["INSTALL"], id="finally"),
        pytest.param(
            {"install": "finally-fails"}, "install 'install finally'", ["INSTALL"], id="finally alone fails"
        ),
        pytest.param(
            {"build": "fail finally-fails"},
            "install pre_build build 'build finally' post_build",
            ["BUILD", "BUILD"],
            id="commands and finally fail",
        ),
    ],
)
def test_phases_follow_one_another_as_in_codebuild(run, how, ran, failed):
    spec = phases(**{name: how.get(name, "ok") for name in ("install", "pre_build", "build", "post_build")})
    done = run(spec)

    assert done.lines == shlex.split(ran) or [
        line for line in done.lines if not line.startswith("phase")
    ] == (shlex.split(ran))
    told = done.result.failure or ""
    assert [line.split()[1].rstrip(",") for line in told.split("\n") if line.startswith("phase ")] == failed
    assert list(done.result.seconds) == [
        name for name in ("install", "pre_build", "build", "post_build") if name in ran.split()
    ]


def test_a_failure_says_phase_command_code_and_last_words(run):
    done = run(
        """
        version: 0.2
        phases:
          build:
            commands:
              - echo one
              - |
                echo almost there
                sh -c 'echo the reason >&2; exit 7'
              - echo three
          post_build:
            commands:
              - echo "succeeding=$CODEBUILD_BUILD_SUCCEEDING"
        """
    )

    assert done.result.failure == (
        "phase BUILD, command 2 of 3: Error while executing command: echo almost there [...]. "
        "Reason: exit status 7\nThe last lines of its output:\nalmost there\nthe reason"
    )
    assert done.lines[-1] == "succeeding=0"


def test_state_passes_through_all_phases_in_0_2(run):
    done = run(
        """
        version: 0.2
        env: {variables: {GIVEN: "a b"}}
        phases:
          install:
            commands: ["mkdir sub; cd sub", 'export EXPORTED="$GIVEN c"', "local=1", "f() { echo f$local; }"]
          build:
            commands: ['basename "$PWD"; f', 'echo "$EXPORTED"']
        """
    )

    assert done.lines == ["sub", "f1", "a b c"]
    assert done.result.failure is None


def test_each_command_of_0_1_has_a_shell_of_its_own(run):
    done = run(
        """
        version: 0.1
        phases:
          build:
            commands: ["mkdir sub; cd sub; export A=1; exit 0", 'basename "$PWD"; echo "A=$A"', "exit 4", "echo no"]
        """
    )

    assert done.lines == ["source", "A="]
    assert (
        "command 3 of 4: Error while executing command: exit 4. Reason: exit status 4" in done.result.failure
    )


def test_a_shell_that_ends_leaves_its_directory_and_its_exports(run):
    done = run(
        """
        version: 0.2
        phases:
          pre_build:
            commands: ["mkdir sub; cd sub; export A=1", "exit 0", "echo not reached"]
          build:
            commands: ['basename "$PWD"; echo "A=$A"', "set -e", "false", "echo not here"]
            finally: ['echo "finally A=$A"']
          post_build:
            commands: ["kill -9 $$"]
            finally: ["echo after the kill"]
        """
    )

    assert done.lines == ["sub", "A=1", "finally A=1", "after the kill"]
    assert "phase BUILD, command 3 of 4" in done.result.failure
    assert (
        "phase POST_BUILD, command 1 of 1: Error while executing command: kill -9 $$. Reason: exit status 137"
        in (done.result.failure)
    )


@pytest.mark.parametrize(
    ("on_failure", "attempts"),
    [
        ("RETRY", 4),
        ("RETRY-1", 2),
        ("RETRY-0", 1),
        ("RETRY-exit status 3", 4),
        ("RETRY-2-boom", 3),
        ("RETRY-2-something else", 1),
        ("RETRY-1-(a+)+$", 1),
    ],
)
def test_a_retry_begins_the_whole_build_with_the_source_as_it_was(
    run, source, tmp_path, on_failure, attempts
):
    (source / "kept").write_text("as it was")
    done = run(
        f"""
        version: 0.2
        phases:
          install:
            commands: ["echo x >>'{tmp_path}/attempts'", "cat kept; test ! -e left", "echo changed >kept; touch left"]
          build:
            on-failure: {on_failure}
            commands: ["sh -c 'echo boom {"a" * 40}b; exit 3'"]
        """
    )

    assert (tmp_path / "attempts").read_text() == "x\n" * attempts
    assert done.lines.count("as it was") == attempts
    assert "phase BUILD, command 1 of 1" in done.result.failure


def test_a_retry_may_succeed(run, tmp_path):
    done = run(
        f"""
        version: 0.2
        phases:
          build:
            on-failure: RETRY-1
            commands: ["echo x >>'{tmp_path}/attempts'; grep -q '^x$' <(tail -n +2 '{tmp_path}/attempts')"]
        """
    )

    assert done.result.failure is None
    assert any("The build is retried" in line for line in done.log)


def test_exported_variables_are_those_of_the_end_without_secrets(run):
    done = run(
        """
        version: 0.2
        env: {exported-variables: [A, B, NEVER, TOKEN]}
        phases:
          install: {commands: ["export A=1", "export TOKEN=xx-$SECRET"]}
          post_build: {commands: ["A=2", "export B='two words'"]}
        """,
        variables={"SECRET": "geheim-4711"},
        secrets=["geheim-4711"],
    )

    assert done.result.exported_variables == {"A": "2", "B": "two words", "TOKEN": "xx-***"}
    assert "Exported variable 'NEVER' was not set by the build and is left out" in done.log


def test_a_variable_that_is_not_exported_is_not_given_out(run):
    """On AWS it would be empty for the actions that use it."""
    done = run(
        """
        version: 0.2
        env: {exported-variables: [SHELL_ONLY, BOTH, LINES], variables: {BOTH: x}}
        phases:
          build: {commands: ["SHELL_ONLY=1", "BOTH=2", "export LINES='a\nexport SHELL_ONLY=1'"]}
        """,
        variables={"BOTH": "x"},
    )

    assert done.result.exported_variables == {"BOTH": "2", "LINES": "a export SHELL_ONLY=1"}
    assert any(
        "Exported variable 'SHELL_ONLY' is left out: the build sets it only in its shell" in line
        for line in done.log
    )


def test_codebuild_s_own_variables_win(run):
    done = run(
        """
        version: 0.2
        env: {variables: {CODEBUILD_SRC_DIR: /etc, PATH_LIKE: "$PATH:/x"}}
        phases:
          build:
            commands:
              - basename $CODEBUILD_SRC_DIR
              - echo $CODEBUILD_RESOLVED_SOURCE_VERSION $CODEBUILD_BUILD_ID
              - printf '%s\\n' "$PATH_LIKE"
        """,
        own_variables={"CODEBUILD_BUILD_ID": "app:1"},
    )

    assert done.lines[-3:] == ["source", "4f2a app:1", "$PATH:/x"]


def test_progress_names_phase_and_command(run):
    done = run(phases(install="ok", build="ok finally"))

    assert done.progress == [
        "INSTALL 1/1: echo install",
        "BUILD 1/1: echo build",
        "BUILD finally 1/1: echo build finally",
    ]
    assert [line for line in done.log if line.startswith("Phase ")] == ["Phase INSTALL", "Phase BUILD"]


@pytest.mark.parametrize(("shell", "word"), [("bash", "bash"), ("/bin/sh", "sh")])
def test_the_shell_that_is_asked_for_runs_the_commands(run, shell, word):
    done = run(f"version: 0.2\nenv: {{shell: {shell}}}\nphases: {{build: {{commands: [echo $0, exit 3]}}}}")

    assert done.lines == [word]
    assert "Reason: exit status 3" in done.result.failure


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "env: {shell: powershell.exe}\nphases: {build: {commands: [dir]}}",
            "env.shell powershell.exe needs Windows",
        ),
        (
            "run-as: nobody\nphases: {build: {commands: [id]}}",
            "run-as nobody: on the host a build can run only as",
        ),
        ("phases: {build: {commands: [{echo: 1}]}}", "YAML_FILE_ERROR"),
        ("phases: {build: {command: [ls]}}", "YAML_FILE_ERROR"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(run, caplog, text, message):
    with pytest.raises(ActionFailed, match=message) as caught:
        run(f"version: 0.2\n{text}")

    assert caught.value.code == "ConfigurationError"
    assert not any(record.getMessage().startswith("$ ") for record in caplog.records)


def test_run_as_the_worker_s_own_user_is_nothing_special(run):
    done = run(f"version: 0.2\nrun-as: {getpass.getuser()}\nphases: {{build: {{commands: [id -un]}}}}")

    assert done.lines == [getpass.getuser()]


def test_the_time_is_over(run, context):
    short = replace(context, deadline=time.monotonic() + 1)
    with pytest.raises(
        ActionFailed, match=r"phase BUILD, command 2 of 3 \('sleep 60'\): action 'Build' ran out of time"
    ) as e:
        run("version: 0.2\nphases: {build: {commands: [echo begun, sleep 60, echo no]}}", short)

    assert e.value.code == "Timeout"


def test_a_cancelled_build_is_abandoned_and_leaves_no_process(run, context, source):
    def cancel(summary: str) -> None:
        if "sleep 62" in summary:
            context.cancellation.cancel()

    spec = read_buildspec(
        "version: 0.2\nphases: {build: {commands: ['sleep 61 & echo $! >pid', 'sleep 62']}}",
        source,
        context,
    )
    with pytest.raises(ActionAbandoned):
        run_build(Build(spec), replace(context, report_progress=cancel))

    assert not Path(f"/proc/{(source / 'pid').read_text().strip()}").exists()


def test_output_of_any_kind_does_no_harm(run):
    done = run(
        r"""
        version: 0.2
        phases:
          build:
            commands:
              - printf '\377\000\036forged 1\036\n'
              - head -c 3000000 /dev/zero | tr '\0' 'x'; echo
              - setsid sleep 63 >/dev/null 2>&1 &
              - trap '' TERM; echo fine
        """
    )

    assert done.result.failure is None
    assert done.lines[-1] == "fine"


def test_missing_runtimes_are_warned_of_before_the_first_command(run):
    done = run(
        """
        version: 0.2
        phases:
          install:
            runtime-versions: {cobol: 74, "golang": "0.1"}
            commands: [echo begins]
        """
    )

    assert [line.split(" is not installed")[0] for line in done.lines] == [
        "[warning] runtime-versions: cobol 74",
        "[warning] runtime-versions: golang 0.1",
        "begins",
    ]


def test_a_version_manager_that_is_there_is_used(run, source):
    tools = source / "tools"
    tools.mkdir()
    (tools / "pyenv").write_text("#!/bin/sh\nprintf '  2.9.1\\n  2.9.7\\n  3.0.1\\n'\n")
    (tools / "python3").write_text("#!/bin/sh\necho Python ${PYENV_VERSION:-9.9.9}\n")
    for tool in tools.iterdir():
        tool.chmod(0o755)
    done = run(
        "version: 0.2\nphases: {install: {runtime-versions: {python: 2.9}, commands: [python3 --version]}}",
        variables={"PATH": f"{tools}:/usr/bin:/bin"},
    )

    assert done.lines == ["Python 2.9.7"]
