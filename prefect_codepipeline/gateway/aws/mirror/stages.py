"""Which executions are, or last were, in the stages of a pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import islice

from prefect_codepipeline.gateway.aws.mirror.executions import WatchedExecution
from prefect_codepipeline.gateway.aws.mirror.history import IN_FLIGHT, History, in_utc
from prefect_codepipeline.gateway.aws.mirror.mirror import Mirror
from prefect_codepipeline.model.record.state import ExecutionState
from prefect_codepipeline.model.views.pipeline_stages import entered_at

# A stage that no execution has entered for so many executions is taken for one that none has entered.
_MOST = 60
_FIRST, _MORE = 4, 12


def executions_in_stages(
    mirror: Mirror, history: History, stage_names: Sequence[str]
) -> tuple[list[WatchedExecution], Mapping[str, ExecutionState]]:
    """The executions in flight, with those that ended last; and the execution that entered each stage last, by its name."""
    ends = history.latest_end_first()
    watched: list[WatchedExecution] = []
    latest: dict[str, tuple[datetime, ExecutionState]] = {}
    at_once = _FIRST
    while some := list(islice(ends, at_once)):
        found = mirror.watch([run for _, run in some])
        watched += found
        for each in found:
            _take(latest, each)
        last_end = some[-1][0]
        if last_end != IN_FLIGHT and (
            len(watched) >= _MOST or all(_is_certain(latest.get(name), last_end) for name in stage_names)
        ):
            break
        at_once = _MORE
    return watched, {name: state for name, (_, state) in latest.items()}


def _take(latest: dict[str, tuple[datetime, ExecutionState]], watched: WatchedExecution) -> None:
    state = watched.known.state
    for name, at in watched.view("entries", lambda: _entries(state)).items():
        if state and (name not in latest or at > latest[name][0]):
            latest[name] = (at, state)


def _entries(state: ExecutionState | None) -> dict[str, datetime]:
    """When the execution entered each stage."""
    stages = state.stages if state else ()
    return {stage.name: at for stage in stages if (at := entered_at(stage))}


def _is_certain(known: tuple[datetime, ExecutionState] | None, last_end: str) -> bool:
    """Whether no execution that ended before that time can have entered the stage later than the one that is known."""
    return known is not None and in_utc(known[0]) > last_end
