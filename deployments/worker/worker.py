"""The Prefect worker of type `codepipeline`: flow runs are forked from a fork server and picked up at once.

Prefect's process worker starts a new Python for each run, whose imports take seconds, and polls for work on a timer.
This worker also polls when it receives one of Prefect's events.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from typing import TYPE_CHECKING, Any

import anyio
import anyio.abc
from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventAnyResourceFilter, EventFilter, EventNameFilter
from prefect.exceptions import InfrastructureNotFound
from prefect.logging import get_logger
from prefect.workers.base import BaseVariables, BaseWorker, BaseWorkerResult
from pydantic import Field

from prefect_codepipeline.actions.commands.hidden_environment import hide_environment
from prefect_codepipeline.deployments.worker.execution import Executions, Launch
from prefect_codepipeline.deployments.worker.fork_client import ForkClient
from prefect_codepipeline.deployments.worker.prefect_internals import (
    OpenConfiguration,
    OpenWorker,
    usual_command,
)
from prefect_codepipeline.errors import CodePipelineError

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.schemas.objects import FlowRun

_logger = get_logger("codepipeline.worker")
_WAKING_EVENTS = [
    "prefect.flow-run.Scheduled",
    "prefect.flow-run.Resuming",
    "prefect.flow-run.AwaitingRetry",
]
_GRACE_SECONDS = 3.0


class WarmJobConfiguration(OpenConfiguration):
    """The folder of a flow run's process; its environment is Prefect's field `env`."""

    working_dir: str | None = Field(default=None, description="The folder in which the flow run starts.")


class WarmVariables(BaseVariables):
    """The settings of a work pool of type `codepipeline`."""

    working_dir: str | None = Field(
        default=None,
        title="Working Directory",
        description="The folder in which the flow run starts; if empty, a temporary folder that is removed afterwards.",
    )


class WarmWorkerResult(BaseWorkerResult):
    """The exit code of a flow run's process."""


class CodePipelineWorker(OpenWorker, BaseWorker[WarmJobConfiguration, WarmVariables, WarmWorkerResult]):
    """Forks flow runs from a process that has imported Prefect and CodePipeline.

    A run has one process at a time: if a run is rescheduled before its process has ended, it starts after that.
    When the worker stops, its runs stop too: they get 3 s to clean up, and Prefect displays them as Crashed.
    """

    type = "codepipeline"
    job_configuration = WarmJobConfiguration
    job_configuration_variables = WarmVariables
    _display_name = "CodePipeline"
    _description = "Runs flows in processes forked from a fork server; they start in well under a second."

    async def setup(self) -> None:
        """Start the fork server and, at the same time, the parts of every Prefect worker."""
        hide_environment()
        self._fork_client = ForkClient()
        self._executions = Executions(self._fork_client)
        self._wanted = asyncio.Event()
        self._polling = anyio.Lock()
        warming = asyncio.create_task(self._fork_client.ready())
        try:
            await super().setup()
            await warming
            await self.keep(self._executions)
        except BaseException:
            warming.cancel()
            await self._fork_client.stop()
            raise
        self._watchers = [asyncio.create_task(self._hear()), asyncio.create_task(self._look())]

    async def teardown(self, *exc_info: Any) -> None:
        """End all runs that are still running, then the fork server."""
        for watcher in self._watchers:
            watcher.cancel()
        await self._executions.end_all(_GRACE_SECONDS)
        await self._fork_client.stop()
        with anyio.move_on_after(1):  # until their end is reported to Prefect
            while self._executions.launches:
                await anyio.sleep(0.02)
        await super().teardown(*exc_info)

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Poll for work. Locked, because an event and the timer may poll at the same time."""
        async with self._polling:
            return await super().get_and_submit_flow_runs()

    async def prepare(self) -> None:
        """Look whether the fork server has the current code."""
        await self._fork_client.ready()

    async def run(
        self,
        flow_run: FlowRun,
        configuration: WarmJobConfiguration,
        task_status: anyio.abc.TaskStatus[int] | None = None,
    ) -> WarmWorkerResult:
        """Run one flow run until its process ends."""
        status = task_status or anyio.TASK_STATUS_IGNORED
        _ = self.prepared  # Prefect's executor would hide the reason of a failure
        launch = self._executions.launches[flow_run.id] = self._launch(flow_run, configuration)
        try:
            executor = self._executions.executor(flow_run)
            result = await executor.submit(task_status=_PidReport(status))  # type: ignore[arg-type]
        finally:
            if launch.is_own:
                await asyncio.to_thread(shutil.rmtree, launch.folder, ignore_errors=True)
        if result is None:  # it was not started; the reason is reported to Prefect
            status.started(0)
            return WarmWorkerResult(status_code=0, identifier=str(flow_run.id))
        return WarmWorkerResult(status_code=result.status_code or 0, identifier=str(result.handle.pid))

    async def kill_infrastructure(
        self, infrastructure_pid: str, configuration: WarmJobConfiguration, grace_seconds: int = 30
    ) -> None:
        """End the process of a run that was cancelled before it started."""
        if not await self._executions.end_process(infrastructure_pid, grace_seconds):
            raise InfrastructureNotFound(f"process {infrastructure_pid} is not a process of this worker")

    def _launch(self, flow_run: FlowRun, configuration: WarmJobConfiguration) -> Launch:
        environment = {**os.environ, **configuration.env, "PREFECT__FLOW_RUN_ID": str(flow_run.id)}
        given = {key: value for key, value in environment.items() if value is not None}
        if configuration.working_dir and not os.path.isdir(configuration.working_dir):
            raise CodePipelineError(
                f"flow run {flow_run.name!r} cannot start in {configuration.working_dir!r} (job variable `working_dir`): "
                "not a folder on this machine"
            )
        folder = configuration.working_dir or tempfile.mkdtemp(prefix="codepipeline-flow-")
        usual = usual_command(configuration)
        command = configuration.command if configuration.command != usual else None
        return Launch(given, folder, not configuration.working_dir, command, configuration.entrypoint)

    async def _hear(self) -> None:
        """Wait for the events of Prefect that announce work."""
        while True:
            try:
                while not self.work_pool_id:
                    await asyncio.sleep(0.2)
                wanted = EventFilter(
                    event=EventNameFilter(name=_WAKING_EVENTS),
                    any_resource=EventAnyResourceFilter(id=[f"prefect.work-pool.{self.work_pool_id}"]),
                )
                async with get_events_subscriber(filter=wanted) as events:
                    self._wanted.set()
                    async for _ in events:
                        self._wanted.set()
            except Exception as error:  # the timer still polls
                _logger.debug("event subscription interrupted, retrying: %r", error)
                await asyncio.sleep(1)

    async def _look(self) -> None:
        """Poll for work after events; several events at once cause one poll."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                await self.get_and_submit_flow_runs()
            except Exception as error:  # the timer polls again
                _logger.debug("could not poll for work: %r", error)

    def may_start(self, flow_run: FlowRun) -> bool:
        """False while its process has not ended yet: Prefect keeps one process and one slot for each run."""
        launch = self._executions.launches.get(flow_run.id)
        if launch is None:
            return True
        if launch.outstays() and self.can_start_soon:
            self.start_soon(self._executions.end_superseded, flow_run.id, _GRACE_SECONDS)
        return False

    def slot_is_free(self, flow_run_id: UUID) -> None:
        """Remove the run's launch, and poll if another run may wait for the slot."""
        if self._executions.launches.pop(flow_run_id, None):
            self._wanted.set()


class _PidReport:
    """Reports the pid of a process as soon as it has started."""

    def __init__(self, status: anyio.abc.TaskStatus[int]) -> None:
        self._status = status

    def started(self, handle: Any) -> None:
        self._status.started(handle.pid)
