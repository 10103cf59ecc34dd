"""The state of a pipeline: its stages with their latest executions, its gates, and the executions that wait.

https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_GetPipelineState.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from prefect_codepipeline.engine.executions import gate
from prefect_codepipeline.engine.executions.definitions import (
    DeployedVersion,
    find_versions,
    unknown_pipeline,
)
from prefect_codepipeline.engine.executions.gate_state import Gates
from prefect_codepipeline.engine.executions.lookup import KnownExecution, due, find_runs, known_executions
from prefect_codepipeline.engine.operations.projection import DEPLOYMENTS_BY_NAME
from prefect_codepipeline.engine.operations.starting import list_deployments
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.record.state import ActionState, ExecutionState, StageState
from prefect_codepipeline.model.views.pipeline_stages import StageNow, stages_now
from prefect_codepipeline.prefect_api.client import find_named
from prefect_codepipeline.prefect_api.together import together

# How many executions are read at once, first few, since most pipelines need one; and how far back at most.
_FIRST, _MORE, _MOST = 3, 12, 60


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
    states = _read([deployment], lambda: {name: gate.read_gates(name)}) if deployment else []
    if not states:
        raise unknown_pipeline(name)
    return states[0]


def read_pipeline_states() -> list[PipelineState]:
    """The states of all deployed pipelines, by name."""
    return _read(list_deployments(), gate.read_all_gates)


def _read(
    deployments: list[dict[str, Any]], read_gates: Callable[[], Mapping[str, Gates]]
) -> list[PipelineState]:
    """The states of pipelines from their deployments, without those that are being deleted."""
    versions = {str(each["name"]): int(each["version"] or 1) for each in deployments}
    parts: list[Callable[[], Any]] = [partial(find_versions, versions), read_gates]
    found, gates = together(parts)
    return together(
        [
            partial(_read_one, each, found[each["name"]], gates.get(each["name"], Gates()))
            for each in deployments
            if each["name"] in found
        ]
    )


def _read_one(deployment: dict[str, Any], version: DeployedVersion, gates: Gates) -> PipelineState:
    runs_of = partial(find_runs, str(deployment["name"]), since=version.first_created)
    definitions = {version.definition_id: version.definition}
    runs, active = together(
        [partial(runs_of, limit=_FIRST), partial(runs_of, state_types=["PAUSED", "RUNNING"], limit=_MORE)]
    )
    state = PipelineState(
        str(deployment["name"]),
        version.definition.masked(),
        str(deployment["updated"]),
        gates,
        known_executions(_once(due([*runs, *active])), definitions),
    )
    offset = len(runs)
    while runs and offset < _MOST and not all(stage.is_known for stage in state.stages):
        runs = runs_of(limit=_MORE, offset=offset)
        offset += len(runs)
        known = {each.id for each in state.executions}
        more = known_executions([run for run in due(runs) if run["id"] not in known], definitions)
        state = replace(state, executions=[*state.executions, *more])
    return state


def _once(runs: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    by_id = {run["id"]: run for run in runs}
    return sorted(by_id.values(), key=lambda run: str(run["expected_start_time"]), reverse=True)
