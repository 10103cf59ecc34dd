"""The provider of all action types that job workers serve: the action is a job, and waits for its result."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict

from prefect_codepipeline.actions.artifacts.uploads import Uploads
from prefect_codepipeline.actions.registry import (
    ActionContext,
    ActionProvider,
    ActionResult,
    Waiting,
    get_provider,
    providers,
)
from prefect_codepipeline.engine.executions.process import Execution, current_execution
from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.engine.jobs.action_types import find_known_type
from prefect_codepipeline.engine.jobs.creating import create_job
from prefect_codepipeline.engine.jobs.index import IndexedJob, close_job, find_job, put_job
from prefect_codepipeline.engine.jobs.known import TIME
from prefect_codepipeline.engine.jobs.waiting import why_it_waits
from prefect_codepipeline.errors import ActionAbandoned, ActionFailed
from prefect_codepipeline.model.definition.declaration import ActionTypeId
from prefect_codepipeline.model.record.artifacts import StoredArtifact
from prefect_codepipeline.model.record.job_facts import JobEnded, JobOutcome, JobState, job_prefix, result_key
from prefect_codepipeline.model.stored.action_type import StoredActionType
from prefect_codepipeline.model.wire.jobs import PlacedArtifact, outputs_of

# After this time without a worker, the action says so.
LOOK_FOR_WORKER = timedelta(seconds=20)
# The job itself ends the action at the end of its time. The engine would, this much later.
_GRACE_MINUTES = 15


class JobConfiguration(BaseModel):
    """The configuration of any custom action: its type says which keys it has."""

    model_config = ConfigDict(extra="allow", frozen=True)


def find_provider(kind: ActionTypeId) -> ActionProvider | None:
    """The provider of an action type: a program of this installation, else job workers, if the type was created."""
    if known := providers().get(kind):
        return known
    stored = find_known_type(kind)
    return _provider_of(stored) if stored else None


def provider_of(kind: ActionTypeId) -> ActionProvider:
    """The provider of an action type. Raises `ActionFailed` with code `ConfigurationError`: there is none."""
    return find_provider(kind) or get_provider(kind)


def _provider_of(kind: StoredActionType) -> ActionProvider:
    def run(configuration: JobConfiguration, context: ActionContext) -> ActionResult | Waiting:
        return _Action(kind, context).run()

    def stop(configuration: JobConfiguration, context: ActionContext) -> None:
        _Action(kind, context).stop("Abandoned" if context.cancellation.cancelled else "TimedOut")

    return ActionProvider(
        action_type=kind.id,
        configuration=JobConfiguration,
        run=run,
        stop=stop,
        inputs=_counts(kind.input_artifact_details),
        outputs=_counts(kind.output_artifact_details),
        timeout_in_minutes=int(TIME.total_seconds() // 60) + _GRACE_MINUTES,
        restartable=True,
        secrets=kind.secrets,
    )


def _counts(details: dict[str, int]) -> tuple[int, int]:
    return details["minimumCount"], details["maximumCount"]


class _Action:
    """One action whose work is a job."""

    def __init__(self, kind: StoredActionType, context: ActionContext) -> None:
        self._kind = kind
        self._context = context
        self._execution: Execution = current_execution()

    def run(self) -> ActionResult | Waiting:
        """Create its job, or look at it: its result ends the action, or asks for another job."""
        if self._jobs:
            self._execution.look_for(job_prefix(self._job.id))
        else:
            self._check_type()
            self._create(1)
        if self._job.ended is None and utc_now() >= self._ends:
            self._end("TimedOut")
        while self._job.ended and self._job.ended.goes_on:
            self._create(self._job.created.number + 1, self._job.ended.continuation_token)
            self._execution.look_for(job_prefix(self._job.id))
        if self._job.ended:
            return self._result(self._job.ended)
        put_job(self._place)  # a process may have died before it did
        return self._waiting()

    def stop(self, outcome: JobOutcome) -> None:
        """End its job without a result. One that has a result by now keeps it."""
        if self._jobs and self._job.ended is None:
            self._end(outcome)

    @property
    def _jobs(self) -> tuple[JobState, ...]:
        return self._execution.state.stage(self._context.stage_name).action(self._context.action.name).jobs

    @property
    def _job(self) -> JobState:
        return max(self._jobs, key=lambda job: job.created.number)

    @property
    def _ends(self) -> datetime:
        return self._context.began + TIME

    def _check_type(self) -> None:
        if self._kind.deleted:
            raise ActionFailed(
                f"action type {self._kind.id} was deleted; create a new version of it, and use that one",
                code="ConfigurationError",
            )
        missing = [
            each.name
            for each in self._kind.properties
            if each.required and each.name not in self._context.action.configuration
        ]
        if missing:
            raise ActionFailed(
                f"configuration of action {self._context.action.name!r}: {', '.join(missing)}: required by "
                f"action type {self._kind.id}",
                code="ConfigurationError",
            )

    def _create(self, number: int, continuation_token: str | None = None) -> None:
        create_job(self._execution.write, self._identity, number, continuation_token)

    @property
    def _place(self) -> IndexedJob:
        context = self._context
        values = context.action.configuration
        return IndexedJob(
            id=self._job.id,
            kind=self._kind.polled_as,
            execution_id=self._execution.id,
            pipeline=context.pipeline_name,
            stage=context.stage_name,
            action=context.action.name,
            created=self._job.created.at,
            query={name: value for name, value in values.items() if name == self._kind.queryable},
        )

    @property
    def _identity(self) -> dict[str, Any]:
        known = self._execution.state.stage(self._context.stage_name).action(self._context.action.name)
        return {
            "stage": self._context.stage_name,
            "action": self._context.action.name,
            "attempt": known.attempt,
            "action_execution_id": self._context.action_execution_id,
        }

    def _end(self, outcome: JobOutcome) -> None:
        job = self._job
        ended = JobEnded(
            **self._identity,
            at=utc_now(),
            job=job.id,
            number=job.created.number,
            outcome=outcome,
            by="codepipeline",
        )
        self._execution.write(ended)
        if indexed := find_job(job.id):
            close_job(indexed)

    def _waiting(self) -> Waiting:
        job = self._job
        look_again = job.created.at + LOOK_FOR_WORKER
        is_early = utc_now() < look_again
        return Waiting(
            until=look_again if is_early else self._ends,
            fact=result_key(job.id),
            summary=why_it_waits(self._kind.polled_as, job, is_early=is_early),
        )

    def _result(self, ended: JobEnded) -> ActionResult:
        configuration, external_id = self._context.action.configuration, ended.external_execution_id
        url = self._kind.execution_url(configuration, external_id)
        if ended.outcome == "Abandoned":
            raise ActionAbandoned("its execution was stopped")
        if ended.outcome == "TimedOut":
            raise ActionFailed(
                f"no worker sent the result of job {ended.job} within 24 hours: "
                f"{why_it_waits(self._kind.polled_as, self._job)}",
                code="Timeout",
            )
        if ended.outcome == "Failed":
            raise ActionFailed(
                ended.message,
                code=ended.failure_type,
                external_execution_id=external_id,
                external_execution_url=url,
            )
        revision = ended.source_revision if self._kind.category == "Source" else None
        if revision and revision.revision_url is None:
            revision = revision.model_copy(update={"revision_url": self._kind.revision_url(configuration)})
        return ActionResult(
            summary=ended.summary,
            output_artifacts=self._outputs(),
            output_variables=ended.output_variables,
            external_execution_id=external_id,
            external_execution_url=url,
            source_revision=revision,
        )

    def _outputs(self) -> dict[str, StoredArtifact]:
        context = self._context
        assert context.store, "an execution has an artifact store"
        placed = outputs_of(self._execution.declaration, context.action, context.action_execution_id)
        uploads = Uploads(context.store)
        return {each.name: _uploaded(uploads, each) for each in placed}


def _uploaded(uploads: Uploads, place: PlacedArtifact) -> StoredArtifact:
    found = uploads.find(place.bucket, place.key)
    if found is None:
        raise ActionFailed(
            f"the worker did not upload output artifact {place.name!r}; it was expected at "
            f"s3://{place.bucket}/{place.key}"
        )
    return found.model_copy(update={"name": place.name})
