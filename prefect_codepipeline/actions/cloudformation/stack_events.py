"""The events of one operation on a stack: how far it is, how it ended, and what failed first.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from prefect_codepipeline.actions.aws.client import translated
from prefect_codepipeline.actions.cloudformation.stack import Stack

STACK = "AWS::CloudFormation::Stack"
_STARTS = ("CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "DELETE_IN_PROGRESS")
# Resources that were ended because another one had failed.
_FOLLOWS = ("Resource creation cancelled", "Resource update cancelled")
_DEEPEST_NESTING = 5
_CLOCKS_DIFFER = timedelta(minutes=1)
Event = Mapping[str, Any]


@dataclass
class Operation:
    """The operation on a stack that has this token, as far as its events have been read; the oldest is first.

    The token keeps events of other people's operations out. Of a service that shows no tokens, such as moto, the events
    of the latest operation are taken, unless that began before this action.
    """

    stack: Stack
    stack_id: str
    token: str
    began: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    events: list[Event] = field(default_factory=list)
    _without_tokens: bool = False
    _was_deleted: bool = False

    def read(self) -> None:
        """Read the new events: one request, unless there are more than a hundred."""
        with translated(f"reading the events of {self.stack.what}"):
            seen = list(self._newest_first())
        self._was_deleted |= any(
            self._is_own(event) and event["ResourceStatus"] == "DELETE_COMPLETE" for event in seen
        )
        mine = [event for event in seen if event.get("ClientRequestToken") == self.token]
        if mine:
            self.events += reversed(mine)
        elif not self.events or self._without_tokens:
            self._without_tokens = not any(event.get("ClientRequestToken") for event in seen)
            if self._without_tokens:
                self.events = self._latest(seen)

    @property
    def status(self) -> str:
        """The status in which the operation has ended, or that the stack was deleted meanwhile; empty until then."""
        if self._was_deleted:
            return "DELETE_COMPLETE"
        status = next((event["ResourceStatus"] for event in reversed(self.events) if self._is_own(event)), "")
        return "" if status.endswith("_IN_PROGRESS") else status

    def progress(self, total: int | None) -> tuple[str, int | None]:
        """How many resources are done and what is under way, and the percentage if `total` resources are expected."""
        latest = {e["LogicalResourceId"]: e for e in self.events if not self._is_own(e)}
        done = sum(event["ResourceStatus"].endswith("_COMPLETE") for event in latest.values())
        running = next((event for event in reversed(latest.values()) if _is_running(event)), None)
        count = f"{done} of {max(total, len(latest))}" if total else str(done)
        summary = f"{count} resources"
        if running:
            summary += f", {running['LogicalResourceId']} {running['ResourceStatus']}"
        return summary, 100 * done // max(total, len(latest)) if total else None

    def reason(self) -> str:
        """The first resource that failed, and why; it may be in a nested stack."""
        if self._was_deleted:
            return "it was deleted in the meantime, not by this action"
        return _first_failure(self.stack, self.stack_id, self.events) or self._own_reason()

    def _own_reason(self) -> str:
        reasons = (e.get("ResourceStatusReason", "") for e in reversed(self.events) if self._is_own(e))
        return next(filter(None, reasons), "CloudFormation gives no reason")

    def _newest_first(self) -> Iterator[Event]:
        known = {event["EventId"] for event in self.events}
        pages = self.stack.client.get_paginator("describe_stack_events").paginate(StackName=self.stack_id)
        for page in pages:
            for event in page["StackEvents"]:
                if event["EventId"] in known and not self._without_tokens:
                    return
                yield event
                if event.get("ClientRequestToken") == self.token and self._is_start(event):
                    return

    def _latest(self, seen: list[Event]) -> list[Event]:
        start = next((index for index, event in enumerate(seen) if self._is_start(event)), None)
        if start is None or seen[start]["Timestamp"] < self.began - _CLOCKS_DIFFER:
            return []
        return seen[start::-1]

    def _is_start(self, event: Event) -> bool:
        return self._is_own(event) and event["ResourceStatus"] in _STARTS

    def _is_own(self, event: Event) -> bool:
        """Whether an event is about the stack itself."""
        return event.get("PhysicalResourceId") == self.stack_id and event.get("ResourceType") == STACK


def _is_running(event: Event) -> bool:
    return str(event["ResourceStatus"]).endswith("_IN_PROGRESS")


def _first_failure(stack: Stack, stack_id: str, events: list[Event], depth: int = 0) -> str:
    for event in events:
        reason = event.get("ResourceStatusReason") or "no reason given"
        is_stack_itself = event.get("PhysicalResourceId") == stack_id
        if not event["ResourceStatus"].endswith("_FAILED") or is_stack_itself or reason.startswith(_FOLLOWS):
            continue
        within = _in_nested_stack(stack, event, depth)
        what = f"{event['LogicalResourceId']} ({event.get('ResourceType')}) {event['ResourceStatus']}"
        return f"{event['LogicalResourceId']} / {within}" if within else f"{what}: {reason}"
    return ""


def _in_nested_stack(stack: Stack, event: Event, depth: int) -> str:
    nested_id = event.get("PhysicalResourceId") or ""
    if event.get("ResourceType") != STACK or not nested_id.startswith("arn:") or depth >= _DEEPEST_NESTING:
        return ""
    with translated(f"reading the events of nested stack {event['LogicalResourceId']!r} of {stack.what}"):
        pages = stack.client.get_paginator("describe_stack_events").paginate(StackName=nested_id)
        events = [each for page in pages for each in page["StackEvents"]]
    token = event.get("ClientRequestToken")
    mine = [each for each in reversed(events) if each.get("ClientRequestToken") == token]
    return _first_failure(stack, nested_id, mine, depth + 1)
