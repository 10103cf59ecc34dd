"""What the facts of a pool run make of their action: where it runs, that nobody serves its pool, and what is shown."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from prefect_codepipeline.model.definition.action_settings import ActionOverride, ActionSettings
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.record.facts import (
    ActionProgressed,
    ActionStarted,
    AnyFact,
    ExecutionPinned,
    StageEntered,
    parse_fact,
)
from prefect_codepipeline.model.record.folding import fold
from prefect_codepipeline.model.record.pool_run_facts import (
    PoolRunAsked,
    PoolRunEnded,
    PoolRunLost,
    PoolRunTaken,
    PoolRunUnserved,
    StorePlace,
    pool_run_result_key,
)
from prefect_codepipeline.model.record.state import ActionState, ExecutionState
from prefect_codepipeline.model.record.waiting_facts import ActionWaits
from prefect_codepipeline.model.views.slack_message import execution_message

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
IDENTITY: dict[str, Any] = {"stage": "Build", "action": "Make", "attempt": 1, "action_execution_id": "run-1"}
KIND = {"category": "Build", "owner": "AWS", "provider": "CodeBuild", "version": "1"}
WIRE = {
    "name": "shop",
    "roleArn": "arn:aws:iam::111122223333:role/pipeline",
    "artifactStore": {"type": "S3", "location": "bucket"},
    "stages": [{"name": "Build", "actions": [{"name": "Make", "actionTypeId": KIND}]}],
}
DECLARATION = PipelineDeclaration.model_validate(WIRE)
ASKED = PoolRunAsked(
    **IDENTITY,
    at=NOW,
    work_pool="gpu",
    pipeline_name="shop",
    declaration=DECLARATION.stages[0].actions[0],
    settings=ActionSettings(work_pool="gpu"),
    store=StorePlace(block="default"),
)
UNSERVED = PoolRunUnserved(**IDENTITY, at=NOW, number=1, why="no live worker serves work pool 'gpu'")
WAITS = ActionWaits(
    **IDENTITY,
    at=NOW,
    number=1,
    until=NOW + timedelta(days=1),
    fact=pool_run_result_key("run-1"),
    summary=UNSERVED.why,
)


def taken(number: int, host: str) -> PoolRunTaken:
    return PoolRunTaken(**IDENTITY, at=NOW, number=number, host=host, pid=1, flow_run_id="f")


def execution(*facts: AnyFact) -> ExecutionState:
    begun = [
        ExecutionPinned(
            at=NOW, pipeline_name="shop", pipeline_version=1, definition_id="d", variables={},
            source_revisions={}, trigger_type="StartPipelineExecution",
        ),
        StageEntered(at=NOW, stage="Build", attempt=1),
        ActionStarted(at=NOW, **IDENTITY),
    ]  # fmt: skip
    state = fold("e", DECLARATION, [*begun, *facts])
    assert state
    return state


def make(*facts: AnyFact) -> ActionState:
    return execution(*facts).stage("Build").action("Make")


def test_its_facts_are_read_as_they_were_written() -> None:
    ended = PoolRunEnded(**IDENTITY, at=NOW, ended_by="gpu-1", status="Succeeded")

    for fact in (ASKED, UNSERVED, taken(1, "gpu-1"), ended):
        assert parse_fact(fact.model_dump(mode="json")) == fact
        assert fact.key.startswith("pool-run-run-1-")


def test_the_wait_reads_all_of_its_facts_and_ends_with_the_result() -> None:
    wait = make(ASKED, WAITS).wait

    assert wait
    assert wait.fact_prefix == "pool-run-"
    assert wait.has_ended(
        NOW, {PoolRunEnded(**IDENTITY, at=NOW, ended_by="gpu-1", status="Failed").key}, None
    )
    assert not wait.has_ended(NOW, {taken(1, "gpu-1").key}, "stop")


def test_a_pool_that_nobody_serves_is_shown_until_a_worker_takes_it() -> None:
    assert make(ASKED, UNSERVED, WAITS).waits_for_a_worker
    assert make(ASKED, UNSERVED).summary == UNSERVED.why
    assert "no live worker serves" in str(execution_message(execution(ASKED, UNSERVED, WAITS), None))

    assert not make(ASKED, WAITS).waits_for_a_worker
    assert not make(ASKED, UNSERVED, taken(1, "gpu-1"), WAITS).waits_for_a_worker


def test_the_machine_that_has_it_is_shown_with_its_progress() -> None:
    assert make(ASKED, taken(1, "gpu-1"), WAITS).summary == "runs on gpu-1 (work pool 'gpu')"

    lost = PoolRunLost(**IDENTITY, at=NOW, number=1)
    assert make(ASKED, taken(1, "gpu-1"), lost, WAITS).summary == UNSERVED.why
    assert not make(ASKED, UNSERVED, taken(1, "gpu-1"), lost, WAITS).waits_for_a_worker

    report = ActionProgressed(**IDENTITY, at=NOW, number=1, summary="epoch 3")
    again = make(ASKED, taken(2, "gpu-2"), taken(1, "gpu-1"), WAITS, report)

    assert again.summary == "runs on gpu-2 (work pool 'gpu'): epoch 3"


def test_the_first_result_counts() -> None:
    abandoned = PoolRunEnded(**IDENTITY, at=NOW, ended_by="codepipeline", status="Abandoned")
    pool_run = make(ASKED, abandoned).pool_run

    assert pool_run
    assert pool_run.after(abandoned.model_copy(update={"status": "Succeeded"})).ended == abandoned


def test_queue_and_job_variables_belong_to_a_pool() -> None:
    """An override that names another pool takes none of those of the defaults; one that names the same adds to them."""
    whole = ActionSettings(work_pool="gpu", work_queue="fast", job_variables={"image": "a", "cpu": 1})

    other = whole.changed_by(ActionOverride(work_pool="arm", job_variables={"image": "b"}))
    same = whole.changed_by(ActionOverride(job_variables={"image": "b"}))
    here = whole.changed_by(ActionOverride(work_pool=""))

    assert (other.work_pool, other.work_queue, other.job_variables) == ("arm", None, {"image": "b"})
    assert (same.work_pool, same.work_queue, same.job_variables) == ("gpu", "fast", {"image": "b", "cpu": 1})
    assert (here.work_pool, here.work_queue, here.job_variables) == ("", None, {})
