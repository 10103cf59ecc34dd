"""The gates of a pipeline at one moment, as the Prefect variables say: who is inside, who waits, which transitions are disabled."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from prefect_codepipeline.model.definition.declaration import ExecutionMode
from prefect_codepipeline.model.definition.execution_modes import Gate, Ticket
from prefect_codepipeline.prefect_api.variables import Variable

TransitionType = Literal["Inbound", "Outbound"]


@dataclass(frozen=True)
class Visit:
    """One execution in front of one stage.

    `previous_stage` is the stage whose outbound transition must be enabled too; `number` is the attempt of the stage.
    """

    pipeline: str
    stage: str
    previous_stage: str | None
    mode: ExecutionMode
    execution: str
    number: int
    started: str
    is_rollback: bool = False


@dataclass(frozen=True)
class Transition:
    """The state of a transition, as `GetPipelineState` returns it."""

    enabled: bool
    changed_by: str
    changed_at: datetime
    reason: str = ""


@dataclass(frozen=True)
class Gates:
    """The gates of a pipeline at one moment."""

    variables: list[Variable] = field(default_factory=list)

    def gate(self, visit: Visit) -> Gate:
        """The gate as the execution of a visit sees it."""
        return Gate(
            visit.mode,
            self.holder(visit.stage),
            self.lets_pass(visit.stage, visit.previous_stage),
            tuple(self.tickets(visit.stage)),
        )

    def awaited(self, stage: str) -> Gate | None:
        """The gate as the waiting executions see it, or None if no execution waits at the stage."""
        waiting = self._of("ticket", stage)
        if not waiting:
            return None
        value = waiting[-1]["value"]
        return Gate(
            value["mode"],
            self.holder(stage),
            self.lets_pass(stage, value["previous_stage"]),
            tuple(self.tickets(stage)),
        )

    def holder(self, stage: str) -> str | None:
        """The id of the execution that holds the stage's lock."""
        lock = self.lock(stage)
        return str(lock["value"]["execution"]) if lock else None

    def lock(self, stage: str) -> Variable | None:
        return next(iter(self._of("lock", stage)), None)

    def own_lock(self, visit: Visit) -> Variable | None:
        """The lock of the visit's stage if the visit's execution holds it."""
        lock = self.lock(visit.stage)
        return lock if lock and lock["value"]["execution"] == visit.execution else None

    def gate_if_free(self, visit: Visit) -> Gate:
        """The gate as it would be if the stage were not locked."""
        return replace(self.gate(visit), holder=None)

    def tickets(self, stage: str) -> list[Ticket]:
        """The executions that wait at the stage, in the order of arrival."""
        arrived = sorted(
            self._of("ticket", stage), key=lambda variable: (variable["created"], variable["id"])
        )
        latest: dict[str, Ticket] = {}
        for variable in arrived:
            value = variable["value"]
            latest.pop(value["execution"], None)
            latest[value["execution"]] = Ticket(
                value["execution"], value["visit"], value["started"], value["is_rollback"]
            )
        return list(latest.values())

    def waiting_since(self, stage: str, before: str) -> bool:
        """Whether an execution waits at the stage that arrived before that time."""
        return any(
            datetime.fromisoformat(ticket["created"]) < datetime.fromisoformat(before)
            for ticket in self._of("ticket", stage)
        )

    def transition(self, stage: str, kind: TransitionType) -> Transition | None:
        """The transition as it was last set, or None if it was never set; it is enabled then."""
        found = next(iter(self._of(kind.lower(), stage)), None)
        if found is None:
            return None
        value = found["value"]
        at = datetime.fromisoformat(value["at"])
        return Transition(value["enabled"], value["by"], at, value["reason"])

    def latest(self, stage: str) -> str | None:
        """The id of the execution that entered the stage last; None if none has failed there yet, so that none is noted."""
        found = next(iter(self._of("latest", stage)), None)
        return str(found["value"]["execution"]) if found else None

    def of_execution(self, execution_id: str) -> list[Variable]:
        """The locks and tickets of one execution."""
        return [
            variable
            for variable in self.variables
            if variable["value"]["kind"] in ("lock", "ticket")
            and variable["value"].get("execution") == execution_id
        ]

    @property
    def stages(self) -> list[str]:
        return sorted({variable["value"]["stage"] for variable in self.variables})

    def lets_pass(self, stage: str, previous_stage: str | None) -> bool:
        inbound = self.transition(stage, "Inbound")
        outbound = self.transition(previous_stage, "Outbound") if previous_stage else None
        return (inbound is None or inbound.enabled) and (outbound is None or outbound.enabled)

    def _of(self, kind: str, stage: str) -> list[Variable]:
        wanted = (kind, stage)
        return [v for v in self.variables if (v["value"]["kind"], v["value"]["stage"]) == wanted]
