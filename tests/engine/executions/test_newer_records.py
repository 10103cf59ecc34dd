"""A record into which a newer release has written: this one says so, and leaves the execution to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from commands import MAIN, run_python
from waiting import until

from prefect_codepipeline.blocks.pipeline_settings import PipelineSettings
from prefect_codepipeline.deployments.releases.record_format import check_record_format
from prefect_codepipeline.engine.approvals.decision import open_approval, put_approval_result
from prefect_codepipeline.engine.executions.record import RecordOf, utc_now
from prefect_codepipeline.errors import NewerRecord
from prefect_codepipeline.flows.reconcile import reconcile_once
from prefect_codepipeline.model.definition.action_settings import ActionOverride, ActionSettings
from prefect_codepipeline.model.names import slug
from prefect_codepipeline.model.record.facts import ApprovalDecided
from prefect_codepipeline.model.record.format import FORMAT
from prefect_codepipeline.model.record.pool_run_facts import pool_run_prefix
from prefect_codepipeline.prefect_api.client import call, flow_run
from prefect_codepipeline.prefect_api.deployments import DEFAULT_WORK_POOL
from prefect_codepipeline.prefect_api.flow_runs import schedule_again, set_state

pytestmark = pytest.mark.live
NEEDS = "it needs release 9.1.0 of prefect-codepipeline, or a later one"


def write_newer(execution_id: str, key: str = "of-tomorrow") -> str:
    """Write what a newer release writes; the path of it."""
    fact = {"kind": "of-tomorrow", "at": utc_now().isoformat(), "what": "unknown here"}
    value = json.dumps({"nonce": "n", "format": FORMAT + 1, "needs": "9.1.0", "fact": fact})
    body = {"key": key, "value": value, "sender": "prefect-codepipeline"}
    call("POST", f"/flow_runs/{execution_id}/input", body)
    return f"/flow_runs/{execution_id}/input/{key}"


def test_an_execution_of_a_newer_release_is_left_to_it_and_keeps_no_other_from_being_repaired(
    world: Any, tmp_path: Any
) -> None:
    stage = [world.action("Ok", 1, "Approval"), world.action("After", 2)]
    known = world.suspended(world.start(world.declare(stage)))
    (tmp_path / "other").mkdir()
    other = type(world)(tmp_path / "other")
    lost = other.suspended(other.start(other.declare([other.action("Ok", 1, "Approval")])))
    token = open_approval(known.state).token
    newer = write_newer(known.id)
    decided = ApprovalDecided(
        at=utc_now(), token=open_approval(lost.state).token, status="Approved", by="somebody"
    )
    RecordOf(lost.id).write(decided)

    said = reconcile_once()
    with pytest.raises(NewerRecord, match=NEEDS):
        put_approval_result(known.id, token, "Approved", "somebody")
    shown, listed = world.cli("status", world.name), world.cli("executions", world.name)
    pipelines = world.cli("list")
    stopped = world.cli("stop", world.name, known.id, "-m", "enough")
    call("POST", f"/flow_runs/{known.id}/resume", {"run_input": {"decision": "Approved"}})
    run = until(lambda: (run := flow_run(known.id)) and run["state_name"] == "AwaitingRetry" and run)

    assert [sentence for sentence in said if known.id in sentence and NEEDS in sentence]
    assert other.ended(lost.id).status == "Succeeded", "the others are repaired"
    assert (shown.returncode, shown.stderr.count("\n")) == (1, 1)
    assert NEEDS in shown.stderr
    assert known.id in listed.stdout
    assert NEEDS in listed.stdout
    assert pipelines.returncode == 0, "one execution hides no other pipeline"
    assert {world.name, other.name} <= set(pipelines.stdout.split())
    assert stopped.returncode == 1
    assert NEEDS in stopped.stderr
    assert NEEDS in run["state"]["message"]
    assert run["next_scheduled_start_time"] > utc_now().isoformat()
    call("DELETE", newer)
    facts = [fact.key for fact in RecordOf(known.id).read()]
    assert "process-2" not in facts, "it was not taken over"
    schedule_again(known.id)
    assert world.ended(known.id).status == "Succeeded"


@pytest.mark.long
def test_an_action_on_a_pool_is_left_to_a_newer_release_by_the_process_that_has_it_and_by_the_next(
    world: Any, gone: Any, tmp_path: Any
) -> None:
    overrides = {"S1/Far": ActionOverride(work_pool=DEFAULT_WORK_POOL)}
    PipelineSettings(defaults=ActionSettings(run_on="host"), overrides=overrides).save(slug(world.name))
    kind = {"category": "Test", "owner": "Custom", "provider": "Remote", "version": "1"}
    action = {"name": "Far", "actionTypeId": kind, "configuration": {"Work": str(tmp_path)}}
    (tmp_path / "may-keep").touch()

    def far(known: Any) -> Any:
        return known.state.stage("S1").action("Far")

    known = world.wait(
        world.start(world.declare([action])),
        lambda known: known.state and far(known).kept and far(known).kept.external_execution_id,
    )
    taken = far(known).pool_run.last_taken
    prefix = pool_run_prefix(taken.action_execution_id)
    newer = write_newer(known.id, f"{prefix}of-tomorrow")
    until(lambda: gone(taken.pid))
    left = until(lambda: (run := flow_run(taken.flow_run_id)) and run["state_type"] == "RUNNING" and run)
    set_state(left["id"], "SCHEDULED", "AwaitingRetry", "again", force=True)
    run = until(lambda: (run := flow_run(left["id"])) and NEEDS in (run["state"]["message"] or "") and run)

    assert (run["state_name"], run["next_scheduled_start_time"] > utc_now().isoformat()) == (
        "AwaitingRetry",
        True,
    )
    call("DELETE", newer)
    keys = [fact.key for fact in RecordOf(known.id).read(prefix)]
    assert f"{prefix}taken-2" not in keys, "the next one did not take it"
    assert f"{prefix}result" not in keys, "nobody made it fail"
    (tmp_path / "done").touch()
    for each in (left["id"], known.id):
        set_state(each, "SCHEDULED", "AwaitingRetry", "again", force=True)
    known = world.ended(known.id)
    assert known.status == "Succeeded", known.state.summary
    assert (tmp_path / "calls").read_text().split() == ["start"]


@pytest.fixture
def newer_server(prefect_server: str) -> Iterator[None]:
    """The session's server, as if a newer release had been started there."""
    name = f"codepipeline-record-format-{FORMAT + 1}"
    value = {"format": FORMAT + 1, "needs": "9.1.0"}
    made = call("POST", "/variables/", {"name": name, "value": value, "tags": ["codepipeline"]})[1]
    yield
    call("DELETE", f"/variables/{made['id']}")


@pytest.mark.long
def test_nothing_starts_against_the_records_of_a_newer_release(newer_server: None, tmp_path: Any) -> None:
    program = "import sys; from prefect.cli import app; app()"
    pool = f"pool-{uuid4().hex[:8]}"
    call("POST", "/work_pools/", {"name": pool, "type": "codepipeline"})

    answers = [
        run_python(MAIN, ["reconcile"], cwd=tmp_path),
        run_python(MAIN, ["gateway", "--port", "0"], cwd=tmp_path),
        run_python(program, ["worker", "start", "--pool", pool, "--type", "codepipeline"], cwd=tmp_path),
    ]

    for answer in answers:
        assert answer.returncode == 1, answer.stderr
        assert f"{NEEDS}\n" in answer.stderr.replace("\n\n", "\n")
        assert "Traceback" not in answer.stderr + answer.stdout


def test_a_server_is_marked_once_with_the_format_of_this_release(prefect_server: str) -> None:
    for _ in range(2):
        check_record_format()

    found = call(
        "POST", "/variables/filter", {"variables": {"name": {"like_": "codepipeline-record-format-"}}}
    )[1]
    assert [mark["name"] for mark in found] == [f"codepipeline-record-format-{FORMAT}"]
