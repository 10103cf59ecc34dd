"""What a channel receives."""

from __future__ import annotations

from dataclasses import dataclass

from prefect_codepipeline.model.record.events import StateChange
from prefect_codepipeline.model.record.notification_rules import (
    NotificationRule,
    channels_of_approvals,
    is_of_approval,
)
from prefect_codepipeline.model.stored.settings import StoredSettings


@dataclass(frozen=True)
class Wants:
    """What one channel receives about an execution: its status message, its approvals, the events that rules name."""

    living_message: bool = True
    approvals: bool = True
    rules: tuple[NotificationRule, ...] = ()

    def wants(self, change: StateChange) -> bool:
        """Whether the event gets its own message. A requested approval does not: its message with buttons reports it."""
        is_asked = is_of_approval(change) and change.state == "STARTED" and self.approvals
        return not is_asked and any(rule.names(change) for rule in self.rules)


EVERYTHING = Wants()


def wants_of(settings: StoredSettings) -> dict[str, Wants]:
    """What each channel of a pipeline receives, by the name of its block; the default channel comes first."""
    rules = [rule for rule in settings.notifications if rule.slack_channel]
    names = [settings.slack_channel, *(rule.slack_channel for rule in rules)]
    approvals = channels_of_approvals(rules, settings.slack_channel)
    return {
        name: Wants(
            living_message=name == settings.slack_channel,
            approvals=name in approvals,
            rules=tuple(rule for rule in rules if rule.slack_channel == name),
        )
        for name in names
        if name
    }
