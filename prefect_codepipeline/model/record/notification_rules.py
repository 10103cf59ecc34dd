"""Which events are sent where: AWS's notification rules, with AWS's event ids.

https://docs.aws.amazon.com/dtconsole/latest/userguide/concepts.html#events-ref-pipeline
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field, field_validator, model_validator

from prefect_codepipeline.model.problem import nearest
from prefect_codepipeline.model.record.events import EventState, Level, StateChange
from prefect_codepipeline.model.records import Record

_PREFIX = "codepipeline-pipeline-"
_STATES: dict[Level, tuple[EventState, ...]] = {
    "action": ("SUCCEEDED", "FAILED", "CANCELED", "STARTED"),
    "stage": ("STARTED", "SUCCEEDED", "RESUMED", "CANCELED", "FAILED"),
    "pipeline": ("FAILED", "CANCELED", "STARTED", "RESUMED", "SUCCEEDED", "SUPERSEDED"),
}
_APPROVAL_WORDS: dict[EventState, str] = {"STARTED": "needed", "FAILED": "failed", "SUCCEEDED": "succeeded"}
APPROVAL_NEEDED = f"{_PREFIX}manual-approval-needed"
# Every id that AWS has for pipelines. AWS has no id for a stop.
EVENT_TYPES = (
    *(f"{_PREFIX}{level}-execution-{state.lower()}" for level, states in _STATES.items() for state in states),
    *(f"{_PREFIX}manual-approval-{word}" for word in _APPROVAL_WORDS.values()),
)


class NotificationRule(Record):
    """The events that are sent to one Slack channel, one URL or both.

    `event_types` has AWS's ids. A `*` at the end matches any rest. `*` alone matches every state change, including
    those for which AWS has no id (a stop, an abandoned action).
    """

    event_types: tuple[str, ...] = Field(
        min_length=1,
        description="AWS's event ids, such as 'codepipeline-pipeline-pipeline-execution-failed'; a '*' at the end "
        "matches any rest.",
    )
    slack_channel: str | None = Field(
        None, description="Name of the SlackChannel block that gets a message for each of these events."
    )
    event_webhook: str | None = Field(
        None, description="Name of the EventWebhook block whose URL gets each of these events as JSON."
    )

    @field_validator("event_types")
    @classmethod
    def _check_event_types(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            if not any(_matches(pattern, known) for known in EVENT_TYPES):
                hint = nearest(pattern, EVENT_TYPES) or "docs/notifications.md lists them"
                raise ValueError(f"{pattern!r} is not an event of a pipeline; {hint}")
        return patterns

    @model_validator(mode="after")
    def _check_target(self) -> NotificationRule:
        if not self.slack_channel and not self.event_webhook:
            raise ValueError("a rule must have a slack_channel, an event_webhook or both")
        return self

    def names(self, change: StateChange) -> bool:
        """Whether the rule selects this state change."""
        return "*" in self.event_types or any(self.names_type(each) for each in event_types_of(change))

    def names_type(self, event_type: str) -> bool:
        """Whether the rule selects one of AWS's event ids."""
        return any(_matches(pattern, event_type) for pattern in self.event_types)


def event_types_of(change: StateChange) -> frozenset[str]:
    """AWS's event ids of one state change: zero or one, or two for a manual approval."""
    found = set()
    if change.state in _STATES[change.level]:
        found.add(f"{_PREFIX}{change.level}-execution-{change.state.lower()}")
    if is_of_approval(change) and change.state in _APPROVAL_WORDS:
        found.add(f"{_PREFIX}manual-approval-{_APPROVAL_WORDS[change.state]}")
    return frozenset(found)


def is_of_approval(change: StateChange) -> bool:
    """Whether the state change is of an action of category Approval."""
    return change.level == "action" and change.detail["type"]["category"] == "Approval"


def channels_of_approvals(rules: Iterable[NotificationRule], default: str | None) -> frozenset[str]:
    """The names of the Slack channels for approvals: those of rules that select approvals, otherwise the default.

    Args:
        rules: the notification rules of the pipeline.
        default: the `slack_channel` of the pipeline.
    """
    named = {rule.slack_channel for rule in rules if rule.slack_channel and rule.names_type(APPROVAL_NEEDED)}
    return frozenset(named or ({default} if default else ()))


def _matches(pattern: str, event_type: str) -> bool:
    return event_type.startswith(pattern[:-1]) if pattern.endswith("*") else pattern == event_type
