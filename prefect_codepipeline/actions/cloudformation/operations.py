"""Create, update, replace and delete a stack, and follow what happens to it.

https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_UpdateStack.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from prefect_codepipeline.actions.aws.client import translated
from prefect_codepipeline.actions.aws.remote_work import (
    Following,
    Look,
    Work,
    bearing_silence,
    failed,
    follow,
    started,
)
from prefect_codepipeline.actions.cloudformation.stack import UNDER_REVIEW, Stack, State, stack_url
from prefect_codepipeline.actions.cloudformation.stack_events import Operation
from prefect_codepipeline.errors import ActionFailed

# A stack in one of these states cannot be updated: REPLACE_ON_FAILURE deletes it first.
REPLACED = {
    "ROLLBACK_COMPLETE",
    "ROLLBACK_FAILED",
    "CREATE_FAILED",
    "DELETE_FAILED",
    "UPDATE_ROLLBACK_FAILED",
}
_NO_UPDATES = "No updates are to be performed"
# Under this name the number of resources is kept.
_RESOURCES = "resources"
_GOOD = {"CREATE_COMPLETE", "UPDATE_COMPLETE"}


@dataclass(frozen=True)
class Change:
    """What a stack becomes: the arguments of `CreateStack` and `UpdateStack`, and the number of resources if known."""

    arguments: Mapping[str, Any]
    resources: int | None = None


class NothingToDo(Exception):  # noqa: N818  # no error: the stack is as it should be
    """CloudFormation has nothing to do for the stack."""


def create_or_update(stack: Stack, change: Callable[[], Change]) -> Work:
    """Create the stack, or update it, and wait until that has ended.

    Args:
        stack: the stack.
        change: makes what the stack becomes; called only if that was not started before.

    Raises:
        NothingToDo: the stack has this template, with these parameters.
        ActionFailed: CloudFormation refused, or the stack ended in another state than complete.
    """
    counts: list[int | None] = []

    def start() -> Work:
        made = change()
        counts.append(keep_count(stack, made.resources))
        return _create_or_update(stack, made)

    work = started(stack.context, "apply", start, lambda: find_by_token(stack, stack.token))
    follow_stack(stack, work, stack.token, _GOOD, next(iter(counts), None))
    return work


def replace_failed(stack: Stack) -> None:
    """Delete the stack if it is in a state in which it cannot be updated, and wait until it is gone."""
    earlier = stack.context.earlier
    is_begun = earlier is not None and "delete" in earlier.state
    if earlier and "apply" in earlier.state:
        return  # what failed is what this action did
    with bearing_silence(stack.context, stack.what):
        if earlier and not is_begun and find_by_token(stack, stack.token):
            return
        state = stack.describe()
    status = state["StackStatus"] if state else None
    is_begun = is_begun or (earlier is not None and status == "DELETE_IN_PROGRESS")
    if is_begun or status in REPLACED:
        stack.context.logger.info("Replacing %s, which is %s", stack.what, status or "deleted")
        delete(stack, (state or {}).get("RoleARN"), f"{stack.token}-delete")


def delete(stack: Stack, role: str | None, token: str) -> Work | None:
    """Delete the stack and wait until it is gone; None if there is none."""
    try:
        work = started(
            stack.context,
            "delete",
            lambda: _delete(stack, role, token),
            lambda: find_by_token(stack, token),
        )
    except NothingToDo:
        return None
    follow_stack(stack, work, token, {"DELETE_COMPLETE"})
    return work


def follow_stack(stack: Stack, work: Work, token: str, good: set[str], total: int | None = None) -> None:
    """Wait until the operation that has this token has ended, in one of the good states.

    `total` is the number of resources, if it was counted in this call; else what an earlier call has kept.
    """
    operation = Operation(stack, work.id, token)
    earlier = stack.context.earlier
    if earlier:
        operation.began = earlier.started_at
        total = total or int(earlier.state.get(_RESOURCES, 0)) or None

    def look() -> Look:
        operation.read()
        summary, percent = operation.progress(total)
        return Look(bool(operation.status), summary, percent)

    follow(Following(stack.what, work, look, lambda: _stop(stack, work)), stack.context)
    if operation.status not in good:
        raise failed(f"{stack.what} ended as {operation.status}: {_reason(operation)}", work)


def find_by_token(stack: Stack, token: str) -> Work | None:
    """The stack, if an operation with this token was started on it."""
    state = stack.describe()
    if state is None:
        return None
    operation = Operation(stack, state["StackId"], token)
    operation.read()
    has_token = any(event.get("ClientRequestToken") == token for event in operation.events)
    return work_on(state) if has_token else None


def work_on(state: State) -> Work:
    """Work on a stack, by the stack's id."""
    return Work(state["StackId"], stack_url(state["StackId"]))


def keep_count(stack: Stack, resources: int | None) -> int | None:
    """Keep how many resources change, for the progress; returns the number."""
    if resources:
        stack.context.keep(**{_RESOURCES: str(resources)})
    return resources


def _create_or_update(stack: Stack, change: Change) -> Work:
    from botocore.exceptions import ClientError

    state = stack.describe()
    is_new = state is None or state["StackStatus"] == UNDER_REVIEW
    send: Callable[..., Any] = stack.client.create_stack if is_new else stack.client.update_stack
    with translated(f"{'creating' if is_new else 'updating'} {stack.what}"):
        try:
            answer = send(StackName=stack.name, ClientRequestToken=stack.token, **change.arguments)
        except ClientError as error:
            if _NO_UPDATES in str(error):
                raise NothingToDo from None
            raise
    return work_on(answer)


def _delete(stack: Stack, role: str | None, token: str) -> Work:
    state = stack.describe()
    if state is None:
        raise NothingToDo
    more = {"RoleARN": role} if role else {}
    with translated(f"deleting {stack.what}"):
        # By its id: a new stack of the same name is another one.
        stack.client.delete_stack(StackName=state["StackId"], ClientRequestToken=token, **more)
    return work_on(state)


def _stop(stack: Stack, work: Work) -> str:
    """CloudFormation can stop only an update; it puts the stack back then."""
    state = stack.describe(work.id)
    status = state["StackStatus"] if state else "gone"
    if status == "UPDATE_IN_PROGRESS":
        with translated(f"cancelling the update of {stack.what}"):
            stack.client.cancel_update_stack(StackName=work.id, ClientRequestToken=f"{stack.token}-cancel")
        return f"the update of {stack.what} is cancelled, and CloudFormation puts the stack back"
    if status.endswith("_IN_PROGRESS"):
        return f"{stack.what} continues in AWS ({status}), because CloudFormation can stop only updates"
    return ""


def _reason(operation: Operation) -> str:
    """Why the operation failed; what has failed is known even if its events cannot be read any more."""
    with suppress(ActionFailed):
        return operation.reason()
    return "the events of a nested stack could not be read"
