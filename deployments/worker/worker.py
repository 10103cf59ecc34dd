"""The Prefect worker of type `codepipeline`: flow runs are forked from a fork server and picked up at once.

Prefect's process worker starts a new Python for each run, whose imports take seconds, and polls for work on a timer.
This worker also polls when it receives one of Prefect's events.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
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

from prefect_codepipeline.actions.commands.containers import remove_orphaned_containers
from prefect_codepipeline.actions.commands.hidden_environment import hide_environment
from prefect_codepipeline.deployments.observing.pages import serving_pages
from prefect_codepipeline.deployments.releases.record_format import check_record_format
from prefect_codepipeline.deployments.worker.execution import Executions, Launch
from prefect_codepipeline.deployments.worker.fork_client import ForkClient
from prefect_codepipeline.deployments.worker.prefect_internals import (
    OpenConfiguration,
    OpenWorker,
    usual_command,
)
from prefect_codepipeline.deployments.worker.sockets import (
    are_refused,
    do_without_if_refused,
    send_credentials,
)
from prefect_codepipeline.errors import CodePipelineError
from prefect_codepipeline.prefect_api.settings import api_settings

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
_REFUSED_SECONDS = 60.0
_SWEEP_SECONDS = 60.0
_CACHES_SECONDS = 3600.0


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

    async def start(self, *arguments: Any, **options: Any) -> None:
        """Work until the end; exit with a sentence if this worker must not or cannot begin."""
        try:
            await super().start(*arguments, **options)
        except CodePipelineError as error:
            raise SystemExit(f"codepipeline worker: {error}") from None

    async def setup(self) -> None:
        """Start the fork server and, at the same time, the parts of every Prefect worker."""
        if sys.platform == "win32":
            raise CodePipelineError(
                "a worker of type 'codepipeline' cannot run on Windows, which cannot fork processes, and pipelines and "
                "their actions are refused there; start the worker on Linux or macOS"
            )
        # Not where the module is imported: it needs what Windows has not.
        from prefect_codepipeline.deployments.local.api_url import embedded_secret

        hide_environment()
        if embedded_secret() is None:  # the embedded server has no proxy, and its password may change
            send_credentials()
        self._fork_client = ForkClient()
        self._executions = Executions(self._fork_client)
        self._wanted = asyncio.Event()
        self._polling = anyio.Lock()
        warming = asyncio.create_task(self._fork_client.ready())
        try:
            if api_settings().url:  # without one, Prefect says what is missing
                await asyncio.to_thread(check_record_format)
                if sentence := await do_without_if_refused():
                    _logger.warning("work is found by polling, every few seconds: %s", sentence)
            await super().setup()
            await warming
            await self.keep(self._executions)
            await self.keep(_Pages(self._executions))
        except BaseException:
            warming.cancel()
            await self._fork_client.stop()
            raise
        beside = (self._hear(), self._look(), _sweep_containers(), _prune_caches())
        self._watchers = [asyncio.create_task(each) for each in beside]

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
                await asyncio.sleep(_REFUSED_SECONDS if are_refused() else 1)

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


class _Pages(contextlib.AbstractAsyncContextManager["_Pages"]):
    """`/health` and `/metrics` of the worker, as long as it runs."""

    def __init__(self, executions: Executions) -> None:
        self._executions = executions
        self._pages = serving_pages(lambda: (True, f"runs {len(executions.launches)} flow runs"))

    async def __aenter__(self) -> _Pages:
        if self._pages.__enter__():
            from prefect_codepipeline.deployments.observing.workers import show_launches

            show_launches(self._executions.launches)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await asyncio.to_thread(self._pages.__exit__, None, None, None)


async def _sweep_containers() -> None:
    """Remove the containers of dead workers, each minute: only a process on the same machine can."""
    while True:
        await asyncio.sleep(_SWEEP_SECONDS)
        try:
            if removed := await asyncio.to_thread(remove_orphaned_containers):
                _logger.info("removed %s containers of workers that have ended", removed)
        except Exception as error:  # the engine may answer anything; the next sweep asks it again
            _logger.debug("containers of dead workers could not be removed: %r", error)


async def _prune_caches() -> None:
    """Keep the caches of this machine small enough; each hour."""
    while True:
        await asyncio.sleep(_CACHES_SECONDS)
        # Not at the start of a worker: what it imports takes time.
        from prefect_codepipeline.engine.retention.caches import prune_caches

        try:
            freed = await asyncio.to_thread(prune_caches)
        except (CodePipelineError, OSError) as error:
            _logger.warning("the caches of this machine could not be made smaller: %s", error)
            continue
        if freed.removed:
            _logger.info(
                "removed %s from the caches of this machine (%s bytes)", len(freed.removed), freed.bytes
            )


class _PidReport:
    """Reports the pid of a process as soon as it has started."""

    def __init__(self, status: anyio.abc.TaskStatus[int]) -> None:
        self._status = status

    def started(self, handle: Any) -> None:
        self._status.started(handle.pid)
