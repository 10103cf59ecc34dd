"""Rule/AWS/Commands/1 with real processes on the host; containers are tested with the Commands action."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from waiting import until


def test_is_met_when_every_command_exits_with_0(asker: Any, tmp_path: Path) -> None:
    answer = asker.ask(
        "Commands", commands=[f"echo #{{Source.BranchName}} > {tmp_path}/branch", 'test -z "$(ls)"']
    )

    assert (answer.status, answer.summary) == ("Succeeded", "2 of 2 commands ran")
    assert (tmp_path / "branch").read_text() == "main\n"


def test_is_not_met_when_one_fails_and_says_which_and_why(asker: Any) -> None:
    answer = asker.ask("Commands", commands=["echo checking", "echo too many errors; false", "echo never"])

    assert answer.status == "Failed"
    assert answer.error_details is None
    assert "command 2 of 3 ('echo too many errors; false') failed with exit code 1" in answer.summary
    assert any("\ntoo many errors" in line for line in asker.lines)
    assert not any("never" in line for line in asker.lines)


def test_its_input_artifacts_are_there(asker: Any) -> None:
    answer = asker.ask(
        "Commands",
        commands=["grep -x App name.txt", "grep -x Data $CODEBUILD_SRC_DIR_Data/name.txt"],
        inputArtifacts=[{"name": "App"}, {"name": "Data"}],
    )

    assert answer.status == "Succeeded", answer.summary


def test_a_command_that_runs_too_long_is_ended(asker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prefect_codepipeline.tasks.rule.LAST_ANSWER_SECONDS", 0.5)

    answer = asker.ask("Commands", commands=["sleep 60"], late=timedelta(minutes=55))

    assert answer.error_details.code == "Timeout"
    assert "rule 'Check' ran out of time" in answer.summary


def test_commands_of_a_cancelled_execution_are_ended(asker: Any, tmp_path: Path) -> None:
    answers = []
    thread = threading.Thread(
        target=lambda: answers.append(asker.ask("Commands", commands=[f"touch {tmp_path}/runs", "sleep 60"]))
    )
    thread.start()
    until((tmp_path / "runs").exists, 20)

    asker.cancellation.cancel()

    thread.join(20)
    assert answers[0].status == "Abandoned"
    assert "rule 'Check' was abandoned" in answers[0].summary
