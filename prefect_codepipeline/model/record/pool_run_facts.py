"""The facts of a pool run: the flow run of one action on a work pool of its own.

The execution asks for it, the process of that flow run takes it and records its result, in the record of the execution.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from pydantic import Field

from prefect_codepipeline.model.definition.action_settings import ActionSettings
from prefect_codepipeline.model.definition.declaration import ActionDeclaration
from prefect_codepipeline.model.record.artifacts import SourceRevision, StoredArtifact
from prefect_codepipeline.model.record.fact import Fact
from prefect_codepipeline.model.records import ErrorDetails, Record

# What the keys of the facts of all pool runs begin with: what is new of many is read with one request.
POOL_RUNS = "pool-run-"


def pool_run_prefix(action_execution_id: str) -> str:
    """What the keys of all facts of the pool run of an action execution begin with."""
    return f"{POOL_RUNS}{action_execution_id}-"


def pool_run_result_key(action_execution_id: str) -> str:
    """The key of the result of a pool run."""
    return f"{pool_run_prefix(action_execution_id)}result"


class StorePlace(Record):
    """Where the artifacts of an execution are: in an `ArtifactStore` block, or in a folder that contains this mark.

    A folder on `host` can be another one at the same path on another machine; the mark tells.
    """

    block: str | None = None
    folder: str | None = None
    mark: str | None = None
    host: str = ""


class PoolRunFact(Fact):
    """What all facts of a pool run have: the action execution that it is for."""

    stage: str
    action: str
    attempt: int
    action_execution_id: str


class PoolRunAsked(PoolRunFact):
    """The action runs on that pool. The fact has all that the process there needs, but no secret.

    `secrets_id` is the id of the block with the secrets of this action; None if it has none.
    """

    kind: Literal["pool-run-asked"] = "pool-run-asked"
    work_pool: str
    work_queue: str | None = None
    pipeline_name: str
    declaration: ActionDeclaration
    settings: ActionSettings
    inputs: dict[str, StoredArtifact] = Field(default_factory=dict)
    store: StorePlace
    source_revision_override: str | None = None
    secrets_id: str | None = None

    @cached_property
    def key(self) -> str:
        return f"{pool_run_prefix(self.action_execution_id)}asked"


class PoolRunUnserved(PoolRunFact):
    """No worker was found that could take it; written once for each time it waits for one, so that users hear of it."""

    kind: Literal["pool-run-unserved"] = "pool-run-unserved"
    number: int
    why: str

    @cached_property
    def key(self) -> str:
        return f"{pool_run_prefix(self.action_execution_id)}unserved-{self.number}"


class PoolRunTaken(PoolRunFact):
    """A process on a machine of the pool has begun; `number` rises if an earlier one died."""

    kind: Literal["pool-run-taken"] = "pool-run-taken"
    number: int
    host: str
    pid: int
    flow_run_id: str

    @cached_property
    def key(self) -> str:
        return f"{pool_run_prefix(self.action_execution_id)}taken-{self.number}"


class PoolRunLost(PoolRunFact):
    """The process that had taken it under that number died; the flow run is scheduled again."""

    kind: Literal["pool-run-lost"] = "pool-run-lost"
    number: int

    @cached_property
    def key(self) -> str:
        return f"{pool_run_prefix(self.action_execution_id)}lost-{self.number}"


class PoolRunEnded(PoolRunFact):
    """The only result: of the process on the pool, or of the execution when it ends the pool run.

    `ended_by` is the host of that process, or `codepipeline`.
    """

    kind: Literal["pool-run-ended"] = "pool-run-ended"
    ended_by: str
    status: Literal["Succeeded", "Failed", "Abandoned"]
    summary: str = ""
    error_details: ErrorDetails | None = None
    external_execution_id: str | None = None
    external_execution_url: str | None = None
    output_variables: dict[str, str] = Field(default_factory=dict)
    output_artifacts: list[StoredArtifact] = Field(default_factory=list)
    source_revision: SourceRevision | None = None

    @cached_property
    def key(self) -> str:
        return pool_run_result_key(self.action_execution_id)


@dataclass(frozen=True)
class PoolRunState:
    """A pool run as its facts tell: where it runs, and how it ended."""

    asked: PoolRunAsked
    last_unserved: PoolRunUnserved | None = None
    last_taken: PoolRunTaken | None = None
    last_lost: PoolRunLost | None = None
    ended: PoolRunEnded | None = None

    @property
    def is_unserved(self) -> bool:
        """Whether no worker was found that could take it, and none has taken it since."""
        return self.unserved is not None and self.taken is None and self.ended is None

    @property
    def deaths(self) -> int:
        """How many processes have died that had taken it."""
        return self.last_lost.number if self.last_lost else 0

    @property
    def taken(self) -> PoolRunTaken | None:
        """The process that has it; None while it waits for one."""
        return self.last_taken if self.last_taken and self.last_taken.number > self.deaths else None

    @property
    def unserved(self) -> PoolRunUnserved | None:
        """That no worker was found for the process that it waits for at present."""
        is_of_now = self.last_unserved and self.last_unserved.number > self.deaths
        return self.last_unserved if is_of_now else None

    def doing(self, progress: str) -> str:
        """Where it runs and, if known, what it does; for users."""
        return f"runs on {self.where}" + (f": {progress}" if progress else "")

    @property
    def where(self) -> str:
        """The pool, its queue if one is given, and the machine if it is known; for users."""
        queue = f", queue {self.asked.work_queue!r}" if self.asked.work_queue else ""
        place = f"work pool {self.asked.work_pool!r}{queue}"
        return f"{self.taken.host} ({place})" if self.taken else place

    def after(self, fact: PoolRunUnserved | PoolRunTaken | PoolRunLost | PoolRunEnded) -> PoolRunState:
        """The pool run after one more of its facts."""
        match fact:
            case PoolRunUnserved() if _is_later(fact, self.last_unserved):
                return replace(self, last_unserved=fact)
            case PoolRunTaken() if _is_later(fact, self.last_taken):
                return replace(self, last_taken=fact)
            case PoolRunLost() if _is_later(fact, self.last_lost):
                return replace(self, last_lost=fact)
            case PoolRunEnded():
                return replace(self, ended=self.ended or fact)
        return self


def _is_later(
    fact: PoolRunUnserved | PoolRunTaken | PoolRunLost,
    known: PoolRunUnserved | PoolRunTaken | PoolRunLost | None,
) -> bool:
    return known is None or fact.number > known.number
