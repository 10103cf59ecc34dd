"""A script on this machine, and the processes that it leaves behind: none."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from uuid import uuid4

import pytest
from waiting import until

from prefect_codepipeline.actions.commands import processes, supervisor
from prefect_codepipeline.actions.commands.processes import CLEAN_PATH, Script, run_on_host
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.errors import ActionAbandoned, ActionFailed
from prefect_codepipeline.model.definition.declaration import ActionDeclaration

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in Linux's /proc")

# `$SECONDS_TO_SLEEP` is a number that no other process has as an argument.
CHILDREN = """
sleep $SECONDS_TO_SLEEP &
setsid sleep $SECONDS_TO_SLEEP &
(setsid sh -c 'sleep $SECONDS_TO_SLEEP & sleep $SECONDS_TO_SLEEP' &) &
(trap '' TERM; setsid sleep $SECONDS_TO_SLEEP) &
while [ "$(pgrep -cfx "sleep $SECONDS_TO_SLEEP")" -lt 5 ]; do sleep 0.01; done
echo ready
"""


@pytest.fixture
def context(tmp_path):
    return make_context(tmp_path)


@pytest.fixture
def seconds_to_sleep():
    """How long the children of this test sleep, which tells them from all others."""
    return f"{1000 + uuid4().int % 10**9}"


def make_context(directory, seconds=30.0):
    action = {
        "name": "Build",
        "actionTypeId": {"category": "Compute", "owner": "AWS", "provider": "Commands", "version": "1"},
    }
    return ActionContext(
        pipeline_name="release",
        pipeline_execution_id="e1",
        stage_name="Build",
        action=ActionDeclaration.model_validate(action),
        action_execution_id="a1",
        scratch=directory,
        deadline=time.monotonic() + seconds,
    )


def make_script(directory, text, **environment):
    path = directory / "script"
    path.write_text(text)
    return Script(path, directory, {"PATH": CLEAN_PATH, **environment})


def sleepers(seconds_to_sleep):
    """The processes that sleep for so long."""
    return [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and _command_line(entry) == f"sleep\0{seconds_to_sleep}\0"
    ]


def _command_line(process):
    try:
        return (process / "cmdline").read_text(errors="replace")
    except OSError:
        return ""


def test_a_script_has_its_directory_its_environment_and_nothing_on_standard_input(tmp_path, context):
    output = bytearray()

    code = run_on_host(
        make_script(tmp_path, 'pwd; echo "$COLOUR" >&2; cat; env | grep -c PREFECT; exit 7', COLOUR="blue"),
        output.extend,
        context,
    )

    assert code == 7
    assert output.decode() == f"{tmp_path}\nblue\n0\n"


@pytest.mark.parametrize(
    ("command", "code"), [("kill -9 $$", 137), ("kill -TERM $$", 143), ("exec false", 1), ("", 0)]
)
def test_the_exit_code_says_how_the_shell_ended(tmp_path, context, command, code):
    assert run_on_host(make_script(tmp_path, command), lambda _: None, context) == code


def test_children_have_the_default_signals(tmp_path, context):
    output = bytearray()

    run_on_host(make_script(tmp_path, "grep SigIgn /proc/self/status"), output.extend, context)

    # The signals above 31 are the C library's own.
    assert int(output.split()[1], 16) & 0x7FFFFFFF == 0


def test_output_arrives_while_the_script_runs(tmp_path, context):
    output = bytearray()

    def answer(chunk):
        output.extend(chunk)
        if b"question\n" in output:
            (tmp_path / "answer").touch()

    script = make_script(tmp_path, "echo question; until [ -e answer ]; do sleep 0.01; done; printf end")
    assert run_on_host(script, answer, context) == 0
    assert output == b"question\nend"


def test_a_daemon_that_holds_the_output_open_does_not_hold_the_action(tmp_path, context, seconds_to_sleep):
    output = bytearray()
    script = make_script(tmp_path, f"setsid sleep {seconds_to_sleep} & echo started; printf end")

    assert run_on_host(script, output.extend, context) == 0
    assert output == b"started\nend"
    assert not sleepers(seconds_to_sleep)


class Broken(BaseException):
    """What is not foreseen, such as Prefect's TerminationSignal."""


@pytest.mark.parametrize(
    ("ending", "error"),
    [
        pytest.param("end", None, id="normal end"),
        pytest.param("deadline", ActionFailed, id="deadline"),
        pytest.param("cancel", ActionAbandoned, id="cancellation"),
        pytest.param("raise", Broken, id="any exception"),
    ],
)
def test_no_process_survives(tmp_path, seconds_to_sleep, ending, error):
    context = make_context(tmp_path)
    go = tmp_path / "go"
    last = f"until [ -e {go} ]; do sleep 0.05; done; exit 3" if ending == "end" else "sleep $SECONDS_TO_SLEEP"
    found = []

    def end_it(chunk):
        if b"ready" in chunk:
            found.extend(sleepers(seconds_to_sleep))
            go.touch()
            if ending == "cancel":
                context.cancellation.cancel()
            if ending == "deadline":
                object.__setattr__(context, "deadline", time.monotonic())
            if ending == "raise":
                raise Broken

    script = make_script(tmp_path, CHILDREN + last, SECONDS_TO_SLEEP=seconds_to_sleep)
    if error:
        with pytest.raises(error):
            run_on_host(script, end_it, context)
    else:
        assert run_on_host(script, end_it, context) == 3

    assert len(found) >= 5
    assert not sleepers(seconds_to_sleep)


@pytest.mark.parametrize("somebody_holds_the_lifeline", [False, True])
def test_no_process_survives_a_worker_that_is_killed(tmp_path, seconds_to_sleep, somebody_holds_the_lifeline):
    script = make_script(tmp_path, CHILDREN + "touch ready; wait", SECONDS_TO_SLEEP=seconds_to_sleep)
    worker = os.fork()
    if not worker:
        _work(script, make_context(tmp_path), somebody_holds_the_lifeline)
    until((tmp_path / "ready").exists, 10)
    assert len(sleepers(seconds_to_sleep)) >= 5

    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)

    until(lambda: not sleepers(seconds_to_sleep), seconds=4)


def _work(script, context, fork_once_it_runs):
    """What the worker does until it is killed; a process that it forked lives 8 s longer than it should."""

    def fork(_):
        nonlocal fork_once_it_runs
        if fork_once_it_runs and not os.fork():
            time.sleep(8)
            os._exit(0)
        fork_once_it_runs = False

    try:
        run_on_host(script, fork, context)
    finally:
        os._exit(1)


@pytest.fixture
def patient_supervisor(tmp_path, monkeypatch):
    """The supervisor with thirty seconds of grace in place of two, for a machine that stands still for a while."""
    text = Path(supervisor.__file__).read_text()
    patient = tmp_path / "supervisor.py"
    patient.write_text(text.replace(f"GRACE_SECONDS = {supervisor.GRACE_SECONDS}", "GRACE_SECONDS = 30.0", 1))
    assert patient.read_text() != text
    monkeypatch.setattr(processes, "_SUPERVISOR", str(patient))


@pytest.mark.usefixtures("patient_supervisor")
def test_a_deadline_lets_processes_say_goodbye(tmp_path, context):
    output = bytearray()

    def end_it(chunk):
        output.extend(chunk)
        if chunk == b"ready\n":
            object.__setattr__(context, "deadline", time.monotonic())

    script = make_script(tmp_path, "trap 'sleep 0.6; echo goodbye; exit' TERM; echo ready; sleep 100 & wait")
    with pytest.raises(ActionFailed, match="ran out of time") as timeout:
        run_on_host(script, end_it, context)

    assert timeout.value.code == "Timeout"
    assert b"goodbye\n" in output


def test_a_cancellation_ends_at_once_what_will_not_end(tmp_path, context):
    began = []

    def cancel(chunk):
        if b"ready" in chunk:
            context.cancellation.cancel()
            began.append(time.monotonic())

    with pytest.raises(ActionAbandoned):
        run_on_host(make_script(tmp_path, "trap '' TERM; echo ready; sleep 100"), cancel, context)

    assert time.monotonic() - began[0] < 1.5  # 0.3 s on an idle machine; the grace of a deadline is 2 s
