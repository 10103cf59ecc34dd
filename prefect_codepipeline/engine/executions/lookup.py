"""Find executions of pipelines and read their state."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

from prefect_codepipeline.engine.executions.definitions import (
    first_created,
    pinned_declaration,
    read_definition_blocks,
    unknown_pipeline,
)
from prefect_codepipeline.engine.executions.record import RecordOf
from prefect_codepipeline.engine.executions.removed import not_found
from prefect_codepipeline.errors import (
    ConcurrentPipelineExecutionsLimitExceededException,
    NewerRecord,
    PipelineExecutionNotFoundException,
    PipelineNotFoundException,
)
from prefect_codepipeline.model.definition.declaration import ExecutionMode, PipelineDeclaration
from prefect_codepipeline.model.definition.execution_modes import MAX_EXECUTIONS_IN_FLIGHT
from prefect_codepipeline.model.record.facts import AnyFact, ExecutionPinned, StopRequested
from prefect_codepipeline.model.record.folding import fold
from prefect_codepipeline.model.record.state import ExecutionState
from prefect_codepipeline.model.stored.definition import StoredDefinition
from prefect_codepipeline.prefect_api.client import PAGE, call, call_all, flow_run
from prefect_codepipeline.prefect_api.together import together

TAG = "codepipeline"
_CLOCKS_DIFFER = timedelta(minutes=5)
CLOCKS_OF_SERVER = timedelta(seconds=10)
DEFINITION_LABEL = "codepipeline.definition"  # the label of a flow run with the id of its definition
SHORT_ID = 8  # how much of an id is displayed
_LENGTH_OF_ID = 36
_ENDED_EARLY = {
    "CANCELLED": "Stopped",
    "FAILED": "Failed",
}  # by Prefect's state, without an end in the record
_BEGINNING = re.compile(r"[0-9a-f-]{4,}")
IN_FLIGHT = ["PENDING", "RUNNING", "PAUSED", "CANCELLING", "CRASHED"]


@dataclass(frozen=True)
class KnownExecution:
    """A flow run of a pipeline with its facts and the state from them.

    `state` and `mode`, the execution mode of its definition, are None if it has not started, or if only a newer release
    can read its record: `newer` says which.
    """

    run: dict[str, Any]
    facts: list[AnyFact]
    state: ExecutionState | None
    mode: ExecutionMode | None = None
    newer: str = ""

    @property
    def id(self) -> str:
        return str(self.run["id"])

    @property
    def status(self) -> str:
        """The status in AWS's words; if Prefect ended the run without a final fact, derived from Prefect's state."""
        if self.state and (self.state.final or self.run["state_type"] not in _ENDED_EARLY):
            return self.state.status
        is_stopping = any(isinstance(fact, StopRequested) for fact in self.facts)
        return _ENDED_EARLY.get(self.run["state_type"], "Stopping" if is_stopping else "InProgress")

    @property
    def summary(self) -> str:
        """Why it ended like that; empty if it is in progress."""
        if self.state and (self.state.final or self.run["state_type"] not in _ENDED_EARLY):
            return self.state.summary
        is_ended = self.run["state_type"] in _ENDED_EARLY
        return str((self.run.get("state") or {}).get("message") or "") if is_ended else ""

    @property
    def is_suspended(self) -> bool:
        return bool(self.run["state_type"] == "PAUSED")


def pipeline_tag(pipeline_name: str) -> str:
    """The tag of every execution and deployment of the pipeline."""
    return f"pipeline:{pipeline_name}"


def find_runs(
    pipeline_name: str | None = None,
    *,
    state_types: list[str] | None = None,
    limit: int = 50,
    offset: int = 0,
    since: datetime | None = None,
) -> list[dict[str, Any]]:
    """Flow runs of pipelines, latest first, as returned by Prefect's API; without runs that are scheduled for later.

    Args:
        pipeline_name: only runs of this pipeline, and none of a deleted pipeline that had the same name.
        state_types: only runs in these Prefect state types; None means any.
        limit: the maximum number of runs, up to 200.
        offset: the number of runs to skip.
        since: when the pipeline was created, if the caller knows it.
    """
    wanted = _wanted_runs(pipeline_name, state_types)
    # Prefect creates the runs of a schedule long before they start. The margin allows for differing clocks.
    soon = datetime.now(timezone.utc) + _CLOCKS_DIFFER
    wanted["flow_runs"]["expected_start_time"] = {"before_": soon.isoformat()}
    if since is None and pipeline_name:
        since = first_created(pipeline_name)
    if since:
        # The clocks of the database and of the server may differ a little. `known_executions` excludes the rest.
        wanted["flow_runs"]["expected_start_time"]["after_"] = (since - CLOCKS_OF_SERVER).isoformat()
    body = {**wanted, "limit": limit, "offset": offset}
    _, found = call("POST", "/flow_runs/filter", body)
    runs: list[dict[str, Any]] = found
    return runs


def due(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs without those that a schedule created for later, which are not executions yet."""
    return [
        run
        for run in runs
        if run["state_type"] not in ("SCHEDULED", "PENDING") or run["run_count"] or not run["auto_scheduled"]
    ]


def find_all_runs(
    state_types: list[str] | None = None,
    state_names: list[str] | None = None,
    ended_after: datetime | None = None,
) -> list[dict[str, Any]]:
    """All flow runs of all pipelines with these states; with `ended_after`, only those that ended later."""
    return call_all("/flow_runs/filter", _wanted_runs(None, state_types, state_names, ended_after))


def _wanted_runs(
    pipeline_name: str | None,
    state_types: list[str] | None,
    state_names: list[str] | None = None,
    ended_after: datetime | None = None,
) -> dict[str, Any]:
    tags = [TAG] if pipeline_name is None else [TAG, pipeline_tag(pipeline_name)]
    flow_runs: dict[str, Any] = {"tags": {"all_": tags}, "parent_task_run_id": {"is_null_": True}}
    if state_types:
        flow_runs["state"] = {"type": {"any_": state_types}}
    if state_names:
        flow_runs["state"] = {**flow_runs.get("state", {}), "name": {"any_": state_names}}
    if ended_after:
        flow_runs["end_time"] = {"after_": ended_after.isoformat()}
    return {"flow_runs": flow_runs, "sort": "EXPECTED_START_TIME_DESC"}


def find_in_flight(pipeline_name: str) -> list[dict[str, Any]]:
    """The flow runs of executions that have started or will start now, and have not ended; at most 200."""
    runs = find_runs(pipeline_name, state_types=[*IN_FLIGHT, "SCHEDULED"], limit=200)
    # A run that a schedule created for later is not an execution yet.
    return [run for run in runs if run["state_type"] != "SCHEDULED" or not run["auto_scheduled"]]


def count_in_flight(pipeline_name: str) -> int:
    """The number of executions of the pipeline that have started or will start now, and have not ended."""
    # A run that a schedule created for later is not an execution yet.
    now = datetime.now(timezone.utc).isoformat()
    due = {"state": {"type": {"any_": ["SCHEDULED"]}}, "expected_start_time": {"before_": now}}
    in_flight = {"state": {"type": {"any_": IN_FLIGHT}}}
    return sum(together([partial(_count, pipeline_name, wanted) for wanted in (due, in_flight)]))


def _count(pipeline_name: str, wanted: dict[str, Any]) -> int:
    body = {"flow_runs": {"tags": {"all_": [TAG, pipeline_tag(pipeline_name)]}, **wanted}}
    return int(call("POST", "/flow_runs/count", body)[1])


def check_limit(pipeline_name: str, mode: ExecutionMode) -> None:
    """Refuse one more execution of a QUEUED or PARALLEL pipeline that has reached the limit of executions in flight.

    https://docs.aws.amazon.com/codepipeline/latest/userguide/limits.html

    Raises:
        ConcurrentPipelineExecutionsLimitExceededException: the limit is reached.
    """
    if mode != "SUPERSEDED" and count_in_flight(pipeline_name) >= MAX_EXECUTIONS_IN_FLIGHT:
        raise _too_many(pipeline_name, mode)


def check_limit_before(pipeline_name: str, mode: ExecutionMode, started: str) -> None:
    """Check the same limit for an execution that has started already, in whatever way.

    Only executions that started before `started` (the server's time) count. So if many start at once, the first ones
    continue. Raises the same error as `check_limit`.
    """
    in_flight = {"state": {"type": {"any_": IN_FLIGHT}}, "start_time": {"before_": started}}
    if _count(pipeline_name, in_flight) > MAX_EXECUTIONS_IN_FLIGHT:  # the execution itself is counted too
        raise _too_many(pipeline_name, mode)


def _too_many(pipeline_name: str, mode: ExecutionMode) -> ConcurrentPipelineExecutionsLimitExceededException:
    return ConcurrentPipelineExecutionsLimitExceededException(
        f"pipeline {pipeline_name!r} is {mode} and has {MAX_EXECUTIONS_IN_FLIGHT} executions in flight; "
        "wait for some to end, or stop them"
    )


def read_execution(execution_id: str) -> KnownExecution:
    """One execution by its id. Raises `PipelineExecutionNotFoundException`."""
    run = flow_run(execution_id)
    if run is None:
        raise not_found(execution_id, f"there is no pipeline execution {execution_id!r}")
    return known_execution(run)


def known_execution(run: dict[str, Any]) -> KnownExecution:
    """An execution from its flow run. Raises `PipelineNotFoundException` if its pipeline was deleted."""
    facts = RecordOf(str(run["id"])).read()
    definition_id = _definition_id(facts)
    return _known(run, facts, pinned_declaration(definition_id) if definition_id else None)


def known_executions(
    runs: list[dict[str, Any]],
    known: Mapping[str, StoredDefinition] | None = None,
    *,
    shows_newer: bool = False,
) -> list[KnownExecution]:
    """Executions from their flow runs, read together; without those whose definition was deleted with its pipeline.

    Args:
        runs: the flow runs.
        known: definitions that were read before, by the ids of their blocks.
        shows_newer: for a list that is only displayed: executions that a newer release wrote are in it, without a state.

    Raises:
        NewerRecord: a newer release wrote the record of one of them.
    """
    read = together([partial(_read_record, run, shows_newer) for run in runs])
    records = [facts for facts, _ in read]
    wanted = [_definition_wanted(run, facts) for run, facts in zip(runs, records, strict=True)]
    known = known or {}
    found = {**known, **read_definition_blocks({str(each) for each in wanted if each} - known.keys())}
    masked = {definition_id: definition.masked() for definition_id, definition in found.items()}
    return [
        KnownExecution(run, [], None, newer=newer)
        if newer
        else _known(run, facts, masked.get(str(definition_id)))
        for run, (facts, newer), definition_id in zip(runs, read, wanted, strict=True)
        if not definition_id or definition_id in masked
    ]


def _read_record(run: dict[str, Any], shows_newer: bool) -> tuple[list[AnyFact], str]:
    """The facts of an execution, or why only a newer release can read them."""
    try:
        return RecordOf(str(run["id"])).read(), ""
    except NewerRecord as error:
        if not shows_newer:
            raise
        return [], str(error)


def definition_of(execution: KnownExecution) -> str | None:
    """The id of the definition that an execution runs or, if it has not begun, will run; None if that is not known."""
    return _definition_wanted(execution.run, execution.facts)


def _definition_wanted(run: dict[str, Any], facts: list[AnyFact]) -> str | None:
    return _definition_id(facts) or (run.get("labels") or {}).get(DEFINITION_LABEL)


def _definition_id(facts: list[AnyFact]) -> str | None:
    pinned = next((fact for fact in facts if isinstance(fact, ExecutionPinned)), None)
    return pinned.definition_id if pinned else None


def _known(
    run: dict[str, Any], facts: list[AnyFact], declaration: PipelineDeclaration | None
) -> KnownExecution:
    state = fold(str(run["id"]), declaration, facts) if declaration else None
    return KnownExecution(run, facts, state, declaration.execution_mode if state and declaration else None)


def find_execution(pipeline_name: str, execution_id: str | None) -> KnownExecution:
    """An execution of a pipeline, by its id or the beginning of its id; by default the one that started last.

    Raises:
        PipelineNotFoundException: the pipeline does not exist; or, without an id, has no execution.
        PipelineExecutionNotFoundException: the pipeline has no such execution, or several begin like that.
    """
    if execution_id is None:
        return latest_execution(pipeline_name)
    return known_execution(find_run(pipeline_name, execution_id))


def find_run(pipeline_name: str, execution_id: str) -> dict[str, Any]:
    """The flow run of an execution, whose record is not read. Arguments and exceptions as of `find_execution`."""
    tag, wanted = pipeline_tag(pipeline_name), execution_id.strip().lower()
    run = flow_run(wanted) if len(wanted) == _LENGTH_OF_ID else None
    if run and tag in run["tags"]:
        return run
    found = _runs_beginning_with(pipeline_name, wanted) if _BEGINNING.fullmatch(wanted) else []
    if len(found) == 1:
        return found[0]
    if not found:
        if first_created(pipeline_name) is None and not find_runs(pipeline_name, limit=1):
            raise unknown_pipeline(pipeline_name)
        otherwise = f"pipeline {pipeline_name!r} has no execution {execution_id!r}"
        raise not_found(wanted, f"{otherwise}; see: codepipeline executions {pipeline_name}")
    ids = ", ".join(str(each["id"]) for each in found[:5])
    raise PipelineExecutionNotFoundException(
        f"{len(found)} executions of pipeline {pipeline_name!r} begin with {execution_id!r}: {ids}; add more of the id"
    )


def _runs_beginning_with(pipeline_name: str, beginning: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    offset = 0
    while page := find_runs(pipeline_name, limit=PAGE, offset=offset):
        found += [run for run in page if str(run["id"]).startswith(beginning)]
        offset += len(page)
        # No two ids have that much in common.
        if len(page) < PAGE or (found and len(beginning) >= SHORT_ID):
            break
    return found


def latest_execution(pipeline_name: str) -> KnownExecution:
    """The execution that started last.

    Raises:
        PipelineNotFoundException: there is no such pipeline, or it has no execution; the message says which.
    """
    for run in due(find_runs(pipeline_name, limit=20)):
        for known in known_executions([run]):
            return known
    if first_created(pipeline_name) is None:
        raise unknown_pipeline(pipeline_name)
    raise PipelineNotFoundException(
        f"pipeline {pipeline_name!r} has no execution; start one with: codepipeline start {pipeline_name}"
    )


def waiting_execution(pipeline_name: str) -> KnownExecution:
    """The latest execution that waits for an approval, or the latest execution if none waits."""
    for run in find_runs(pipeline_name, state_types=["PAUSED", "RUNNING"], limit=20):
        execution = known_execution(run)
        if execution.state and execution.state.open_approvals:
            return execution
    return latest_execution(pipeline_name)


def execution_tag(execution_id: str) -> str:
    """The tag of flow runs that are no part of an execution's flow run, but belong to it: actions on other pools."""
    return f"execution:{execution_id}"


def log_page(
    execution_id: str, action_name: str | None, offset: int, limit: int
) -> tuple[list[dict[str, Any]], int]:
    """Log lines of an execution, oldest first: `timestamp`, `level`, `message`; and how many were read for them.

    Args:
        execution_id: the pipeline execution.
        action_name: only lines of this action: of its task runs, and of its flow runs on other pools.
        offset: the number of lines to skip.
        limit: the maximum number of lines, up to 200.
    """
    of_execution = {
        "operator": "or_",
        "parent_flow_run_id": {"any_": [execution_id]},
        "tags": {"all_": [execution_tag(execution_id)]},
    }
    _, runs = call("POST", "/flow_runs/filter", {"flow_runs": of_execution, "limit": 200})
    flow_run_ids = [execution_id, *(run["id"] for run in runs)]
    logs: dict[str, Any] = {"flow_run_id": {"any_": flow_run_ids}}
    task_runs: set[str] = set()
    elsewhere = {run["id"] for run in runs if run["name"].endswith(f"/{action_name}")}
    if action_name:
        wanted = {
            "flow_run_id": {"any_": flow_run_ids},
            "name": {"any_": [action_name]},
        }
        _, tasks = call("POST", "/task_runs/filter", {"task_runs": wanted, "limit": 200})
        task_runs = {task["id"] for task in tasks}
        if not elsewhere:
            logs["task_run_id"] = {"any_": sorted(task_runs)}
    body = {"logs": logs, "sort": "TIMESTAMP_ASC", "offset": offset, "limit": limit}
    _, page = call("POST", "/logs/filter", body)
    # Prefect's filter cannot take the lines of some task runs and of whole flow runs beside them.
    lines = [
        line
        for line in page
        if not action_name or line["task_run_id"] in task_runs or line["flow_run_id"] in elsewhere
    ]
    return lines, len(page)
