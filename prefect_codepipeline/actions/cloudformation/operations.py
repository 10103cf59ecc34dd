"""Create, update, replace and delete a stack, and follow what happens to it.

https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_UpdateStack.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from prefect_codepipeline.actions.aws.client import translated
from prefect_codepipeline.actions.aws.remote_work import Following, Look, Work, failed, follow, started
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
_GOOD = {"CREATE_COMPLETE", "UPDATE_COMPLETE"}


class NothingToDo(Exception):  # noqa: N818  # no error: the stack is as it should be
    """CloudFormation has nothing to do for the stack."""


def create_or_update(
    stack: Stack, arguments: Mapping[str, Any], policy: str | None, total: int | None
) -> Work:
    """Create the stack, or update it, and wait until that has ended.

    Args:
        stack: the stack.
        arguments: of `CreateStack` and `UpdateStack`.
        policy: the stack's policy.
        total: the number of resources in the template.

    Raises:
        NothingToDo: the stack has this template, with these parameters.
        ActionFailed: CloudFormation refused, or the stack ended in another state than complete.
    """
    given = {**arguments, **({"StackPolicyBody": policy} if policy else {})}
    work = started(
        stack.context,
        "apply",
        lambda: _create_or_update(stack, given),
        lambda: find_by_token(stack, stack.token),
    )
    follow_stack(stack, work, stack.token, _GOOD, total)
    return work


def replace_failed(stack: Stack) -> None:
    """Delete the stack if it is in a state in which it cannot be updated, and wait until it is gone."""
    earlier = stack.context.earlier
    if earlier and ("apply" in earlier.state or find_by_token(stack, stack.token)):
        return  # what failed is what this action did
    state = stack.describe()
    status = state["StackStatus"] if state else None
    is_begun = earlier and ("delete" in earlier.state or status == "DELETE_IN_PROGRESS")
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
    follow_stack(stack, work, token, {"DELETE_COMPLETE"}, None)
    return work


def follow_stack(stack: Stack, work: Work, token: str, good: set[str], total: int | None) -> None:
    """Wait until the operation that has this token has ended, in one of the good states."""
    operation = Operation(stack, work.id, token)
    if stack.context.earlier:
        operation.began = stack.context.earlier.started_at

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


def _create_or_update(stack: Stack, arguments: Mapping[str, Any]) -> Work:
    from botocore.exceptions import ClientError

    state = stack.describe()
    is_new = state is None or state["StackStatus"] == UNDER_REVIEW
    send: Callable[..., Any] = stack.client.create_stack if is_new else stack.client.update_stack
    with translated(f"{'creating' if is_new else 'updating'} {stack.what}"):
        try:
            answer = send(StackName=stack.name, ClientRequestToken=stack.token, **arguments)
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
