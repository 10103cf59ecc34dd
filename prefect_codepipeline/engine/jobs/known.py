"""A job as the record of its execution tells, and what its worker gets."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from prefect_codepipeline.engine.executions.definitions import read_definition_block
from prefect_codepipeline.engine.executions.record import RecordOf
from prefect_codepipeline.engine.jobs.action_types import parse_type
from prefect_codepipeline.engine.jobs.index import IndexedJob
from prefect_codepipeline.errors import PipelineNotFoundException
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.definition.variables import resolve_action
from prefect_codepipeline.model.record.facts import ExecutionPinned
from prefect_codepipeline.model.record.folding import fold
from prefect_codepipeline.model.record.job_facts import JobState, fold_job
from prefect_codepipeline.model.record.state import ActionState, ExecutionState
from prefect_codepipeline.model.wire.jobs import JobData, inputs_of, outputs_of

# https://docs.aws.amazon.com/codepipeline/latest/userguide/limits.html: the time of an action with job workers.
TIME = timedelta(hours=24)


@dataclass(frozen=True)
class KnownJob:
    """A job, its action and its execution. The configurations in `pipeline` and `action` have their secrets."""

    indexed: IndexedJob
    job: JobState
    pipeline: PipelineDeclaration
    state: ExecutionState
    action: ActionState

    @property
    def ends(self) -> datetime:
        """The end of its time."""
        assert self.action.started, "an action with a job was started"
        return self.action.started.at + TIME

    def is_open(self, now: datetime) -> bool:
        """Whether a worker may still answer it."""
        return (
            self.job.ended is None
            and self.action.status == "InProgress"
            and self.job.created.action_execution_id == self._action_execution_id
            and not self.state.final
            and not (self.state.stop and self.state.stop.how == "abandon")
            and now < self.ends
        )

    @property
    def _action_execution_id(self) -> str:
        return self.action.started.action_execution_id if self.action.started else ""

    def data(self) -> JobData:
        """What its worker gets. Raises `UnresolvedVariable`, which the action itself would have failed with."""
        action, state = self.action.action, self.state
        revision = state.pinned.source_revisions.get(action.name)
        execution_id = self._action_execution_id
        return JobData(
            id=self.job.id,
            pipeline=self.pipeline,
            execution_id=state.execution_id,
            settings_id=state.pinned.settings_id,
            stage=self.indexed.stage,
            action=resolve_action(action, state.namespaces).model_copy(
                update={"action_type_id": parse_type(self.indexed.kind)}
            ),
            action_execution_id=execution_id,
            inputs=inputs_of(self.pipeline, state, action),
            outputs=outputs_of(self.pipeline, action, execution_id, revision),
            continuation_token=self.job.created.continuation_token,
        )


def read_job(indexed: IndexedJob) -> KnownJob | None:
    """The job from the record of its execution; None if its execution or its pipeline was deleted.

    Raises:
        PrefectUnavailable: Prefect does not answer.
    """
    facts = RecordOf(indexed.execution_id).read()
    pinned = next((fact for fact in facts if isinstance(fact, ExecutionPinned)), None)
    if pinned is None:
        return None
    try:
        pipeline = _whole(pinned.definition_id)
    except PipelineNotFoundException:
        return None
    state = fold(indexed.execution_id, pipeline, facts)
    assert state, "the execution is pinned"
    action = state.stage(indexed.stage).action(indexed.action)
    job = fold_job(indexed.id, facts)  # also one of an earlier attempt, which the action does not have
    return KnownJob(indexed, job, pipeline, state, action) if job else None


@lru_cache(maxsize=100)
def _whole(definition_id: str) -> PipelineDeclaration:
    return read_definition_block(definition_id).whole()
