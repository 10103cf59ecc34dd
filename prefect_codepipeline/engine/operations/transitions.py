"""Disable and enable the transitions between stages.

https://docs.aws.amazon.com/codepipeline/latest/userguide/transitions.html
"""

from __future__ import annotations

import re

from prefect_codepipeline.engine.executions import gate
from prefect_codepipeline.engine.executions.definitions import newest_version
from prefect_codepipeline.engine.executions.gate_state import TransitionType
from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.errors import StageNotFoundException, ValidationException

_REASON = re.compile(r"[a-zA-Z0-9!@ ().*?\-]{1,300}")


def disable_stage_transition(
    pipeline_name: str, stage_name: str, kind: TransitionType, reason: str, by: str
) -> None:
    """Let executions wait before the stage (`Inbound`), or after it (`Outbound`). Disabling twice is not an error.

    Raises:
        PipelineNotFoundException, StageNotFoundException: the pipeline or the stage does not exist.
        ValidationException: the reason is empty, too long, or has characters that AWS does not allow.
    """
    _check_stage(pipeline_name, stage_name)
    if not _REASON.fullmatch(reason):
        raise ValidationException(
            "the reason for disabling a transition must have 1 to 300 letters, digits, spaces or !@().*?-"
        )
    gate.set_transition(pipeline_name, stage_name, kind, enabled=False, reason=reason, by=by, at=utc_now())


def enable_stage_transition(pipeline_name: str, stage_name: str, kind: TransitionType, by: str) -> None:
    """Let executions pass again, and resume those that wait. Raises as `disable_stage_transition` does."""
    _check_stage(pipeline_name, stage_name)
    gate.set_transition(pipeline_name, stage_name, kind, enabled=True, reason="", by=by, at=utc_now())
    gate.wake_waiting(pipeline_name)


def _check_stage(pipeline_name: str, stage_name: str) -> None:
    _, newest = newest_version(pipeline_name)
    names = [stage.name for stage in newest.masked().stages]
    if stage_name not in names:
        raise StageNotFoundException(
            f"pipeline {pipeline_name!r} has no stage {stage_name!r}; it has: {', '.join(names)}"
        )
