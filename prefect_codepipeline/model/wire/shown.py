"""An execution with everything that the AWS API shows of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.record.facts import AnyFact
from prefect_codepipeline.model.record.folding import stage_attempts
from prefect_codepipeline.model.record.state import ExecutionState, StageState


@dataclass(frozen=True)
class ShownExecution:
    """An execution, also one that no process has begun: its state is then as if it was about to.

    Attributes:
        state: what follows from its facts.
        declaration: the definition that it runs, with masked secrets.
        facts: its facts.
        status: in AWS's words; Prefect may have ended it without a fact.
        summary: why it has that status, or an empty text.
        started_at: when it was to start, by which executions are ordered.
    """

    state: ExecutionState
    declaration: PipelineDeclaration
    facts: Sequence[AnyFact]
    status: str
    summary: str
    started_at: datetime

    @cached_property
    def attempts(self) -> list[StageState]:
        """Every attempt of every stage, in the order of the stages."""
        of_stages = stage_attempts(self.state, self.facts)
        return [attempt for stage in self.state.stages for attempt in of_stages[stage.name]]
