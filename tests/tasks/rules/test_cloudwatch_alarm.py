"""Rule/AWS/CloudWatchAlarm/1 against moto's server over HTTP: what is looked at, and for how long."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from aws_environment import use_endpoint

from prefect_codepipeline.model.definition.conditions import RuleWait

ALARM = {"AlarmName": "Errors"}
MINUTE = timedelta(minutes=1)


class Alarm:
    def __init__(self) -> None:
        import boto3

        self.client = boto3.client("cloudwatch")
        self.client.put_metric_alarm(
            AlarmName="Errors", MetricName="5xx", Namespace="Shop", Statistic="Sum", Period=60, Threshold=1,
            EvaluationPeriods=1, ComparisonOperator="GreaterThanThreshold",
        )  # fmt: skip
        self.goes("OK")

    def goes(self, state: str) -> None:
        self.client.set_alarm_state(AlarmName="Errors", StateValue=state, StateReason=f"now {state}")


@pytest.fixture
def alarm(moto_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Alarm]:
    use_endpoint(monkeypatch, moto_url, "us-east-1")
    made = Alarm()
    yield made
    made.client.delete_alarms(AlarmNames=["Errors"])


@pytest.mark.parametrize(
    ("condition", "states", "state", "status"),
    [
        ("beforeEntry", None, "OK", "Succeeded"),
        ("beforeEntry", None, "INSUFFICIENT_DATA", "Succeeded"),
        ("beforeEntry", None, "ALARM", "Failed"),
        ("beforeEntry", "ALARM, INSUFFICIENT_DATA", "INSUFFICIENT_DATA", "Failed"),
        ("onSuccess", None, "OK", "Succeeded"),
        ("onSuccess", None, "ALARM", "Failed"),
        ("onFailure", None, "ALARM", "Succeeded"),
        ("onFailure", None, "OK", "Failed"),
        ("onFailure", "OK", "OK", "Succeeded"),
    ],
)
def test_without_a_wait_time_the_state_decides_at_once(
    asker: Any, alarm: Alarm, condition: str, states: str | None, state: str, status: str
) -> None:
    alarm.goes(state)

    answer = asker.ask(
        "CloudWatchAlarm", ALARM | ({"AlarmStates": states} if states else {}), condition=condition
    )

    assert answer.status == status
    assert answer.summary == f"alarm 'Errors' is in state {state}: now {state}"
    assert answer.external_execution_id == "arn:aws:cloudwatch:us-east-1:123456789012:alarm:Errors"
    assert answer.external_execution_url.endswith("#alarmsV2:alarm/Errors")


def test_before_entry_it_waits_for_an_alarm_to_end(asker: Any, alarm: Alarm) -> None:
    alarm.goes("ALARM")
    wait = asker.ask("CloudWatchAlarm", ALARM | {"WaitTime": "20"})

    assert isinstance(wait, RuleWait)
    assert wait.at == asker.clock + MINUTE
    assert "watched until 2024-07-01 12:20 UTC" in wait.summary
    assert isinstance(asker.ask_again(), RuleWait)
    alarm.goes("OK")
    assert asker.ask_again().status == "Succeeded"


def test_before_entry_an_alarm_that_does_not_end_fails_when_the_wait_time_is_over(
    asker: Any, alarm: Alarm
) -> None:
    alarm.goes("ALARM")
    asker.ask("CloudWatchAlarm", ALARM | {"WaitTime": "3"})

    assert isinstance(asker.ask_again(), RuleWait)
    assert isinstance(asker.ask_again(), RuleWait)
    assert asker.ask_again().status == "Failed"


def test_on_success_the_alarm_is_watched_until_the_wait_time_is_over(asker: Any, alarm: Alarm) -> None:
    asker.ask("CloudWatchAlarm", ALARM | {"WaitTime": "60"}, condition="onSuccess")

    assert isinstance(asker.ask_again(), RuleWait)
    assert isinstance(asker.ask_again(after=58 * MINUTE), RuleWait)
    assert asker.ask_again().status == "Succeeded"
    assert asker.lines[-1] == "Rule 'Check' Succeeded: alarm 'Errors' is in state OK: now OK"


def test_on_success_an_alarm_that_goes_off_fails_at_once(asker: Any, alarm: Alarm) -> None:
    asker.ask("CloudWatchAlarm", ALARM | {"WaitTime": "60"}, condition="onSuccess")
    asker.ask_again()

    alarm.goes("ALARM")

    assert asker.ask_again().status == "Failed"


def test_on_success_an_alarm_that_rings_already_may_end_and_then_not_begin_again(
    asker: Any, alarm: Alarm
) -> None:
    alarm.goes("ALARM")
    asker.ask("CloudWatchAlarm", ALARM | {"WaitTime": "60"}, condition="onSuccess")
    assert isinstance(asker.ask_again(), RuleWait)
    alarm.goes("OK")
    assert isinstance(asker.ask_again(), RuleWait)
    alarm.goes("ALARM")
    assert asker.ask_again().status == "Failed"


@pytest.mark.parametrize("timeout", [None, 5])
def test_the_last_look_is_at_the_very_end_of_the_wait_time(
    asker: Any, alarm: Alarm, timeout: int | None
) -> None:
    asker.ask("CloudWatchAlarm", ALARM | {"WaitTime": "5"}, condition="onSuccess", timeoutInMinutes=timeout)
    last = asker.ask_again(after=4 * MINUTE + timedelta(seconds=59))
    assert isinstance(last, RuleWait)
    assert last.at == asker.clock + 5 * MINUTE

    alarm.goes("ALARM")
    answer = asker.ask_again()

    assert (answer.status, answer.error_details) == ("Failed", None), "an answer, not the end of its time"


def test_on_failure_it_waits_for_the_alarm_to_go_off(asker: Any, alarm: Alarm) -> None:
    asker.ask("CloudWatchAlarm", ALARM | {"WaitTime": "5"}, condition="onFailure")
    assert isinstance(asker.ask_again(), RuleWait)
    alarm.goes("ALARM")
    assert asker.ask_again().status == "Succeeded"


def test_a_watch_may_be_longer_than_other_rules_have_time(asker: Any, alarm: Alarm) -> None:
    asker.ask("CloudWatchAlarm", ALARM | {"WaitTime": "600"}, condition="onSuccess")

    assert isinstance(asker.ask_again(after=timedelta(minutes=599)), RuleWait)
    assert asker.ask_again().status == "Succeeded"


def test_the_region_and_the_role_of_the_rule_are_used(asker: Any, alarm: Alarm) -> None:
    answer = asker.ask(
        "CloudWatchAlarm", ALARM, region="eu-west-1", roleArn="arn:aws:iam::123456789012:role/watcher"
    )

    assert answer.error_details.code == "ConfigurationError"
    assert "there is no CloudWatch alarm 'Errors' in region eu-west-1" in answer.summary


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        ({"AlarmName": "Errors", "AlarmStates": "RED"}, "there is no alarm state 'RED'"),
        ({"AlarmName": "Errors", "WaitTime": "soon"}, "WaitTime: Input should be a valid integer"),
        ({"AlarmName": "Errors", "WaitTime": "-1"}, "WaitTime: Input should be greater than or equal to 0"),
        ({}, "AlarmName: Member must not be null"),
    ],
)
def test_a_wrong_configuration_is_explained(asker: Any, configuration: dict[str, str], message: str) -> None:
    answer = asker.ask("CloudWatchAlarm", configuration)

    assert answer.errored
    assert message in answer.summary


def test_no_answer_is_an_error_and_not_a_no(
    asker: Any, alarm: Alarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("prefect_codepipeline.actions.aws.client.ATTEMPTS", 1)

    answer = asker.ask("CloudWatchAlarm", ALARM)

    assert answer.error_details.code == "SystemUnavailable"
    assert "checking alarm 'Errors': AWS did not answer" in answer.summary


def test_without_credentials_it_says_so(
    asker: Any, alarm: Alarm, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))

    answer = asker.ask("CloudWatchAlarm", ALARM)

    assert answer.errored
    assert "credentials" in answer.summary.lower()


def test_without_boto3_it_says_what_to_install(asker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)

    answer = asker.ask("CloudWatchAlarm", ALARM)

    assert answer.error_details.code == "ConfigurationError"
    assert "extra `aws`: README.md, Install it" in answer.summary
