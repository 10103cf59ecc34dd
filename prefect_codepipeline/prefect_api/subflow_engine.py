"""Prefect's engine for subflows that exist already. Its methods are private to Prefect: see `internals.py`, which commands import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefect.client.schemas.objects import FlowRun, State
from prefect.flow_engine import FlowRunEngine

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.orchestration import SyncPrefectClient


def run_as(flow: Flow[..., Any], flow_run: FlowRun, parameters: dict[str, Any]) -> None:
    """Run a flow as an existing flow run, as Prefect's `run_flow` does, with two requests less if the run is Running."""
    engine = _EngineOfRunning(flow=flow, parameters=parameters, existing=flow_run)
    with engine.start():
        while engine.is_running():
            with engine.run_context():
                engine.call_flow_fn()


@dataclass
class _EngineOfRunning(FlowRunEngine[Any, Any]):
    existing: FlowRun | None = None

    def create_flow_run(self, client: SyncPrefectClient) -> FlowRun:
        """Instead of `FlowRunEngine.flow_run`, which makes the engine update the run with what it has already."""
        assert self.existing, "given by `run_as`"
        return self.existing

    def begin_run(self) -> State[Any]:
        """As in Prefect, but for a run that is Running already no state is proposed."""
        return self.state if self.state.is_running() else super().begin_run()
