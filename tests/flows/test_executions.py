"""Executions on a real server and worker: order, failure, retry, waiting, crash, cancel."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from prefect.states import Cancelling, Crashed, Pending

from prefect_codepipeline.deployments.create import deploy_pipeline, find_deployment, start_pipeline_execution
from prefect_codepipeline.engine.executions.definitions import find_version
from prefect_codepipeline.engine.executions.gate import read_gates
from prefect_codepipeline.engine.executions.record import RecordOf, utc_now
from prefect_codepipeline.flows.reconcile import reconcile_once
from prefect_codepipeline.model.record.facts import ProcessLost
from prefect_codepipeline.prefect_api.client import call, client
from prefect_codepipeline.prefect_api.leases import server_time

pytestmark = pytest.mark.live


def test_stages_and_run_orders_follow_one_another_and_groups_run_together(world: Any) -> None:
    go = world.folder / "go"
    build = [world.action("A", 1, Until=go), world.action("B", 1, Until=go), world.action("C", 2)]
    execution_id = world.start(world.declare(build, [world.action("D")]))
    world.wait(execution_id, lambda _: {"S1/A", "S1/B"} <= set(world.ran()))
    assert "S1/C" not in world.ran()
    go.touch()

    known = world.ended(execution_id)

    assert known.status == "Succeeded"
    assert world.ran()[3:] == ["S1/C", "S2/D"]


def test_prefect_shows_the_pipeline_in_its_own_words(world: Any) -> None:
    execution_id = world.start(world.declare([world.action("Unit")]))
    known = world.ended(execution_id)

    _, runs = call(
        "POST", "/flow_runs/filter", {"flow_runs": {"parent_flow_run_id": {"any_": [execution_id]}}}
    )
    ids = [run["id"] for run in runs]
    _, tasks = call("POST", "/task_runs/filter", {"task_runs": {"flow_run_id": {"any_": ids}}})
    _, pages = call("POST", "/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [execution_id]}}})
    assert {run["name"] for run in runs} == {"Source", "S1"}
    assert {task["name"] for task in tasks} == {"Src", "Unit"}
    assert known.run["name"].startswith(f"{world.name} {execution_id[:8]} 0000000")
    assert {f"pipeline:{world.name}", "trigger:StartPipelineExecution", "revision:000000000000"} <= set(
        known.run["tags"]
    )
    assert len(pages) == 1
    assert "✔ Succeeded" in pages[0]["data"]
    assert "data:image/svg+xml;base64," in pages[0]["data"]


def test_a_failed_action_ends_the_execution_and_says_which_and_why(world: Any) -> None:
    stage = [
        world.action("Good"),
        world.action("Bad", FailUnless=world.folder / "no"),
        world.action("Later", 2),
    ]
    known = world.ended(world.start(world.declare(stage, [world.action("Never")])))

    assert (known.run["state_type"], known.run["state_name"]) == ("FAILED", "Failed")
    assert known.run["state"]["message"] == "action 'Bad' of stage 'S1' failed: there is no no"
    assert known.state.stage("S1").status == "Failed"
    assert known.state.stage("S2").status is None
    assert sorted(world.ran()) == ["S1/Bad", "S1/Good", "Source/Src"]


def test_a_start_may_name_its_revision_and_its_token_starts_one_execution(world: Any) -> None:
    deploy_pipeline(world.declare([world.action("Work")]))

    def start() -> str:
        return start_pipeline_execution(world.name, {}, {"Src": "f" * 40}, "ana", "token-1")

    execution_id = start()
    assert start() == execution_id
    mine, world.name = world.name, f"{world.name}.2"
    deploy_pipeline(world.declare([world.action("Work")]))
    assert start() != execution_id, "a token is one pipeline's"
    known = world.ended(execution_id)

    assert known.state.pinned.pipeline_name == mine
    assert (known.state.pinned.trigger_type, known.state.pinned.trigger_detail) == (
        "StartPipelineExecution",
        "ana",
    )
    assert known.state.source_revisions["Src"].revision_id == "f" * 40
    assert known.state.namespaces["SourceVariables"] == {"CommitId": "f" * 40}


def test_a_sibling_of_a_failed_action_goes_on_and_says_how_far_it_is(world: Any) -> None:
    go = world.folder / "go"
    stage = [
        world.action("Slow", Until=go, Report="uploading"),
        world.action("Bad", FailUnless=world.folder / "no"),
        world.action("Later", 2),
    ]
    execution_id = world.start(world.declare(stage))

    known = world.wait(
        execution_id, lambda k: k.state and k.state.failure and k.state.stage("S1").action("Slow").progress
    )
    assert (known.status, known.state.stage("S1").status) == ("InProgress", "Failed")
    assert read_gates(world.name).holder("S1") == execution_id, "nobody else enters while it runs"
    assert "50%  uploading" in world.cli("status", world.name).stdout
    go.touch()
    known = world.ended(execution_id)

    assert known.status == "Failed"
    slow = known.state.stage("S1").action("Slow")
    assert (slow.status, slow.summary, slow.external_execution_id) == ("Succeeded", "as ordered", "x1")
    assert "S1/Later" not in world.ran()


def test_what_a_provider_did_not_foresee_and_the_end_of_its_time_have_codes_of_their_own(world: Any) -> None:
    late = world.action("Late", Until=world.folder / "never")
    late["actionTypeId"]["provider"] = "Impatient"
    known = world.ended(world.start(world.declare([world.action("Odd", RaiseError="oh"), late])))

    stage = known.state.stage("S1")
    assert stage.action("Odd").finished.error_details.code == "InternalError"
    assert "RuntimeError: oh" in known.state.summary
    assert stage.action("Late").finished.error_details.code == "Timeout"
    assert stage.action("Late").summary == "action 'Late' ran out of time and was ended"


def test_a_variable_that_no_action_made_fails_the_action_and_says_what_there_is(world: Any) -> None:
    stage = [world.action("Odd", 1, RaiseError="#{SourceVariables.Nope}")]
    known = world.ended(world.start(world.declare(stage)))

    assert known.status == "Failed"
    assert (
        "#{SourceVariables.Nope} could not be resolved: namespace 'SourceVariables' has no key 'Nope'"
        in known.state.summary
    )
    assert known.state.stage("S1").action("Odd").finished.error_details.code == "ConfigurationError"
    assert world.ran() == ["Source/Src"]


def test_a_definition_that_was_deleted_is_said_without_a_traceback(world: Any) -> None:
    declaration = world.declare([world.action("Unit")])
    deploy_pipeline(declaration)
    found = find_version(world.name, 1)
    assert found
    call("DELETE", f"/block_documents/{found[0]}")
    deployment = find_deployment(world.name)

    run = client().create_flow_run_from_deployment(UUID(deployment["id"]), parameters={})
    known = world.wait(str(run.id), lambda k: k.run["state_type"] == "FAILED")

    assert known.run["state"]["message"].startswith(f"pipeline '{world.name}' does not exist")


def test_retry_in_prefect_goes_on_at_the_failed_action_and_repeats_nothing(world: Any) -> None:
    there = world.folder / "there"
    stage = [world.action("Good"), world.action("Flaky", 2, FailUnless=there), world.action("After", 3)]
    execution_id = world.start(world.declare(stage))
    world.ended(execution_id)
    there.touch()

    world.retry(execution_id)
    known = world.wait(execution_id, lambda k: k.run["state_type"] == "COMPLETED")

    assert world.ran() == ["Source/Src", "S1/Good", "S1/Flaky", "S1/Flaky", "S1/After"]
    assert known.state.stage("S1").action("Flaky").attempt == 2
    assert known.state.stage("S1").attempt == 2


@pytest.mark.long
def test_a_second_retry_after_an_approval_works_too(world: Any) -> None:
    there = world.folder / "there"
    stage = [world.action("Ok", 1, "Approval"), world.action("Flaky", 2, FailUnless=there)]
    execution_id = world.suspended(world.start(world.declare(stage))).id
    world.cli("approve", world.name)
    world.ended(execution_id)
    for attempt in (2, 3):
        world.retry(execution_id)
        world.wait(execution_id, lambda k, n=attempt: k.state.epoch == n - 1 and k.state.final)
        world.ended(execution_id)
    there.touch()

    world.retry(execution_id)

    assert world.wait(execution_id, lambda k: k.run["state_type"] == "COMPLETED").status == "Succeeded"
    assert world.ran() == ["Source/Src", *["S1/Flaky"] * 4]


def test_a_retry_of_what_succeeded_changes_nothing(world: Any) -> None:
    execution_id = world.start(world.declare([world.action("Once")]))
    world.ended(execution_id)

    world.retry(execution_id)
    world.wait(execution_id, lambda k: k.state.processes == 2)
    known = world.ended(execution_id)

    assert known.run["state_name"] == "Succeeded"
    assert world.ran() == ["Source/Src", "S1/Once"]


def test_kill_9_in_the_middle_of_an_action_and_a_retry_run_nothing_twice_that_finished(
    world: Any, gone: Any
) -> None:
    go = world.folder / "go"
    stage = [world.action("Done"), world.action("Stuck", 2, Until=go), world.action("After", 3)]
    execution_id = world.start(world.declare(stage))
    world.wait(execution_id, lambda _: "S1/Stuck" in world.ran())

    os.kill(world.process_of(execution_id), signal.SIGKILL)
    world.wait(execution_id, lambda k: k.run["state_type"] == "CRASHED")
    go.touch()
    world.retry(execution_id)
    known = world.wait(execution_id, lambda k: k.run["state_type"] == "COMPLETED")

    assert world.ran() == ["Source/Src", "S1/Done", "S1/Stuck", "S1/Stuck", "S1/After"]
    assert known.state.stage("S1").attempt == 2


def test_an_execution_whose_process_died_is_failed_by_reconcile_and_lets_the_next_in(world: Any) -> None:
    declaration = world.declare([world.action("Stuck", Until=world.folder / "never")])
    first = world.start(declaration)
    world.wait(first, lambda _: "S1/Stuck" in world.ran(first))
    os.kill(world.process_of(first), signal.SIGKILL)
    world.wait(first, lambda k: k.run["state_type"] == "CRASHED")

    reconcile_once(server_time() + timedelta(seconds=30))
    known = world.ended(first)

    assert known.status == "Failed"
    assert "the worker died while it ran" in known.state.summary
    assert world.ran(first) == ["Source/Src", "S1/Stuck"]
    assert read_gates(world.name).holder("S1") is None


def test_an_execution_that_cannot_be_taken_on_either_is_ended_and_not_tried_for_ever(world: Any) -> None:
    execution_id = world.start(world.declare([world.action("Stuck", Until=world.folder / "never")]))
    world.wait(execution_id, lambda _: "S1/Stuck" in world.ran())
    os.kill(world.process_of(execution_id), signal.SIGKILL)
    world.wait(execution_id, lambda k: k.run["state_type"] == "CRASHED")
    # It was lost before, and taken over since.
    RecordOf(execution_id).write(ProcessLost(at=utc_now() - timedelta(hours=1), process=1))

    reconcile_once(server_time() + timedelta(seconds=30))

    known = world.ended(execution_id)
    assert "its process died, and so did the process that resumed it" in known.run["state"]["message"]
    assert known.state.processes == 1
    assert (
        known.status
        == known.state.stage("S1").status
        == known.state.stage("S1").action("Stuck").status
        == "Failed"
    )
    assert read_gates(world.name).holder("S1") is None


def test_the_last_word_of_a_process_that_was_lost_is_no_second_death(world: Any) -> None:
    """It may report that it was aborted after others have found it dead and let its execution go on."""
    execution_id = world.start(world.declare([world.action("Stuck", Until=world.folder / "never")]))
    world.wait(execution_id, lambda _: "S1/Stuck" in world.ran())
    os.kill(world.process_of(execution_id), signal.SIGKILL)
    world.wait(execution_id, lambda k: k.run["state_type"] == "CRASHED")
    RecordOf(execution_id).write(ProcessLost(at=utc_now(), process=1))

    reconcile_once(server_time() + timedelta(seconds=30))

    known = world.ended(execution_id)
    assert known.state.processes == 2
    assert "the worker died while it ran" in known.state.summary


@pytest.mark.parametrize("state", [Pending(), Crashed()], ids=lambda state: state.name)
def test_a_run_whose_worker_died_before_it_began_is_taken_again(world: Any, state: Any) -> None:
    deploy_pipeline(world.declare([world.action("Work")]))
    deployment_id = UUID(find_deployment(world.name)["id"])
    run = client().create_flow_run_from_deployment(deployment_id, parameters={}, state=state)
    assert not [said for said in reconcile_once() if str(run.id) in said], "it may still begin"

    repaired = reconcile_once(server_time() + timedelta(seconds=70))

    assert [said for said in repaired if str(run.id) in said]
    assert world.ended(str(run.id)).status == "Succeeded"


def test_a_worker_that_is_shut_down_fails_what_it_had_in_flight(world: Any) -> None:
    execution_id = world.start(world.declare([world.action("Long", Until=world.folder / "never")]))
    world.wait(execution_id, lambda _: "S1/Long" in world.ran())

    os.kill(world.process_of(execution_id), signal.SIGTERM)
    world.wait(execution_id, lambda k: k.run["state_type"] == "CRASHED")
    reconcile_once(server_time() + timedelta(seconds=30))
    known = world.ended(execution_id)

    assert known.status == "Failed"
    assert (
        known.state.summary
        == "action 'Long' of stage 'S1' failed: the worker was shut down while the action ran"
    )


def test_cancel_in_prefect_ends_the_work_and_frees_the_pipeline(world: Any, gone: Any) -> None:
    execution_id = world.start(
        world.declare([world.action("Long", Until=world.folder / "never"), world.action("Other")])
    )
    world.wait(execution_id, lambda _: "S1/Long" in world.ran())
    pid = world.process_of(execution_id)

    client().set_flow_run_state(UUID(execution_id), Cancelling())
    known = world.wait(execution_id, lambda k: k.run["state_type"] == "CANCELLED")
    world.wait(execution_id, lambda _: gone(pid))
    reconcile_once()

    assert known.status == "Stopped"
    assert read_gates(world.name).holder("S1") is None


def test_prefects_own_command_starts_it_with_variables(world: Any) -> None:
    variables = [{"name": "Env", "defaultValue": "beta"}, {"name": "Tag", "defaultValue": "none"}]
    stage = [world.action("Show", 1, FailUnless="#{variables.Env}")]
    world.start(world.declare(stage, variables=variables))
    prefect = [sys.executable, "-m", "prefect", "deployment", "run", f"pipeline/{world.name}"]

    good = subprocess.run(
        [*prefect, "--param", 'variables={"Env":"/"}'],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    bad = subprocess.run(
        [*prefect, "--param", 'variables={"Envv":"/"}'],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert good.returncode == 0, good.stderr
    assert bad.returncode == 1
    assert "Envv" in bad.stdout + bad.stderr
    runs = call("POST", "/flow_runs/filter", {"flow_runs": {"tags": {"all_": [f"pipeline:{world.name}"]}}})[1]
    started = next(run["id"] for run in runs if run["parameters"].get("variables") == {"Env": "/"})
    known = world.ended(started)
    assert known.status == "Succeeded"
    assert known.state.pinned.variables == {"Env": "/", "Tag": "none"}


def test_slack_hears_of_the_whole_execution(world: Any, slack_server: Any) -> None:
    from prefect_codepipeline.blocks.pipeline_settings import PipelineSettings
    from prefect_codepipeline.blocks.slack_channel import SlackChannel
    from prefect_codepipeline.model.names import slug

    name = world.name.lower().replace(".", "-")
    SlackChannel(bot_token=slack_server.token, channel="C0TEST", api_url=slack_server.url).save(name)
    PipelineSettings(slack_channel=name).save(slug(world.name))
    stage = [world.action("Ok", 1, "Approval"), world.action("Bad", 2, FailUnless=world.folder / "no")]
    execution_id = world.suspended(world.start(world.declare(stage))).id
    world.cli("approve", world.name)
    world.ended(execution_id)

    world.wait(execution_id, lambda _: any("failed" in body["text"] for _, body in slack_server.history))
    top = [body for body in slack_server.messages.values() if "thread_ts" not in body]
    replies = [body["text"] for body in slack_server.messages.values() if "thread_ts" in body]
    assert len(top) == 1
    assert top[0]["text"].endswith(": Failed")
    assert len(replies) == 2
    assert slack_server.problems == []
