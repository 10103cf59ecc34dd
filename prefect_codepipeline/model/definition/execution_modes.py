"""Who enters a stage, who waits, and who is superseded: the decision about one gate, as values.

A gate stands in front of each stage of a SUPERSEDED or QUEUED pipeline; PARALLEL pipelines have none.
https://docs.aws.amazon.com/codepipeline/latest/userguide/concepts-how-it-works.html#concepts-how-it-works-executions
"""

from __future__ import annotations

from dataclasses import dataclass

from prefect_codepipeline.model.definition.declaration import ExecutionMode

MAX_EXECUTIONS_IN_FLIGHT = 50
MAX_PARALLEL_ACTIONS = 5


@dataclass(frozen=True)
class Ticket:
    """An execution that waits at a gate.

    `visit` counts its visits: each retry of the stage is another one. `started` orders executions by their start, as a
    text that sorts. A rollback puts a stage right again, so it goes first and nothing supersedes it.
    """

    execution: str
    visit: int
    started: str
    is_rollback: bool = False


@dataclass(frozen=True)
class Gate:
    """A gate as it stands; `tickets` in the order of arrival, `is_open` is False while a transition is disabled."""

    mode: ExecutionMode
    holder: str | None = None
    is_open: bool = True
    tickets: tuple[Ticket, ...] = ()

    @property
    def head(self) -> Ticket | None:
        """Whose turn is next: the first come when QUEUED, the newest execution when SUPERSEDED."""
        rollbacks = [ticket for ticket in self.tickets if ticket.is_rollback]
        if rollbacks:
            return rollbacks[0]
        if self.mode == "SUPERSEDED":
            return self._newest
        return self.tickets[0] if self.tickets else None

    def may_enter(self, execution: str) -> bool:
        """Whether the execution may try the lock now; only the head may, or a newcomer would overtake it."""
        head = self.head
        return self.is_open and self.holder is None and head is not None and head.execution == execution

    def superseded_by(self, execution: str) -> str | None:
        """The newer execution that waits here too, in whose favour this one gives up."""
        newest = self._newest
        if self.mode != "SUPERSEDED" or newest is None or newest.execution == execution:
            return None
        own = next((ticket for ticket in self.tickets if ticket.execution == execution), None)
        return newest.execution if own and not own.is_rollback else None

    @property
    def superseded(self) -> list[str]:
        """Every execution that waits here in vain."""
        return [ticket.execution for ticket in self.tickets if self.superseded_by(ticket.execution)]

    @property
    def _newest(self) -> Ticket | None:
        standard = (ticket for ticket in self.tickets if not ticket.is_rollback)
        return max(standard, key=lambda ticket: (ticket.started, ticket.execution), default=None)
