"""Rule/AWS/DeploymentWindow/1: outside of the window the rule waits for it, until its time is over."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from prefect_codepipeline.model.definition.conditions import RuleOutcome, RuleWait

NIGHT = {"Cron": "* * 22-5 ? * *", "TimeZone": "Europe/Berlin"}


def test_in_its_window_the_rule_is_met_at_once(asker: Any) -> None:
    answer = asker.ask("DeploymentWindow", {"Cron": "* * 9-17 ? * MON-FRI *"})

    assert answer.status == "Succeeded"
    assert answer.summary == "the deployment window '* * 9-17 ? * MON-FRI *' (UTC) is open"


def test_outside_it_waits_for_the_next_opening(asker: Any) -> None:
    wait = asker.ask("DeploymentWindow", NIGHT, timeoutInMinutes=1440)

    assert isinstance(wait, RuleWait)
    assert wait.at == datetime(2024, 7, 1, 20, 0, tzinfo=timezone.utc)
    assert "opens at 2024-07-01 20:00 UTC" in wait.summary
    assert asker.ask_again().status == "Succeeded"


def test_asked_too_early_it_goes_on_waiting(asker: Any) -> None:
    first = asker.ask("DeploymentWindow", NIGHT, timeoutInMinutes=1440)

    assert asker.ask_again(after=timedelta(hours=1)).at == first.at


def test_a_window_that_opens_after_the_rules_time_is_a_timeout(asker: Any) -> None:
    wait = asker.ask("DeploymentWindow", NIGHT)

    assert wait.at == asker.clock + timedelta(minutes=60)
    answer = asker.ask_again()
    assert isinstance(answer, RuleOutcome)
    assert answer.status == "Failed"
    assert answer.error_details.code == "Timeout"  # type: ignore[union-attr]
    assert "had no answer within 60 minutes: the deployment window" in answer.summary


def test_a_window_that_never_opens_again_fails_at_once(asker: Any) -> None:
    answer = asker.ask("DeploymentWindow", {"Cron": "* * * ? * * 2023"})

    assert answer.status == "Failed"
    assert "never opens again" in answer.summary


def test_an_expression_or_a_zone_that_cannot_be_read_is_an_error(asker: Any) -> None:
    answer = asker.ask("DeploymentWindow", {"Cron": "0 9 * * MON", "TimeZone": "Mars/Base"})

    assert answer.errored
    assert "has 5 fields" in answer.error_details.message
    assert "there is no time zone 'Mars/Base'" in answer.error_details.message
