"""What the facts of jobs make of their action: who has its work, what is known of it, and what is shown."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.record.facts import ActionStarted, AnyFact, ExecutionPinned, StageEntered
from prefect_codepipeline.model.record.folding import fold
from prefect_codepipeline.model.record.job_facts import (
    JobCreated,
    JobEnded,
    JobHandedOut,
    JobProgressed,
    JobTaken,
    job_id_of,
    result_key,
)
from prefect_codepipeline.model.record.state import ActionState, ExecutionState
from prefect_codepipeline.model.record.waiting_facts import ActionWaits
from prefect_codepipeline.model.views.slack_message import execution_message

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
IDENTITY: dict[str, Any] = {"stage": "Build", "action": "Make", "attempt": 1, "action_execution_id": "run-1"}
FIRST, SECOND = job_id_of("run-1", 1), job_id_of("run-1", 2)
FIRST_JOB: dict[str, Any] = {**IDENTITY, "at": NOW, "job": FIRST}
CREATED = JobCreated(**FIRST_JOB, number=1)
HANDED_OUT = JobHandedOut(**FIRST_JOB, number=1, nonce="n-1")
TAKEN = JobTaken(**FIRST_JOB, number=1, nonce="n-1", by="worker")
SUMMARY = "its job waits: no worker has asked for Build/Custom/Acme/1 since 10:02 UTC"


def waits(number: int) -> ActionWaits:
    until = NOW + timedelta(days=1)
    return ActionWaits(
        **IDENTITY, at=NOW, number=number, until=until, fact=result_key(FIRST), summary=SUMMARY
    )


def execution(*facts: AnyFact) -> ExecutionState:
    kind = {"category": "Build", "owner": "Custom", "provider": "Acme", "version": "1"}
    declared = {
        "name": "shop",
        "roleArn": "arn:aws:iam::111122223333:role/pipeline",
        "artifactStore": {"type": "S3", "location": "bucket"},
        "stages": [{"name": "Build", "actions": [{"name": "Make", "actionTypeId": kind}]}],
    }
    begun = [
        ExecutionPinned(
            at=NOW, pipeline_name="shop", pipeline_version=1, definition_id="d", variables={},
            source_revisions={}, trigger_type="StartPipelineExecution",
        ),
        StageEntered(at=NOW, stage="Build", attempt=1),
        ActionStarted(at=NOW, **IDENTITY),
    ]  # fmt: skip
    state = fold("e", PipelineDeclaration.model_validate(declared), [*begun, *facts])
    assert state
    return state


def action(*facts: AnyFact) -> ActionState:
    return execution(*facts).stage("Build").action("Make")


def test_a_job_goes_from_worker_to_worker_until_one_has_it() -> None:
    again = JobHandedOut(**FIRST_JOB, number=2, nonce="n-2")
    other = JobTaken(**FIRST_JOB, number=2, nonce="n-2", by="another")

    assert action(CREATED).jobs[0].status == "Queued"
    assert action(CREATED, HANDED_OUT).jobs[0].status == "Dispatched"
    job = action(CREATED, again, HANDED_OUT, TAKEN).jobs[0]
    assert (job.status, job.handed_out) == ("InProgress", again)
    assert action(CREATED, other, TAKEN).jobs[0].taken == other
    assert action(JobEnded(**FIRST_JOB, number=1, outcome="Failed", by="w")).jobs == ()


def test_what_a_worker_says_shows_at_once_also_through_the_next_job() -> None:
    progress = JobProgressed(**FIRST_JOB, number=2, summary="copying", percent_complete=40)
    late = JobProgressed(**FIRST_JOB, number=1, summary="beginning")
    half = JobEnded(
        **FIRST_JOB, number=1, outcome="Succeeded", by="w", continuation_token="t",
        summary="half", percent_complete=50, external_execution_id="build-7",
    )  # fmt: skip
    following = JobCreated(**{**FIRST_JOB, "job": SECOND}, number=2, continuation_token="t")

    assert action(CREATED, TAKEN, waits(1)).summary == "a worker has its job"
    working = action(CREATED, TAKEN, progress, late, waits(1))
    assert (working.summary, working.percent_complete) == ("copying", 40)
    between = action(CREATED, TAKEN, progress, half, following, waits(1))
    assert (between.summary, between.percent_complete) == ("half", 50)
    assert between.external_execution_id == "build-7"
    assert between.jobs[-1].status == "Queued"
    assert half.goes_on
    assert not half.model_copy(update={"outcome": "Failed"}).goes_on


def test_the_wait_for_a_result_is_also_one_for_the_worker() -> None:
    wait = action(CREATED, waits(1)).wait

    assert wait
    assert (wait.fact, wait.fact_prefix) == (f"job-{FIRST}-result", f"job-{FIRST}-")
    assert not wait.has_ended(NOW, {CREATED.key, HANDED_OUT.key, TAKEN.key}, "stop")
    assert wait.has_ended(NOW, {f"job-{FIRST}-result"}, None)


def test_slack_says_which_action_has_no_worker() -> None:
    def shown(*facts: AnyFact) -> str:
        return str(execution_message(execution(*facts), None))

    assert SUMMARY in shown(CREATED, waits(1), waits(2))
    assert SUMMARY not in shown(CREATED, waits(1))  # workers may still ask for it
    assert SUMMARY not in shown(CREATED, waits(1), waits(2), TAKEN)
