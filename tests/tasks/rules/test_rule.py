"""How a rule is asked: variables, time, memory, and what becomes of whatever it raises."""

from __future__ import annotations

import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from waiting import until

from prefect_codepipeline.actions.rule_registry import (
    RuleConfiguration,
    RuleContext,
    RuleResult,
    RuleType,
    get_rule_provider,
    rule_provider,
    rule_providers,
)
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.definition.conditions import RuleOutcome, RuleWait
from prefect_codepipeline.model.definition.declaration import RuleTypeId
from prefect_codepipeline.tasks.rule import as_task_state


@pytest.fixture
def ask(asker: Any) -> Any:
    return lambda configuration=None, **fields: asker.ask("Scripted", configuration, owner="Custom", **fields)


def test_the_outcome_says_all_there_is_to_say(asker: Any, ask: Any) -> None:
    outcome = ask({"FailUnless": "/", "Secret": "s3cr3t"})

    assert outcome.model_dump(exclude={"ended_at"}) == {
        "rule": "Check",
        "rule_execution_id": "r1",
        "status": "Succeeded",
        "started_at": asker.clock,
        "summary": "as ordered, asked 1 times",
        "error_details": None,
        "external_execution_id": "x1",
        "external_execution_url": "http://x/1",
        "resolved_configuration": {"FailUnless": "/", "Secret": "****"},
    }
    assert asker.lines == [
        "Evaluating rule 'Check' (beforeEntry of stage 'Deploy')",
        "Rule 'Check' Succeeded: as ordered, asked 1 times",
    ]


def test_a_rule_that_waits_is_asked_again_with_its_memory(asker: Any, ask: Any, tmp_path: Path) -> None:
    there = tmp_path / "there"
    wait = ask({"Until": str(there)})
    assert isinstance(wait, RuleWait)
    assert (wait.at, wait.memory) == (asker.clock + timedelta(seconds=5), {"times": "1"})
    assert wait.external_execution_id == "x1"
    assert asker.lines[-1] == "Rule 'Check' waits until 2024-07-01 12:00:05 UTC: there is no there"

    assert asker.ask_again().memory == {"times": "2"}
    there.touch()
    answer = asker.ask_again()

    assert answer.summary == "as ordered, asked 3 times"
    assert answer.started_at == asker.clock


def test_a_wait_ends_with_the_rules_time_and_the_last_asking_decides(
    asker: Any, ask: Any, tmp_path: Path
) -> None:
    until = {"Until": str(tmp_path / "there"), "WaitSeconds": "86400"}
    assert ask(until, timeoutInMinutes=5).at == asker.clock + timedelta(minutes=5)
    (tmp_path / "there").touch()
    assert asker.ask_again().status == "Succeeded"
    (tmp_path / "there").unlink()

    ask(until, timeoutInMinutes=5)
    answer = asker.ask_again()

    assert (answer.status, answer.error_details.code) == ("Failed", "Timeout")
    assert answer.summary == "rule 'Check' had no answer within 5 minutes: there is no there"


def test_without_a_timeout_of_its_own_a_rule_has_an_hour(asker: Any, ask: Any, tmp_path: Path) -> None:
    wait = ask({"Until": str(tmp_path / "there"), "WaitSeconds": "86400"})

    assert wait.at == asker.clock + timedelta(hours=1)


def test_a_rule_that_does_not_answer_in_its_time_is_ended(
    asker: Any, ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prefect_codepipeline.tasks.rule.LAST_ANSWER_SECONDS", 0.1)

    answer = ask({"Hold": str(tmp_path / "never")}, late=timedelta(hours=1))

    assert answer.error_details.code == "Timeout"
    assert answer.summary == "rule 'Check' ran out of time and was ended"


@pytest.mark.parametrize(
    ("configuration", "code", "message", "errored"),
    [
        ({"RaiseError": "boom"}, "InternalError", "RuntimeError: boom", True),
        ({"Refuse": "JobFailed"}, "JobFailed", "refused as ordered", False),
        ({"Refuse": "PermissionError"}, "PermissionError", "refused as ordered", True),
        ({"Trace": "#{Nope.x}"}, "ConfigurationError", "rule 'Check': #{Nope.x} could not be resolved", True),
        ({"Trase": "x"}, "ConfigurationError", "configuration of rule 'Check': Trase: unknown key", True),
    ],
)
def test_whatever_it_raises_becomes_the_outcome(
    ask: Any, configuration: dict[str, str], code: str, message: str, errored: bool
) -> None:
    outcome = ask(configuration)

    assert (outcome.status, outcome.error_details.code, outcome.errored) == ("Failed", code, errored)
    assert outcome.error_details.message.startswith(message)
    assert outcome.resolved_configuration == configuration


@pytest.mark.parametrize(
    ("owner", "provider", "message"),
    [
        ("AWS", "LambdaInvoke", "rule type Rule/AWS/LambdaInvoke/1 is not available yet: it answers through"),
        (
            "Custom",
            "LambdaInvoke",
            "there is no rule type Rule/Custom/LambdaInvoke/1; available: Rule/AWS/CloudW",
        ),
    ],
)
def test_a_type_without_a_provider_is_an_error(asker: Any, owner: str, provider: str, message: str) -> None:
    outcome = asker.ask(provider, {"FunctionName": "f"}, owner=owner)

    assert outcome.errored
    assert outcome.error_details.message.startswith(message)
    # Nobody knows which of its keys are secret.
    assert outcome.resolved_configuration == {"FunctionName": "****"}


def test_a_rule_of_a_cancelled_execution_is_abandoned(asker: Any, ask: Any, tmp_path: Path) -> None:
    answers: list[RuleOutcome] = []
    held = {"Hold": str(tmp_path / "never"), "Trace": str(tmp_path / "trace")}
    thread = threading.Thread(target=lambda: answers.append(ask(held)))
    thread.start()
    until((tmp_path / "trace").exists, 20)

    asker.cancellation.cancel()

    thread.join(5)
    assert answers[0].status == "Abandoned"
    assert answers[0].error_details is None
    assert ask({"Trace": str(tmp_path / "other")}).status == "Abandoned"
    assert not (tmp_path / "other").exists(), "no other is asked"


def test_nothing_is_left_of_the_scratch_directory(ask: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    ask(inputArtifacts=[{"name": "App"}])

    assert list(tmp_path.iterdir()) == []


def test_the_states_of_the_asking_task(asker: Any, ask: Any, tmp_path: Path) -> None:
    states = [
        as_task_state(answer)
        for answer in (
            ask(),
            ask({"Until": str(tmp_path / "x")}),
            ask({"FailUnless": str(tmp_path / "x")}),
            ask({"RaiseError": "boom"}),
        )
    ]

    assert [(state.type.value, state.name) for state in states] == [
        ("COMPLETED", "Succeeded"),
        ("COMPLETED", "Waits"),
        ("FAILED", "Failed"),
        ("FAILED", "Failed"),
    ]
    assert states[1].message == "until 2024-07-01 12:00:05 UTC: there is no x"
    assert states[3].message == "RuntimeError: boom"
    asker.cancellation.cancel()
    assert as_task_state(ask()).name == "Abandoned"


def test_the_registry_has_ours_and_those_of_other_packages() -> None:
    assert {str(kind) for kind in rule_providers()} >= {
        "Rule/AWS/CloudWatchAlarm/1",
        "Rule/AWS/Commands/1",
        "Rule/AWS/DeploymentWindow/1",
        "Rule/AWS/VariableCheck/1",
        "Rule/Custom/Http/1",
        "Rule/Custom/PrefectFlow/1",
        "Rule/Custom/Scripted/1",
    }


def test_owner_and_version_may_be_left_out_as_aws_does() -> None:
    kind = RuleTypeId(category="Rule", provider="VariableCheck")

    assert get_rule_provider(RuleType.of(kind)).rule_type == RuleType("AWS", "VariableCheck", "1")


def test_a_type_has_one_provider() -> None:
    with pytest.raises(
        ValueError, match=r"Rule/AWS/VariableCheck/1 has a provider already, in .*variable_check"
    ):

        @rule_provider(provider="VariableCheck")
        def again(configuration: RuleConfiguration, context: RuleContext) -> RuleResult:
            raise ActionFailed("never called")


def test_boto3_is_imported_only_by_a_rule_that_needs_it() -> None:
    code = "import sys, prefect_codepipeline.actions.rule_registry as r; r.rule_providers(); print('boto3' in sys.modules)"

    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "False\n"
    )
