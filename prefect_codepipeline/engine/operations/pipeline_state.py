"""The state of a pipeline: its stages with their latest executions, its gates, and the executions that wait.

https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_GetPipelineState.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import partial
from typing import Any

from prefect_codepipeline.engine.executions import gate
from prefect_codepipeline.engine.executions.definitions import (
    DeployedVersion,
    find_versions,
    unknown_pipeline,
)
from prefect_codepipeline.engine.executions.gate_state import Gates
from prefect_codepipeline.engine.executions.lookup import (
    CLOCKS_OF_SERVER,
    KnownExecution,
    due,
    find_runs,
    known_executions,
    pipeline_tag,
)
from prefect_codepipeline.engine.operations.projection import DEPLOYMENTS_BY_NAME
from prefect_codepipeline.engine.operations.starting import list_deployments
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.record.state import ActionState, ExecutionState, StageState
from prefect_codepipeline.model.views.pipeline_stages import StageNow, stages_now
from prefect_codepipeline.prefect_api.client import PAGE, find_named, moment
from prefect_codepipeline.prefect_api.together import together

# How many executions are read at once, first few, since most pipelines need one; and how far back at most.
_FIRST, _MORE, _MOST = 3, 12, 60
_RECENT_OF_ALL = 50  # a page of all pipelines' runs: Prefect takes long for large pages
_ACTIVE = ["PAUSED", "RUNNING"]
_EVER = datetime(2000, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class PipelineState:
    """A pipeline as it is now. `executions` are those that were read, latest first, also those that have not started."""

    name: str
    declaration: PipelineDeclaration
    updated: str = ""
    gates: Gates = field(default_factory=Gates)
    executions: list[KnownExecution] = field(default_factory=list)

    @property
    def stages(self) -> list[StageNow]:
        """The stages with their latest executions."""
        return stages_now([stage.name for stage in self.declaration.stages], self.started)

    @property
    def started(self) -> list[ExecutionState]:
        return [known.state for known in self.executions if known.state]

    @property
    def latest(self) -> KnownExecution | None:
        """The execution that started last."""
        return next(iter(self.executions), None)

    @property
    def open_approvals(self) -> list[tuple[ExecutionState, StageState, ActionState]]:
        """The approvals that wait, with their executions."""
        return [(state, *each) for state in self.started if not state.final for each in state.open_approvals]


def read_pipeline_state(name: str) -> PipelineState:
    """The state of one deployed pipeline. Raises `PipelineNotFoundException`."""
    deployment = find_named(DEPLOYMENTS_BY_NAME, name)
    states = _read([deployment], name, lambda: {name: gate.read_gates(name)}) if deployment else []
    if not states:
        raise unknown_pipeline(name)
    return states[0]


def read_pipeline_states() -> list[PipelineState]:
    """The states of all deployed pipelines, by name. Executions that a newer release wrote have no state in them."""
    return _read(list_deployments(), None, gate.read_all_gates)


def _read(
    deployments: list[dict[str, Any]], name: str | None, read_gates: Callable[[], Mapping[str, Gates]]
) -> list[PipelineState]:
    """The states of pipelines from their deployments, without those that are being deleted.

    Args:
        deployments: the deployments.
        name: the pipeline, if it is only one.
        read_gates: reads their gates.
    """
    versions = {str(each["name"]): int(each["version"] or 1) for each in deployments}
    page = _MORE if name else _RECENT_OF_ALL
    parts: list[Callable[[], Any]] = [
        partial(find_versions, versions),
        read_gates,
        partial(find_runs, name, limit=page, since=_EVER),
        partial(find_runs, name, state_types=_ACTIVE, limit=PAGE, since=_EVER),
    ]
    found, gates, recent, active = together(parts)
    is_whole = len(recent) < page
    return together(
        [
            partial(
                _read_one,
                each,
                found[each["name"]],
                gates.get(each["name"], Gates()),
                recent,
                active,
                is_whole,
                shows_newer=name is None,
            )
            for each in deployments
            if each["name"] in found
        ]
    )


def _read_one(
    deployment: dict[str, Any],
    version: DeployedVersion,
    gates: Gates,
    recent: list[dict[str, Any]],
    active: list[dict[str, Any]],
    is_whole: bool,
    *,
    shows_newer: bool,
) -> PipelineState:
    """The state of one pipeline. `recent` and `active` runs may be those of all pipelines; `is_whole`: there are no others."""
    name, since = str(deployment["name"]), version.first_created
    definitions = {version.definition_id: version.definition}
    if len(active) == PAGE:
        active = find_runs(name, state_types=_ACTIVE, limit=PAGE, since=since)
    own, own_active = _of_pipeline(name, since, recent), _of_pipeline(name, since, active)
    read = partial(known_executions, known=definitions, shows_newer=shows_newer)
    first = read(_once(due([*own[:_FIRST], *own_active])))
    state = PipelineState(name, version.definition.masked(), str(deployment["updated"]), gates, first)
    offset = min(_FIRST, len(own))
    while offset < _MOST and not all(stage.is_known for stage in state.stages):
        runs = own[offset : offset + _MORE]
        if not runs and not is_whole:
            runs = find_runs(name, limit=_MORE, offset=offset, since=since)
        if not runs:
            break
        offset += len(runs)
        known = {each.id for each in state.executions}
        more = read([run for run in due(runs) if run["id"] not in known])
        state = replace(state, executions=[*state.executions, *more])
    return state


def _of_pipeline(name: str, since: datetime | None, runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs of the pipeline, without those of a deleted one that had the same name."""
    tag = pipeline_tag(name)
    return [
        run
        for run in runs
        if tag in run["tags"]
        and (since is None or moment(run["expected_start_time"]) > since - CLOCKS_OF_SERVER)
    ]


def _once(runs: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    by_id = {run["id"]: run for run in runs}
    return sorted(by_id.values(), key=lambda run: str(run["expected_start_time"]), reverse=True)
