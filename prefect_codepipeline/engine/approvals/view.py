"""The information that an approver needs to decide an approval."""

from __future__ import annotations

import time
from dataclasses import dataclass

from prefect_codepipeline.engine.approvals.decision import approval_policy, find_approval
from prefect_codepipeline.engine.executions.lookup import (
    KnownExecution,
    find_runs,
    known_executions,
    read_execution,
)
from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.engine.executions.removed import REMOVED, was_removed
from prefect_codepipeline.errors import InvalidApprovalTokenException, PipelineExecutionNotFoundException
from prefect_codepipeline.model.approvals.policy import ApprovalPolicy
from prefect_codepipeline.model.approvals.standing import (
    Change,
    Standing,
    changes_since,
    sentence_of,
    standing_of,
)
from prefect_codepipeline.model.record.facts import ApprovalRequested
from prefect_codepipeline.model.record.state import ActionState, ExecutionState

# How many executions are searched for the last approved one; each costs two requests.
_SEARCH_LIMIT = 15
# Many people open the pages of a pipeline's approvals at once, after a message in Slack.
_KEPT_SECONDS = 5.0
_kept: dict[str, tuple[float, list[ExecutionState]]] = {}


@dataclass(frozen=True)
class ApprovalView:
    """An approval and its execution, in their current state."""

    known: KnownExecution
    asked: ActionState
    policy: ApprovalPolicy

    @property
    def state(self) -> ExecutionState:
        assert self.known.state, "an execution that requested an approval has started"
        return self.known.state

    @property
    def request(self) -> ApprovalRequested:
        assert self.asked.request, "the action was found by its approval request"
        return self.asked.request

    @property
    def standing(self) -> Standing:
        return standing_of(self.asked, self.state, utc_now())

    @property
    def sentence(self) -> str:
        return sentence_of(self.asked, self.state, utc_now())


def view_approval(execution_id: str, token: str) -> ApprovalView:
    """The approval with that token. Raises `InvalidApprovalTokenException` if it does not exist or was deleted."""
    try:
        known = read_execution(execution_id)
    except PipelineExecutionNotFoundException:
        why = REMOVED if was_removed(execution_id) else "the execution was deleted"
        raise InvalidApprovalTokenException(why) from None
    asked = find_approval(known, token)
    if asked is None or known.state is None:
        raise InvalidApprovalTokenException("the execution has no such approval")
    return ApprovalView(known, asked, approval_policy(known.state, asked))


def changes_of(view: ApprovalView) -> list[Change]:
    """The changes that the approval would release since the last approved execution."""
    return changes_since(view.state, _last_approved(view))


def _last_approved(view: ApprovalView) -> ExecutionState | None:
    request = view.request
    for state in _latest(view.state.pinned.pipeline_name):
        stage = next((s for s in state.stages if s.name == request.stage), None)
        action = next((a for a in stage.actions if a.name == request.action), None) if stage else None
        is_earlier = state.started_at < view.state.started_at
        if is_earlier and action and action.decision and action.decision.status == "Approved":
            return state
    return None


def _latest(pipeline_name: str) -> list[ExecutionState]:
    """The latest executions of a pipeline that have started, the last one first; some seconds old at most."""
    now = time.monotonic()
    at, states = _kept.get(pipeline_name, (-_KEPT_SECONDS, []))
    if now - at < _KEPT_SECONDS:
        return states
    runs = [run for run in find_runs(pipeline_name, limit=_SEARCH_LIMIT) if run["run_count"]]
    states = [known.state for known in known_executions(runs, shows_newer=True) if known.state]
    for name in [name for name, (at, _) in list(_kept.items()) if now - at >= _KEPT_SECONDS]:
        _kept.pop(name, None)
    _kept[pipeline_name] = (now, states)
    return states
