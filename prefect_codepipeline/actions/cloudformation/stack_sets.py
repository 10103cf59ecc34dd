"""One stack set: create its instances, and follow what happens to them.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/stacksets-concepts.html
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from prefect_codepipeline.actions.aws.account import client_of
from prefect_codepipeline.actions.aws.client import error_code, translated
from prefect_codepipeline.actions.aws.console import console_url
from prefect_codepipeline.actions.aws.remote_work import Following, Look, Work, failed, follow, started
from prefect_codepipeline.actions.cloudformation.stack_set_input import Targets
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.errors import ActionFailed

_GONE = ("StackSetNotFoundException", "OperationNotFoundException")
_ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
_MOST_SHOWN = 5  # instances in a message


@dataclass(frozen=True)
class StackSet:
    """The stack set of an action, by its name; `cloudformation` is the client of its region and account."""

    name: str
    context: ActionContext
    cloudformation: Any
    call_as: str = "SELF"

    @classmethod
    def of(cls, name: str, call_as: str, context: ActionContext) -> StackSet:
        return cls(name, context, client_of(context, "cloudformation"), call_as)

    @property
    def region(self) -> str:
        return str(self.cloudformation.meta.region_name)

    @property
    def what(self) -> str:
        """For messages."""
        return f"stack set {self.name!r} in {self.region}"

    @property
    def token(self) -> str:
        """The id of the operation that the action performs."""
        return self.context.action_execution_id

    def named(self) -> dict[str, str]:
        """The arguments of every request; stack sets with permissions of their own take no CallAs."""
        more = {} if self.call_as == "SELF" else {"CallAs": self.call_as}
        return {"StackSetName": self.name, **more}

    def url(self, set_id: str) -> str | None:
        """The page of its operations in AWS's console."""
        arn = f"arn:{self.cloudformation.meta.partition}:cloudformation:{self.region}::stackset/{set_id}"
        return console_url(
            arn,
            f"cloudformation/home?region={{region}}#/stacksets/{quote(set_id, safe='')}/operations",
        )

    def find_id(self) -> str | None:
        """The id of the stack set, or None if there is none."""
        from botocore.exceptions import ClientError

        with translated(f"looking up {self.what}"):
            try:
                found = self.cloudformation.describe_stack_set(**self.named())["StackSet"]
            except ClientError as error:
                if error_code(error) in _GONE:
                    return None
                raise
        return str(found["StackSetId"])

    def results(self, operation_id: str) -> list[Mapping[str, Any]]:
        """What has become of each instance of an operation: one request for a hundred of them."""
        arguments = {**self.named(), "OperationId": operation_id}
        doing = f"reading the instances of operation {operation_id!r} of {self.what}"
        return list(self.pages(self.cloudformation.list_stack_set_operation_results, doing, arguments))

    def describe(self, operation_id: str) -> Mapping[str, Any]:
        """An operation on the stack set. Raises `ActionFailed` if it is not there any more."""
        found = self._find(operation_id)
        if found is None:
            raise ActionFailed(
                f"{self.what}, or its operation {operation_id!r}, was deleted in the meantime, not by this action",
                code="JobFailed",
            )
        return found

    def find_operation(self, operation_id: str, set_id: str) -> Work | None:
        """The operation with this id, or None if it was not started."""
        return Work(operation_id, self.url(set_id)) if self._find(operation_id) else None

    def _find(self, operation_id: str) -> Mapping[str, Any] | None:
        from botocore.exceptions import ClientError

        with translated(f"looking up operation {operation_id!r} of {self.what}"):
            try:
                answer = self.cloudformation.describe_stack_set_operation(
                    **self.named(), OperationId=operation_id
                )
            except ClientError as error:
                if error_code(error) in _GONE:
                    return None
                raise
        return dict(answer["StackSetOperation"])

    def pages(
        self, ask: Callable[..., Any], doing: str, arguments: Mapping[str, str]
    ) -> Iterator[Mapping[str, Any]]:
        """The summaries that an operation of CloudFormation lists: one request for a hundred of them."""
        more: dict[str, str] = {}
        while True:
            with translated(doing):
                page = ask(**arguments, MaxResults=100, **more)
            yield from page.get("Summaries", ())
            if not page.get("NextToken"):
                return
            more = {"NextToken": page["NextToken"]}


def create_instances(
    stack_set: StackSet, set_id: str, operation_id: str, targets: Targets, arguments: Mapping[str, Any]
) -> Work:
    """Create the instances that are missing in the targets; CloudFormation updates those that are there."""
    return start_operation(
        stack_set,
        set_id,
        f"creating instances of {stack_set.what}",
        operation_id,
        lambda more: stack_set.cloudformation.create_stack_instances(
            **more, **targets.arguments(), **arguments
        ),
    )


def start_operation(
    stack_set: StackSet, set_id: str, doing: str, operation_id: str, send: Callable[[dict[str, Any]], Any]
) -> Work:
    """Start an operation that gets the id; `send` makes the request with the arguments that every operation has.

    Raises:
        ActionFailed: CloudFormation refused, or did not answer.
    """
    from botocore.exceptions import ClientError

    with translated(doing):
        try:
            answer = send({**stack_set.named(), "OperationId": operation_id})
        except ClientError as error:
            code = error_code(error)
            if code == "OperationInProgressException":
                raise ActionFailed(
                    f"{doing}: another operation on it is in progress; retry the action when that has ended",
                    code="ConfigurationError",
                ) from error
            if code == "StackSetNotFoundException":
                raise ActionFailed(
                    f"{doing}: it was deleted in the meantime, not by this action", code="JobFailed"
                ) from error
            raise
    return Work(answer["OperationId"], stack_set.url(set_id))


def run_operation(
    stack_set: StackSet, set_id: str, step: str, operation_id: str, start: Callable[[], Work]
) -> Work:
    """Start an operation, or find what an earlier process started, and wait until it has ended well.

    Raises:
        ActionFailed: it could not be started, or it failed; names the instances that failed, and why.
    """
    work = started(stack_set.context, step, start, lambda: stack_set.find_operation(operation_id, set_id))
    work = Work(work.id, stack_set.url(set_id))
    state: dict[str, Any] = {}

    def look() -> Look:
        state.update(operation=stack_set.describe(work.id), results=stack_set.results(work.id))
        status = state["operation"]["Status"]
        summary, percent = _progress(state["results"])
        return Look(status in _ENDED, f"{summary}: {status}", percent)

    what = f"operation {work.id!r} of {stack_set.what}"
    following = Following(what, work, look, lambda: _stop(stack_set, work), requests=2)
    follow(following, stack_set.context)
    why = _failures(state["results"])
    if state["operation"]["Status"] != "SUCCEEDED":
        reason = why or state["operation"].get("StatusReason") or "CloudFormation gives no reason"
        raise failed(f"{what} ended as {state['operation']['Status']}: {reason}", work)
    if why:
        stack_set.context.logger.warning("Within the failure tolerance of %s: %s", what, why)
    return work


def _stop(stack_set: StackSet, work: Work) -> str:
    from botocore.exceptions import ClientError

    with translated(f"stopping operation {work.id!r} of {stack_set.what}"):
        try:
            stack_set.cloudformation.stop_stack_set_operation(**stack_set.named(), OperationId=work.id)
        except ClientError as error:
            # It has ended, or it is gone.
            if error_code(error) in (*_GONE, "InvalidOperationException"):
                return ""
            raise
    return (
        f"the operation on {stack_set.what} is stopped: CloudFormation begins with no further instance, and finishes "
        "those in progress"
    )


def _progress(results: list[Mapping[str, Any]]) -> tuple[str, int | None]:
    if not results:
        return "no instances yet", None
    count = Counter(each["Status"] for each in results)
    done = count["SUCCEEDED"] + count["FAILED"] + count["CANCELLED"]
    summary = f"{done} of {len(results)} instances"
    if count["FAILED"]:
        summary += f", {count['FAILED']} failed"
    return summary, 100 * done // len(results)


def _failures(results: list[Mapping[str, Any]]) -> str:
    """Which instances failed, and why; empty if none did. What was cancelled because of them does not count."""
    bad = [each for each in results if each["Status"] == "FAILED"]
    bad = bad or [each for each in results if each["Status"] == "CANCELLED"]
    if not bad:
        return ""
    shown = "; ".join(
        f"{each.get('Account')} in {each.get('Region')}: {each.get('StatusReason') or 'no reason given'}"
        for each in bad[:_MOST_SHOWN]
    )
    more = f"; and {len(bad) - _MOST_SHOWN} more" if len(bad) > _MOST_SHOWN else ""
    verb = "failed" if bad[0]["Status"] == "FAILED" else "were cancelled"
    return f"{len(bad)} of {len(results)} instances {verb}: {shown}{more}"
