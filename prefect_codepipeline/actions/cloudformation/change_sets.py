"""Create a change set, show its changes, and execute it.

https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_CreateChangeSet.html
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prefect_codepipeline.actions.aws.client import error_code, translated
from prefect_codepipeline.actions.aws.remote_work import (
    Following,
    Look,
    Work,
    bearing_silence,
    failed,
    follow,
    started,
)
from prefect_codepipeline.actions.cloudformation.operations import (
    NothingToDo,
    find_by_token,
    follow_stack,
    keep_count,
    work_on,
)
from prefect_codepipeline.actions.cloudformation.stack import (
    UNDER_REVIEW,
    Stack,
    State,
    change_set_url,
)
from prefect_codepipeline.errors import ActionFailed

# How CloudFormation says that a change set is empty; its status is FAILED then.
_EMPTY = ("didn't contain changes", "No updates are to be performed")
_MISSING = ("ChangeSetNotFound", "ChangeSetNotFoundException")


@dataclass(frozen=True)
class ChangeSet:
    """A change set of a stack, by its name."""

    stack: Stack
    name: str

    @property
    def what(self) -> str:
        return f"change set {self.name!r} of {self.stack.what}"

    def describe(self, change_set_id: str | None = None) -> State | None:
        """The change set with all its changes, or None if there is none."""
        from botocore.exceptions import ClientError

        where = (
            {"ChangeSetName": change_set_id}
            if change_set_id
            else {"ChangeSetName": self.name, "StackName": self.stack.name}
        )
        with translated(f"looking up {self.what}"):
            try:
                pages = list(self.stack.client.get_paginator("describe_change_set").paginate(**where))
            except ClientError as error:
                is_gone = error_code(error) == "ValidationError" and "does not exist" in str(error)
                if error_code(error) in _MISSING or is_gone:
                    return None
                raise
        return {**pages[0], "Changes": [change for page in pages for change in page.get("Changes") or ()]}


def replace(change_set: ChangeSet, arguments: Callable[[], Mapping[str, Any]]) -> tuple[Work, State]:
    """Create the change set in place of an existing one of its name, and wait until CloudFormation has made it.

    Args:
        change_set: its stack and name.
        arguments: makes those of `CreateChangeSet`; called only if it was not created before.

    Raises:
        ActionFailed: CloudFormation refused, or the change set could not be made.
    """
    stack = change_set.stack
    _remove_old(change_set)
    work = started(
        stack.context,
        "change-set",
        lambda: _create(change_set, arguments()),
        lambda: _find_own(change_set),
    )
    seen: list[State | None] = []

    def look() -> Look:
        state = change_set.describe(work.id)
        seen[:] = [state]
        status = state["Status"] if state else "deleted"
        return Look(status in ("CREATE_COMPLETE", "FAILED", "deleted"), f"change set {status}")

    follow(Following(change_set.what, work, look, lambda: _stop(change_set)), stack.context)
    state = seen[0]
    if state is None:
        raise failed(f"{change_set.what} was deleted before it was complete, not by this action", work)
    if state["Status"] == "FAILED" and not is_empty(state):
        raise failed(
            f"{change_set.what} could not be made: {state.get('StatusReason', 'no reason given')}", work
        )
    return work, state


def execute(change_set: ChangeSet) -> Work:
    """Execute the change set, and wait until the stack has its changes.

    Raises:
        NothingToDo: the change set is empty.
        ActionFailed: there is no change set of the name, or the stack ended in another state than complete.
    """
    stack = change_set.stack
    counts: list[int | None] = []

    def start() -> Work:
        state = change_set.describe()
        if state is None:
            raise ActionFailed(
                f"there is no {change_set.what}; it was deleted or never made: run the action that makes it again",
                code="ConfigurationError",
            )
        if is_empty(state):
            raise NothingToDo
        counts.append(keep_count(stack, len(state["Changes"])))
        with translated(f"executing {change_set.what}"):
            stack.client.execute_change_set(
                ChangeSetName=state["ChangeSetId"], ClientRequestToken=stack.token
            )
        return work_on(state)

    work = started(stack.context, "apply", start, lambda: find_by_token(stack, stack.token))
    follow_stack(stack, work, stack.token, {"CREATE_COMPLETE", "UPDATE_COMPLETE"}, next(iter(counts), None))
    return work


def is_empty(state: State) -> bool:
    """Whether a change set changes nothing."""
    reason = state.get("StatusReason") or ""
    return state["Status"] == "FAILED" and any(text in reason for text in _EMPTY)


def rows(state: State) -> list[dict[str, str]]:
    """The changes as a table, for people."""
    return [_row(change["ResourceChange"]) for change in state["Changes"] if change.get("ResourceChange")]


def summary(changes: Sequence[Mapping[str, str]]) -> str:
    """The changes in one sentence: `2 Add, 1 Modify, 1 Remove; replaced: Database`."""
    counts = Counter(change["Action"] for change in changes)
    replaced = [change["Resource"] for change in changes if change["Replacement"] == "yes"]
    text = ", ".join(f"{count} {action}" for action, count in sorted(counts.items()))
    return text + (f"; replaced: {', '.join(replaced)}" if replaced else "")


def _row(change: Mapping[str, Any]) -> dict[str, str]:
    replacement = {"True": "yes", "False": "no", "Conditional": "perhaps"}
    return {
        "Action": change.get("Action", ""),
        "Resource": change.get("LogicalResourceId", ""),
        "Type": change.get("ResourceType", ""),
        "Replacement": replacement.get(change.get("Replacement", ""), ""),
        "What changes": ", ".join(dict.fromkeys(_targets(change))),
        "Physical id": change.get("PhysicalResourceId", ""),
    }


def _targets(change: Mapping[str, Any]) -> Iterator[str]:
    for detail in change.get("Details") or ():
        target = detail.get("Target", {})
        yield target.get("Name") or target.get("Attribute", "")


def _create(change_set: ChangeSet, arguments: Mapping[str, Any]) -> Work:
    stack = change_set.stack
    state = stack.describe()
    is_new = state is None or state["StackStatus"] == UNDER_REVIEW
    with translated(f"creating {change_set.what}"):
        answer = stack.client.create_change_set(
            StackName=stack.name,
            ChangeSetName=change_set.name,
            ChangeSetType="CREATE" if is_new else "UPDATE",
            ClientToken=stack.token,
            Description=change_set.stack.context.mark,
            **arguments,
        )
    return _work(answer["Id"], answer["StackId"])


def _remove_old(change_set: ChangeSet) -> None:
    """Delete a change set of this name that is not this action's, and wait until it is gone."""
    context = change_set.stack.context
    kept = context.earlier.state if context.earlier else {}
    if "change-set" in kept:
        return
    existing: State | None = None
    if "old" not in kept:
        with bearing_silence(context, change_set.what):
            existing = change_set.describe()
        if existing is None or existing.get("Description") == change_set.stack.context.mark:
            return
    old = started(context, "old", lambda: _delete(change_set, existing or {}), lambda: None)
    gone = Following(
        f"the old {change_set.what}",
        old,
        lambda: Look(change_set.describe(old.id) is None, "deleting the old change set"),
        lambda: "",
    )
    follow(gone, context)


def _delete(change_set: ChangeSet, existing: State) -> Work:
    with translated(f"deleting {change_set.what}"):
        change_set.stack.client.delete_change_set(ChangeSetName=existing["ChangeSetId"])
    return _work(existing["ChangeSetId"], existing["StackId"])


def _find_own(change_set: ChangeSet) -> Work | None:
    if change_set.stack.describe() is None:
        return None
    state = change_set.describe()
    is_own = state is not None and state.get("Description") == change_set.stack.context.mark
    return _work(state["ChangeSetId"], state["StackId"]) if state and is_own else None


def _work(change_set_id: str, stack_id: str) -> Work:
    return Work(change_set_id, change_set_url(stack_id, change_set_id))


def _stop(change_set: ChangeSet) -> str:
    """A change set changes nothing until it is executed: it is left."""
    return f"{change_set.what} is left as it is; it changes nothing until it is executed"
