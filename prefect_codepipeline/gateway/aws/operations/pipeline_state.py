"""The state of a pipeline: its stages, actions, transitions and conditions."""

from __future__ import annotations

from collections.abc import Sequence

from prefect_codepipeline.engine.executions.gate_state import Gates
from prefect_codepipeline.engine.executions.gate_state import Transition as KnownTransition
from prefect_codepipeline.engine.jobs.polled_types import polled_type
from prefect_codepipeline.gateway.aws.mirror import mirror
from prefect_codepipeline.gateway.aws.mirror.executions import WatchedExecution
from prefect_codepipeline.gateway.aws.mirror.history import History
from prefect_codepipeline.gateway.aws.mirror.pipelines import KnownPipeline
from prefect_codepipeline.gateway.aws.mirror.showing import shown
from prefect_codepipeline.gateway.aws.mirror.stages import executions_in_stages
from prefect_codepipeline.gateway.aws.operations.named import known_pipeline
from prefect_codepipeline.gateway.aws.operations.wording import no_pipeline
from prefect_codepipeline.gateway.aws.protocol.call import Call, Members, Operations
from prefect_codepipeline.model.definition.declaration import ActionDeclaration
from prefect_codepipeline.model.record.state import ExecutionState
from prefect_codepipeline.model.wire.stage_state import InStage, Transition, stage_state

# A version of an action type never changes; only that it exists does.
_TYPE_SECONDS = 60.0


def get_pipeline_state(call: Call) -> Members:
    """The state of all stages; none of a pipeline in PARALLEL mode, whose executions do not share stages."""
    name = call.members["name"]
    pipeline = known_pipeline(call, name)
    history = mirror().history(name)
    if history is None:  # it was deleted a moment ago
        raise no_pipeline(call.account, name)
    is_parallel = pipeline.declaration.execution_mode == "PARALLEL"
    return {
        "pipelineName": name,
        "pipelineVersion": pipeline.version,
        "stageStates": [] if is_parallel else _stage_states(pipeline, history),
        "created": pipeline.created,
        "updated": pipeline.updated,
    }


def _stage_states(pipeline: KnownPipeline, history: History) -> list[Members]:
    gates = mirror().gates(pipeline.name)
    stages = pipeline.declaration.stages
    watched, latest = executions_in_stages(mirror(), history, [stage.name for stage in stages])
    previous = [None, *(stage.name for stage in stages)]
    waiting = _waiting(pipeline, watched)
    return [
        stage_state(
            stage,
            latest[stage.name].stage(stage.name) if stage.name in latest else None,
            _in_stage(latest.get(stage.name), stage.name),
            [*_inbound(gates, stage.name, watched), *(waiting if index == 0 else [])],
            _transition(gates, stage.name, previous[index]),
            _entity_url,
        )
        for index, stage in enumerate(stages)
    ]


def _entity_url(action: ActionDeclaration) -> str | None:
    """The page of what an action of a type of one's own works on, by the template of the type."""
    if action.action_type_id.owner == "AWS":
        return None
    kind = polled_type(action.action_type_id, _TYPE_SECONDS)
    # The configuration as it is declared: a variable in it is known only when the action runs.
    known = {key: value for key, value in action.configuration.items() if "#{" not in value}
    return kind.entity_url(known) if kind else None


def _in_stage(execution: ExecutionState | None, stage_name: str) -> InStage | None:
    if execution is None:
        return None
    # Without a status, a retry has been asked for, and the stage is about to be entered again.
    status = execution.stage(stage_name).status or "InProgress"
    return InStage(execution.execution_id, status, execution.pinned.execution_type)


def _inbound(gates: Gates, stage_name: str, watched: Sequence[WatchedExecution]) -> list[InStage]:
    """The executions that wait to enter the stage, in the order of their arrival."""
    status = {each.known.id: each.known.status for each in watched}
    return [
        InStage(
            ticket.execution,
            "Stopping" if status.get(ticket.execution) == "Stopping" else "InProgress",
            "ROLLBACK" if ticket.is_rollback else "STANDARD",
        )
        for ticket in gates.tickets(stage_name)
    ]


def _waiting(pipeline: KnownPipeline, watched: Sequence[WatchedExecution]) -> list[InStage]:
    """The executions that no worker has begun: they wait to enter the first stage."""
    found = [shown(each, pipeline) for each in watched if each.known.state is None]
    return [
        InStage(each.state.execution_id, "InProgress", each.state.pinned.execution_type)
        for each in sorted(found, key=lambda each: each.started_at)
        if each.status == "InProgress" and each.state.pinned.execution_type == "STANDARD"
    ]


def _transition(gates: Gates, stage_name: str, previous: str | None) -> Transition:
    """The transition into a stage; while the one out of the stage before it is disabled, it lets nothing pass either."""
    inbound = gates.transition(stage_name, "Inbound")
    outbound = gates.transition(previous, "Outbound") if previous else None
    counting = (
        outbound if outbound and not outbound.enabled and (inbound is None or inbound.enabled) else inbound
    )
    return _as_shown(counting) if counting else Transition()


def _as_shown(found: KnownTransition) -> Transition:
    return Transition(found.enabled, found.changed_by, found.changed_at, found.reason)


OPERATIONS: Operations = {"GetPipelineState": get_pipeline_state}
