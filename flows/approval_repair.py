"""What reconcile does for approvals: forms that were not written, votes that suffice, expiry, reminders."""

from datetime import datetime

from prefect_codepipeline.engine.approvals.decision import approval_policy, expire_approval, settle_votes
from prefect_codepipeline.engine.executions.lookup import KnownExecution
from prefect_codepipeline.engine.notifications.approval_messages import is_reminded, remind, reminder_due
from prefect_codepipeline.errors import ApprovalAlreadyCompletedException
from prefect_codepipeline.flows.approval import form_of
from prefect_codepipeline.model.record.facts import ApprovalRequested
from prefect_codepipeline.model.record.state import ActionState
from prefect_codepipeline.prefect_api.suspension import restore_form


def restore_forms(execution: KnownExecution) -> list[str]:
    """Write the form of an approval if its process died before it wrote it. Prefect resumes no run without its form."""
    assert execution.state, "checked by the caller"
    for stage, action in execution.state.actions:
        if action.request and restore_form(
            execution.run, form_of(execution.state, stage.name, action.request)
        ):
            return [f"execution {execution.id}: the form of approval {action.name!r} was missing"]
    return []


def repair_approvals(execution: KnownExecution, now: datetime) -> list[str]:
    """End the open approvals that have enough votes or have expired, and remind of the others."""
    assert execution.state, "checked by the caller"
    done: list[str] = []
    for _, action in execution.state.open_approvals:
        request = action.request
        if request and (action.votes or request.expires_at <= now):
            done += _end_approval(execution, action, request, now)
        elif request and not is_reminded(execution, request.token):
            done += _remind(execution, action, request, now)
    return done


def _end_approval(
    execution: KnownExecution, action: ActionState, request: ApprovalRequested, now: datetime
) -> list[str]:
    """Record the decision that its votes amount to, or its expiry."""
    assert execution.state, "checked by the caller"
    what = f"execution {execution.id}: approval {action.name!r}"
    policy = approval_policy(execution.state, action)
    try:
        if settle_votes(execution.id, request.token, policy):
            return [f"{what} has enough votes"]
        if request.expires_at <= now:
            expire_approval(execution.id, request.token, policy)
            return [f"{what} expired"]
    except ApprovalAlreadyCompletedException:
        pass
    return []


def _remind(
    execution: KnownExecution, action: ActionState, request: ApprovalRequested, now: datetime
) -> list[str]:
    assert execution.state, "checked by the caller"
    due = reminder_due(request, approval_policy(execution.state, action))
    if due and due <= now and remind(execution, request):
        return [f"execution {execution.id}: a reminder of approval {action.name!r} was sent"]
    return []
