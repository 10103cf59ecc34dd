"""Start, watch, cancel and report the processes of flow runs: Prefect's runner, shared by many runs."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import anyio
import anyio.abc
from prefect.client.schemas.objects import State
from prefect.logging import get_logger

from prefect_codepipeline.deployments.worker.prefect_internals import ForeignProcess, RunnerOfMany

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

    from prefect_codepipeline.deployments.worker.fork_client import ForkClient
    from prefect_codepipeline.deployments.worker.prefect_internals import Executor, Handle

# How long the old process of a rescheduled run may take to end by itself.
OVERLAP_SECONDS = 10.0
_logger = get_logger("codepipeline.worker")


@dataclass
class Launch:
    """How a run's process is started; `command` is None for Prefect's own engine.

    `is_own`: the folder was created for this run and is removed after it. `entrypoint`: where the flow is, if the worker
    knows that.
    """

    environment: dict[str, str]
    folder: str
    is_own: bool
    command: str | None = None
    entrypoint: str | None = None
    superseded_since: float | None = None

    def outstays(self) -> bool:
        """Called each time a poll finds the run rescheduled. True once, after the old process had time to end."""
        self.superseded_since = self.superseded_since or time.monotonic()
        if time.monotonic() - self.superseded_since < OVERLAP_SECONDS:
            return False
        self.superseded_since = float("inf")
        return True


class Executions(RunnerOfMany):
    """The runs of a worker, each with its launch and its process."""

    def __init__(self, client: ForkClient) -> None:
        self._fork_client = client
        self.launches: dict[UUID, Launch] = {}

    def executor(self, flow_run: FlowRun) -> Executor:
        """The executor of one run, whose launch must be in `launches`."""
        launch = self.launches[flow_run.id]
        hooks = _ForkedHooks(self._fork_client, self.launches)
        starter = _Forked(self._fork_client, launch, self.control_channel)
        return self.executor_of(flow_run, starter, hooks)

    async def end_superseded(self, flow_run_id: UUID, grace_seconds: float) -> None:
        """End the old process of a rescheduled run without changing the run's state."""
        _logger.warning("flow run '%s' is scheduled again; ending its old process", flow_run_id)
        await self.control_channel.signal(flow_run_id, "relinquish")
        await self.process_manager.kill(flow_run_id, grace_seconds)

    async def end_all(self, grace_seconds: float) -> None:
        """End all processes at the same time."""
        running = self.process_manager.flow_run_ids()
        await asyncio.gather(*(self.process_manager.kill(run, grace_seconds) for run in running))

    async def end_process(self, pid: str, grace_seconds: float) -> bool:
        """End the process with that pid. False if it is not a process of this worker."""
        for flow_run_id in self.process_manager.flow_run_ids():
            handle = self.process_manager.get(flow_run_id)
            if handle and str(handle.pid) == pid:
                await self.process_manager.kill(flow_run_id, grace_seconds)
                return True
        return False


class _Forked:
    """Starts one flow run in a fork of the fork server and waits for its end."""

    def __init__(self, client: ForkClient, launch: Launch, channel: Any) -> None:
        self._fork_client = client
        self._launch = launch
        self._channel = channel

    async def start(
        self, flow_run: FlowRun, task_status: anyio.abc.TaskStatus[Handle] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        port, token = self._channel.register(flow_run.id)
        control = {
            "PREFECT__CONTROL_PORT": str(port),
            "PREFECT__CONTROL_TOKEN": token,
            # The worker reports these ends and runs their hooks.
            "PREFECT__ENABLE_CANCELLATION_AND_CRASHED_HOOKS": "false",
        }
        launch = self._launch
        what = {"run": flow_run.model_dump_json(), "entrypoint": launch.entrypoint}
        if launch.command:
            what = {"command": launch.command}
        environment = {**launch.environment, **control}
        async with self._fork_client.fork(
            env=environment, cwd=launch.folder, own=launch.is_own, **what
        ) as child:
            process = ForeignProcess(child.pid)
            task_status.started(process.handle)
            process.returncode = await child.exit_code()


class _ForkedHooks:
    """Runs a flow's hooks in a fork too, because the worker itself never imports a flow."""

    def __init__(self, client: ForkClient, launches: dict[UUID, Launch]) -> None:
        self._fork_client = client
        self._launches = launches

    async def run_cancellation_hooks(self, flow_run: FlowRun, state: State[Any]) -> None:
        await self._run(flow_run, state)

    async def run_crashed_hooks(self, flow_run: FlowRun, state: State[Any]) -> None:
        await self._run(flow_run, state)

    async def _run(self, flow_run: FlowRun, state: State[Any]) -> None:
        launch = self._launches.get(flow_run.id)
        if launch is None or self._fork_client.stopped:
            return
        request = {"id": str(flow_run.id), "env": launch.environment, "cwd": launch.folder}
        hooks = state.model_dump_json(exclude={"data"})
        async with self._fork_client.fork(**request, own=launch.is_own, hooks=hooks) as child:
            if code := await child.exit_code():
                _logger.warning("the hooks of flow run '%s' ended with exit code %s", flow_run.id, code)
