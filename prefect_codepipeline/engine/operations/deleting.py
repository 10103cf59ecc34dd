"""Delete a pipeline: its definitions, its deployment, its gates and its schedules. Its executions stay in Prefect.

https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_DeletePipeline.html
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect_codepipeline.engine.executions.definitions import (
    definition_documents,
    find_version,
    first_created,
    forget_pinned,
)
from prefect_codepipeline.engine.executions.gate import read_gates
from prefect_codepipeline.engine.executions.lookup import (
    TAG,
    KnownExecution,
    find_in_flight,
    known_executions,
)
from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.engine.operations.ending import Way, end_from_outside, has_work_elsewhere
from prefect_codepipeline.engine.operations.projection import DELETING, DEPLOYMENTS_BY_NAME
from prefect_codepipeline.engine.operations.schedules import schedule_variables
from prefect_codepipeline.engine.operations.stopping import stop_pipeline_execution
from prefect_codepipeline.engine.operations.tagging import drop_tags
from prefect_codepipeline.errors import (
    ConcurrentModificationException,
    DuplicatedStopRequestException,
    PipelineExecutionNotStoppableException,
)
from prefect_codepipeline.model.wire.arns import Account
from prefect_codepipeline.prefect_api.block_documents import delete_document
from prefect_codepipeline.prefect_api.client import call, call_all, find_named
from prefect_codepipeline.prefect_api.flow_runs import end_run
from prefect_codepipeline.prefect_api.variables import delete_variable

# How long executions have to end before their pipeline is deleted: their processes look for requests once a second.
ENDING_SECONDS = 5.0
# How long a process has to start and to stop what it has started elsewhere.
_STOPPING_TAKES = timedelta(minutes=1)
_LOOK_SECONDS = 0.2
_logger = logging.getLogger(__name__)


def abandon_and_delete(name: str, by: str, seconds: float = ENDING_SECONDS) -> int:
    """Abandon all executions in flight and delete the pipeline; how many versions it had, 0 if it does not exist.

    Args:
        name: the pipeline.
        by: the user who deletes it.
        seconds: how long to wait for the executions to end.

    Raises:
        ConcurrentModificationException: an execution is still stopping work elsewhere, for which it needs its
            definition. After a minute that no longer counts.
    """
    deadline = time.monotonic() + seconds
    abandoned: set[str] = set()
    while (in_flight := find_in_flight(name)) and time.monotonic() < deadline:
        new = [run for run in in_flight if run["id"] not in abandoned]
        for execution in known_executions(new):
            _abandon(execution, name, by)
        abandoned |= {run["id"] for run in new}
        if not new:
            time.sleep(_LOOK_SECONDS)
    stopping = [each.run for each in known_executions(in_flight) if not _end_without_process(each, by)]
    if stopping:
        raise ConcurrentModificationException(
            f"The pipeline '{name}' was not deleted: its executions ({ids_of(stopping)}) are stopping work that they "
            "started elsewhere. Try again."
        )
    return finish_deletion(name)


def _abandon(execution: KnownExecution, pipeline_name: str, by: str) -> None:
    """End an execution that has no process and no work elsewhere; ask the process of any other to end it."""
    state, has_no_process = execution.state, execution.run["state_type"] in ("PAUSED", "CRASHED")
    if state and has_no_process and not has_work_elsewhere(state):
        end_from_outside(execution, Way.DELETED, by)
        return
    # It is being abandoned already, or has ended meanwhile.
    with suppress(DuplicatedStopRequestException, PipelineExecutionNotStoppableException):
        stop_pipeline_execution(pipeline_name, execution.id, abandon=True, reason=Way.DELETED.sentence, by=by)


def _end_without_process(execution: KnownExecution, by: str) -> bool:
    """End an execution that has not ended by itself; False if a process has yet to stop its work elsewhere.

    A running process ends by itself, without reading its definition again. If it dies, reconcile ends its run.
    """
    state = execution.state
    if execution.run["state_type"] in ("RUNNING", "CANCELLING"):
        return True
    if state is None:
        end_run(execution.id, Way.DELETED.status, Way.DELETED.sentence)
        return True
    if has_work_elsewhere(state):
        if state.stop and utc_now() - state.stop.at < _STOPPING_TAKES:
            return False
        _logger.warning(
            "execution %s of pipeline %r was ended without its process: work that it started elsewhere may go on",
            execution.id, state.pinned.pipeline_name,
        )  # fmt: skip
    end_from_outside(execution, Way.DELETED, by)
    return True


def begin_deletion(name: str) -> None:
    """Mark the deployment of a pipeline, so that reconcile finishes the deletion if this process dies."""
    first, deployment = find_version(name, 1), find_named(DEPLOYMENTS_BY_NAME, name)
    if deployment:
        tags = [*deployment["tags"], DELETING, *([_mark_of(first[0])] if first else [])]
        body = {"tags": list(dict.fromkeys(tags))}
        call("PATCH", f"/deployments/{deployment['id']}", body, expected=(404,))


def finish_deletion(name: str) -> int:
    """Delete what there is of a pipeline without executions in flight; how many versions it had."""
    begin_deletion(name)
    documents = definition_documents(name)
    # What a pipeline of the same name may have too goes first, the name last.
    for variable in [*read_gates(name).variables, *schedule_variables(name)]:
        delete_variable(variable)
    drop_tags(Account().pipeline(name))
    # Oldest version first: without it, reconcile does not recreate the deployment during the deletion.
    for document in sorted(documents, key=_version):
        delete_document(document["id"])
    delete_leftovers(name)
    forget_pinned()
    return len(documents)


def delete_leftovers(name: str) -> None:
    """Delete what an interrupted deletion, or an update during one, has left of a pipeline without a first version.

    A pipeline of the same name may be created meanwhile: what it has is not touched, or reconcile makes it again.
    """
    leftovers = [each for each in definition_documents(name) if _version(each) > 1]
    deployment = find_named(DEPLOYMENTS_BY_NAME, name)
    # Looked for last: a new pipeline has its first version before it has anything else.
    if first_created(name):
        return
    for document in leftovers:
        delete_document(document["id"])
    if deployment:
        call("DELETE", f"/deployments/{deployment['id']}", expected=(404,))


def finish_interrupted_deletions() -> list[str]:
    """Finish the deletions whose processes died; one sentence for each."""
    done = []
    for deployment in call_all("/deployments/filter", {"deployments": {"tags": {"all_": [TAG, DELETING]}}}):
        name, first = str(deployment["name"]), find_version(deployment["name"], 1)
        if first is None:
            delete_leftovers(name)
        elif _mark_of(first[0]) in deployment["tags"]:
            finish_deletion(name)
        else:
            continue  # it was created again
        done.append(f"pipeline {name!r}: its deletion was interrupted, and is finished")
    return done


def _mark_of(first_id: UUID) -> str:
    """The tag of a deployment whose pipeline, with that first version, is being deleted."""
    return f"{DELETING}:{first_id}"


def ids_of(runs: Sequence[dict[str, Any]]) -> str:
    """The ids of the first of these runs, for messages."""
    return ", ".join(run["id"] for run in runs[:5]) + (", ..." if len(runs) > 5 else "")


def _version(document: dict[str, Any]) -> int:
    return int(document["name"].rpartition("-v")[2])
