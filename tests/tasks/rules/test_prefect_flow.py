"""Rule/Custom/PrefectFlow/1 on a real server, with runs that Prefect's engine runs in the test."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from waiting import until

from prefect_codepipeline.blocks.pipeline_settings import PipelineSettings
from prefect_codepipeline.model.definition.conditions import RuleOutcome, RuleWait
from prefect_codepipeline.model.names import slug
from prefect_codepipeline.prefect_api.block_documents import delete_block
from prefect_codepipeline.prefect_api.client import call, flow_run
from prefect_codepipeline.prefect_api.deployments import DEFAULT_WORK_POOL
from prefect_codepipeline.tasks.rules.prefect_flow import cancel_run

pytestmark = pytest.mark.live


@pytest.fixture
def deployment(prefect_server: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The flow `smoke-test` and its deployment `shop`, which nobody runs but the test."""
    from prefect import flow

    @flow(name="smoke-test", log_prints=False)
    def smoke_test(url: str, broken: bool = False) -> str:
        if broken:
            raise RuntimeError(f"{url} is down")
        return url

    monkeypatch.setattr("prefect_codepipeline.tasks.rules.prefect_flow.WATCHED_SECONDS", 0.1)
    smoke_test.to_deployment("shop").apply()
    return smoke_test


@pytest.fixture
def ask(asker: Any, deployment: Any) -> Any:
    execution_id = str(uuid4())  # the session's server knows the runs of other tests
    return lambda parameters='{"url": "x"}', **fields: asker.ask(
        "PrefectFlow",
        {"Deployment": "smoke-test/shop", "Parameters": parameters},
        owner="Custom",
        rule_execution_id=execution_id,
        **fields,
    )


def run(flow: Any, wait: RuleWait) -> None:
    from prefect.client.orchestration import get_client
    from prefect.flow_engine import run_flow

    with get_client(sync_client=True) as client:
        known = client.read_flow_run(wait.memory["flow_run_id"])  # type: ignore[arg-type]
    run_flow(flow, flow_run=known, parameters=known.parameters, return_type="state")


def test_it_is_met_when_the_run_succeeds(asker: Any, deployment: Any, ask: Any) -> None:
    wait = ask('{"url": "https://#{Source.BranchName}.example.com"}')
    assert isinstance(wait, RuleWait)
    assert wait.at == asker.clock + timedelta(seconds=10)
    assert "of deployment 'smoke-test/shop' is Scheduled" in wait.summary

    run(deployment, wait)
    answer = asker.ask_again()

    assert answer.status == "Succeeded"
    assert "is Completed" in answer.summary
    assert answer.external_execution_id == wait.external_execution_id == wait.memory["flow_run_id"]
    assert answer.external_execution_url.endswith(answer.external_execution_id)


def test_it_is_not_met_when_the_run_fails_and_says_why(asker: Any, deployment: Any, ask: Any) -> None:
    run(deployment, ask('{"url": "shop", "broken": true}'))
    answer = asker.ask_again()

    assert answer.status == "Failed"
    assert answer.error_details is None
    assert "is Failed: " in answer.summary
    assert "shop is down" in answer.summary


def test_asked_twice_for_one_rule_execution_it_starts_one_run(asker: Any, ask: Any) -> None:
    assert ask().memory == ask().memory


def test_a_run_that_takes_long_is_looked_at_more_seldom_and_in_the_end_given_up(asker: Any, ask: Any) -> None:
    ask(timeoutInMinutes=30)

    later = asker.ask_again(after=timedelta(minutes=5))
    assert later.at == asker.clock + timedelta(minutes=5, seconds=30)
    much_later = asker.ask_again(after=timedelta(minutes=20))
    assert much_later.at == asker.clock + timedelta(minutes=26)
    answer = asker.ask_again(after=timedelta(minutes=5))
    assert answer.error_details.code == "Timeout"
    assert answer.external_execution_id == later.memory["flow_run_id"]


def test_a_run_that_was_deleted_is_an_error(asker: Any, ask: Any) -> None:
    wait = ask()
    call("DELETE", f"/flow_runs/{wait.memory['flow_run_id']}")

    answer = asker.ask_again()

    assert answer.errored
    assert "was deleted while it was watched" in answer.summary


def test_a_cancelled_execution_does_not_wait_for_the_run(
    asker: Any, ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prefect_codepipeline.tasks.rules.prefect_flow.WATCHED_SECONDS", 60)
    answers: list[RuleOutcome] = []
    thread = threading.Thread(target=lambda: answers.append(ask()))
    thread.start()
    until(lambda: any("was started" in line for line in asker.lines), 20)

    asker.cancellation.cancel()

    thread.join(5)
    assert answers[0].status == "Abandoned"
    started = next(line for line in asker.lines if "was started" in line).split("'")[1]
    found = call("POST", "/flow_runs/filter", {"flow_runs": {"name": {"any_": [started]}}})[1]
    assert [run["state_name"] for run in found] == ["Cancelled"], "nobody wants its answer"


def test_a_run_whose_rule_waits_is_cancelled_when_it_is_abandoned(ask: Any) -> None:
    wait = ask()

    cancel_run(wait.memory)
    cancel_run(wait.memory)  # a second time there is nothing to do

    assert flow_run(wait.memory["flow_run_id"])["state_name"] == "Cancelled"


def test_parameters_that_the_flow_has_not_are_an_error(ask: Any) -> None:
    answer = ask('{"url": ["not", "a text"]}')

    assert answer.errored
    assert "deployment 'smoke-test/shop' refused the parameters" in answer.summary


def test_a_deployment_that_does_not_exist_is_an_error(asker: Any, prefect_server: str) -> None:
    answer = asker.ask("PrefectFlow", {"Deployment": "smoke-test/nope"}, owner="Custom")

    assert answer.errored
    assert "there is no deployment 'smoke-test/nope'" in answer.summary


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        ({"Deployment": "shop"}, "it must be 'flow/deployment'"),
        ({"Deployment": "a/b", "Parameters": "x=1"}, "it is not JSON"),
        ({"Deployment": "a/b", "Parameters": "[]"}, "it must be a JSON object"),
    ],
)
def test_a_wrong_configuration_is_explained(asker: Any, configuration: dict[str, str], message: str) -> None:
    answer = asker.ask("PrefectFlow", configuration, owner="Custom")

    assert answer.errored
    assert message in answer.summary


def test_a_deployment_on_a_pool_that_settings_do_not_allow_is_refused(
    asker: Any, deployment: Any, ask: Any
) -> None:
    """Else the author of a pipeline could start flow runs on any pool."""
    deployment.to_deployment("shop", work_pool_name=DEFAULT_WORK_POOL).apply()
    name = slug("release")
    PipelineSettings(allowed_pools=["elsewhere"]).save(name, overwrite=True)
    try:
        answer = ask()
    finally:
        delete_block(PipelineSettings, name)

    assert answer.status == "Failed"
    assert answer.error_details.code == "ConfigurationError"
    assert f"work pool {DEFAULT_WORK_POOL!r} is not among the allowed pools ('elsewhere')" in answer.summary
    assert answer.external_execution_id is None
