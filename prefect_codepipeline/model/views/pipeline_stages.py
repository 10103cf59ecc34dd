"""The stages of a pipeline, each with the execution that is or last was in it: the console's and GetPipelineState's view."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from prefect_codepipeline.model.record.artifacts import SourceRevision
from prefect_codepipeline.model.record.state import ExecutionState, StageState


@dataclass(frozen=True)
class StageNow:
    """A stage, and the execution that is or last was in it; `execution` is None if there was none.

    `before` is the execution that was in the stage before that one, for a rollback.
    """

    name: str
    execution: ExecutionState | None = None
    before: ExecutionState | None = None

    @property
    def state(self) -> StageState | None:
        """The stage as that execution has it."""
        return self.execution.stage(self.name) if self.execution else None

    @property
    def changed_at(self) -> datetime | None:
        """When the status of the stage changed last."""
        stage = self.state
        if stage is None:
            return None
        return stage.finished.at if stage.finished else entered_at(stage)

    @property
    def is_known(self) -> bool:
        """Whether earlier executions cannot change the view of this stage."""
        return self.execution is not None and (self.before is not None or not _is_rollback(self.execution))


def stages_now(names: Iterable[str], executions: Sequence[ExecutionState]) -> list[StageNow]:
    """Each stage with the execution that entered it last."""
    return [_stage_now(name, executions) for name in names]


def _stage_now(name: str, executions: Sequence[ExecutionState]) -> StageNow:
    entries = [
        (at, execution)
        for execution in executions
        for stage in execution.stages
        if stage.name == name and (at := entered_at(stage))
    ]
    last = [execution for _, execution in sorted(entries, key=lambda entry: entry[0], reverse=True)]
    if not last:
        return StageNow(name)
    before = last[1] if _is_rollback(last[0]) and len(last) > 1 else None
    return StageNow(name, last[0], before)


def entered_at(stage: StageState) -> datetime | None:
    """When the execution entered the stage last, or None."""
    if stage.entered:
        return stage.entered.at
    # The attempt before the retry was in the stage.
    return stage.retries[-1].at if stage.retries else None


def _is_rollback(execution: ExecutionState) -> bool:
    return execution.pinned.execution_type == "ROLLBACK"


def rollback_sentence(now: StageNow) -> str | None:
    """From what to what, and by whom, the stage was or is being rolled back; None if it was not."""
    rollback, stage = now.execution, now.state
    if rollback is None or stage is None or not _is_rollback(rollback):
        return None
    pinned = rollback.pinned
    how = {"Succeeded": "rolled back", "Failed": "failed to roll back", "Stopped": "stopped rolling back"}
    target = pinned.inherited.source_revisions
    start = f" from {named(now.before)}" if now.before else ""
    to = f"{short(pinned.rollback_target or '')}{_in_brackets(revisions(target.values()))}"
    by = (
        f"automatically, after execution {short(pinned.trigger_detail)}"
        if pinned.trigger_type == "AutomatedRollback"
        else f"by {pinned.trigger_detail}"
    )
    return f"{how.get(stage.status or '', 'rolling back')}{start} to execution {to} {by}"


def named(execution: ExecutionState) -> str:
    """An execution as a short id with its revisions, for a sentence."""
    return (
        f"execution {short(execution.execution_id)}"
        f"{_in_brackets(revisions(execution.source_revisions.values()))}"
    )


def short(execution_id: str) -> str:
    """The beginning of an execution's id, which all commands take."""
    return execution_id[:8]


def revisions(found: Iterable[SourceRevision]) -> str:
    """Source revisions on one line: each the short commit and the first line of its message."""
    return ", ".join(
        f"{each.revision_id[:12]} {each.revision_summary.partition(chr(10))[0]}".strip() for each in found
    )


def _in_brackets(text: str) -> str:
    return f" ({text})" if text else ""
