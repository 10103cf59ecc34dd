"""Several commands as one session, in each shell that it may meet."""

from __future__ import annotations

import logging
import shutil
import subprocess
from pathlib import Path

import pytest

from prefect_codepipeline.actions.commands.log import CommandLog
from prefect_codepipeline.actions.commands.processes import Script, shell_command
from prefect_codepipeline.actions.commands.shell_session import (
    read_output_variables,
    split_at_marks,
    write_session,
)
from prefect_codepipeline.errors import ActionFailed

SHELLS = ["bash", "dash", "busybox"]


@pytest.fixture(params=SHELLS)
def run(request, tmp_path, caplog):
    """Run commands and return the exit code, the number of the last command begun, the log, and the variables."""
    if not shutil.which(request.param):
        pytest.skip(f"there is no {request.param} on this machine")
    caplog.set_level(logging.INFO)

    def run_session(commands, output_variables=()):
        session = write_session(tmp_path / "session", commands, output_variables)
        log = CommandLog(logging.getLogger("session"), session)
        command = shell_command(request.param, Script(session.script, tmp_path, {}))
        if request.param == "busybox":
            command.insert(1, "sh")
        ended = subprocess.run(
            command, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False
        )
        log.receive(ended.stdout)
        log.close()
        lines = [line for record in caplog.records for line in record.getMessage().split("\n")]
        return ended.returncode, log.command, lines, read_output_variables(session)

    return run_session


def test_state_passes_from_command_to_command(run):
    code, reached, lines, _ = run(
        ["A=1; export B=2", "f() { echo $A$B$1; }", "mkdir sub", "cd sub", "f 3", 'basename "$PWD"']
    )

    assert (code, reached) == (0, 7)
    assert [line for line in lines if not line.startswith("$ ")] == ["123", "sub"]


@pytest.mark.parametrize(
    ("command", "codes"),
    [
        pytest.param("(exit 3)", {3}, id="a code"),
        pytest.param("exit 4", {4}, id="exit"),
        pytest.param("set -e; false; echo not here", {1}, id="set -e"),
        pytest.param("no-such-program", {127}, id="not found"),
        pytest.param("echo 'unbalanced", {1, 2}, id="unbalanced quote"),
        pytest.param('echo "unbalanced', {1, 2}, id="unbalanced double quote"),
        pytest.param("echo $(unbalanced", {1, 2}, id="unbalanced parenthesis"),
        pytest.param("if true; then", {1, 2}, id="unfinished"),
        pytest.param(")", {1, 2}, id="nonsense"),
        pytest.param("kill -9 $$", {-9}, id="suicide"),
        pytest.param("exec sh -c 'exit 5'", {5}, id="another program in its place"),
        pytest.param("set -u; echo $nothing_of_that_name", {1, 2, 127}, id="set -u"),
    ],
)
def test_the_first_failure_ends_the_session_there(run, command, codes):
    code, reached, lines, _ = run(["echo before", command, "echo after"])

    assert code in codes
    assert reached == 2
    assert "before" in lines
    assert "after" not in lines
    assert "not here" not in lines


@pytest.mark.parametrize(
    "command",
    [
        pytest.param("cat <<EOF", id="a here-document without an end"),
        pytest.param("echo \\", id="a backslash at the end"),
        pytest.param("true # comment", id="a comment"),
        pytest.param("sleep 0 &", id="in the background"),
        pytest.param("set -x -u -f -C; IFS=aeiou", id="options and separators"),
        pytest.param("set -- a b c; shift; unset HOME PATH", id="parameters"),
        pytest.param("exec 7>&- 3>/dev/null", id="our descriptor closed"),
        pytest.param("exec 7>elsewhere; echo lost >&7", id="our descriptor taken"),
        pytest.param("trap 'exit 0' EXIT", id="a trap of its own"),
        pytest.param("cd /; umask 777", id="elsewhere, where nothing may be written"),
        pytest.param("echo first\necho second", id="a line break that came with a variable"),
        pytest.param(
            "printf '\\036%s 1\\036' 0123456789abcdef0123456789abcdef", id="a mark that is not ours"
        ),
    ],
)
def test_no_command_disturbs_the_session(run, command):
    code, reached, lines, variables = run(["V=kept", command, "echo after"], ["V"])

    assert (code, reached) == (0, 4)
    assert "after" in lines
    assert variables == {"V": "kept"}


def test_output_that_was_redirected_for_good_does_not_take_the_marks_away(run):
    code, reached, lines, _ = run(["exec >file 2>&1", "echo hidden", "false"])

    assert (code, reached) == (1, 3)
    assert "hidden" not in lines


def test_a_trace_does_not_show_how_the_session_works(run):
    _, _, lines, _ = run(["set -x", "true", "false"], ["V"])

    assert any(line.endswith("+ true") for line in lines)
    assert not [line for line in lines if "__codepipeline_next" in line or "__codepipeline_keep" in line]


def test_exit_0_ends_the_session_well_and_keeps_the_variables(run):
    code, reached, lines, variables = run(["V=1", "exit 0", "echo after"], ["V"])

    assert (code, reached) == (0, 2)
    assert "after" not in lines
    assert variables == {"V": "1"}


def test_variables_keep_every_character_and_the_unset_stay_away(run):
    value = "two\n\nlines 'quoted' \"twice\" $HOME `id` \\n é \n"

    _, _, _, variables = run(
        [f"V='{value}'".replace("'quoted'", "'\\''quoted'\\''"), "EMPTY="], ["V", "EMPTY", "UNSET"]
    )

    assert variables == {"V": value, "EMPTY": ""}


def test_a_variable_that_was_not_written_whole_fails(tmp_path):
    session = write_session(tmp_path / "session", ["true"], ["V"])
    (session.variables / "V").write_text("half of i")

    with pytest.raises(ActionFailed, match="'V' could not be saved; check whether the disk is full"):
        read_output_variables(session)


@pytest.mark.parametrize(
    ("commands", "variables", "message"),
    [
        (["true", "echo \0"], [], "command 2 contains a NUL"),
        (["true"], ["A-B"], "'A-B' is not a valid name"),
        (["true"], ["x}$(id)"], "is not a valid name"),
        (["true"], ["1ST"], "is not a valid name"),
    ],
)
def test_what_no_shell_can_take_is_refused(tmp_path, commands, variables, message):
    with pytest.raises(ActionFailed, match=message) as refused:
        write_session(tmp_path / "session", commands, variables)

    assert refused.value.code == "ConfigurationError"


def test_marks_are_found_wherever_the_output_is_cut(tmp_path):
    session = write_session(tmp_path / "session", ["a", "b"], [])
    whole = session.mark + b"1\x1eone\x1e\n" + session.mark + b"2\x1e\x1etwo" + session.mark[:5]

    for cut in range(len(whole)):
        first, held = split_at_marks(session, whole[:cut])
        second, rest = split_at_marks(session, held + whole[cut:])
        joined = [*first[:-1], first[-1] + second[0], *second[1:]]
        assert joined == [b"", b"1", b"one\x1e\n", b"2", b"\x1etwo"]
        assert rest == session.mark[:5]


def test_the_script_does_not_contain_its_own_mark(tmp_path):
    session = write_session(tmp_path / "session", ["cat session/session"], [])

    assert session.mark not in Path(session.script).read_bytes()
