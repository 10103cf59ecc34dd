"""One look at everything that may have changed: a few short questions, however many pipelines there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from prefect_codepipeline.engine.executions import gate
from prefect_codepipeline.engine.executions.gate_state import Gates
from prefect_codepipeline.engine.executions.run_lists import Run, all_ended_since, all_in_flight
from prefect_codepipeline.engine.operations.projection import signs_of_everything
from prefect_codepipeline.prefect_api.client import moment
from prefect_codepipeline.prefect_api.leases import server_time
from prefect_codepipeline.prefect_api.together import together

# The end of a run can be read a little after its time, when the database has written it.
_WRITING = timedelta(seconds=10)


@dataclass(frozen=True)
class Look:
    """What Prefect said at one moment.

    Attributes:
        in_flight: the flow runs of all executions that have not ended, by id.
        ended: those that ended since the look before.
        gates: the gates of all pipelines that have any, by the pipeline's name.
        signs: a text that changes when a pipeline is created, updated or deleted.
        ended_until: the latest end that was seen, by the server's clock.
    """

    in_flight: Mapping[str, Run]
    ended: list[Run]
    gates: Mapping[str, Gates]
    signs: str
    ended_until: datetime

    @property
    def latest_of_each(self) -> dict[str, Run]:
        """The runs by id. One may have been retried or have ended between the two questions: then as it was later."""
        found = {run["id"]: run for run in self.ended}
        for run_id, run in self.in_flight.items():
            there = found.get(run_id)
            if there is None or moment(run["state"]["timestamp"]) > moment(there["state"]["timestamp"]):
                found[run_id] = run
        return found

    def gates_of(self, pipeline_name: str) -> Gates:
        """The gates of one pipeline."""
        return self.gates.get(pipeline_name) or Gates()


def look(ended_since: datetime | None = None) -> Look:
    """Look, and find all that ended since that time, or since now."""
    ended_since = ended_since or server_time()
    parts: list[Callable[[], Any]] = [
        all_in_flight,
        partial(all_ended_since, ended_since - _WRITING),
        gate.read_all_gates,
        signs_of_everything,
    ]
    in_flight, ended, gates, signs = together(parts)
    latest = max((moment(run["end_time"]) for run in ended), default=ended_since)
    return Look({run["id"]: run for run in in_flight}, ended, gates, signs, max(latest, ended_since))
