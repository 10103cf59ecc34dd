"""The Prefect worker of type `codepipeline`: flow runs are forked from a warm process and picked up at once.

Prefect's process worker starts a fresh Python for each run, which imports for seconds, and looks for work on a timer.
This one is told by Prefect's events, and looks on the timer too. What it takes from Prefect's inside is imported here
and nowhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.abc
from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventAnyResourceFilter, EventFilter, EventNameFilter
from prefect.flows import load_flow_from_flow_run
from prefect.logging import get_logger
from prefect.runner._flow_run_executor import FlowRunExecutorContext
from prefect.runner._process_manager import ProcessHandle, create_isolated_termination_scope
from prefect.workers.base import BaseJobConfiguration, BaseVariables, BaseWorker, BaseWorkerResult
from pydantic import Field

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

_logger = get_logger("codepipeline.worker")
_WAKING_EVENTS = [
    "prefect.flow-run.Scheduled",
    "prefect.flow-run.Resuming",
    "prefect.flow-run.AwaitingRetry",
]
_ZYGOTE_GONE = -9


class WarmJobConfiguration(BaseJobConfiguration):
    """Where a flow run's process starts; its environment is Prefect's own field `env`."""

    working_dir: str | None = Field(default=None, description="The folder the flow run starts in.")


class WarmVariables(BaseVariables):
    """The settings of a work pool of type `codepipeline`."""

    working_dir: str | None = Field(
        default=None, title="Working Directory", description="The folder the flow run starts in."
    )


class WarmWorkerResult(BaseWorkerResult):
    """How a flow run's process ended."""


class CodePipelineWorker(BaseWorker[WarmJobConfiguration, WarmVariables, WarmWorkerResult]):
    """Forks flow runs from a process that has Prefect and CodePipeline imported."""

    type = "codepipeline"
    job_configuration = WarmJobConfiguration
    job_configuration_variables = WarmVariables
    _display_name = "CodePipeline"
    _description = "Runs flows in processes forked from a warm one; starts in well under a second."

    async def setup(self) -> None:
        """Start the warm process, then what every worker has."""
        self._folder = Path(tempfile.mkdtemp(prefix="codepipeline-worker-"))
        self._zygote = _Zygote(self._folder)
        try:
            await self._zygote.start()
        except BaseException:  # stopped before it was ready: nothing is torn down that was not set up
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        self._executors = FlowRunExecutorContext()
        self._polling = anyio.Lock()
        await super().setup()
        await self._exit_stack.enter_async_context(self._executors)
        self._waker = asyncio.create_task(self._wake_on_events())

    async def teardown(self, *exc_info: Any) -> None:
        """End the warm process, and with it every run that is still going."""
        self._waker.cancel()
        # A signal has cancelled this task by now; without a shield nothing here would be awaited.
        with anyio.CancelScope(shield=True):
            await self._zygote.stop()
        shutil.rmtree(self._folder, ignore_errors=True)
        await super().teardown(*exc_info)

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Look for work; an event and the timer may ask at the same time."""
        async with self._polling:
            return await super().get_and_submit_flow_runs()

    async def run(
        self,
        flow_run: FlowRun,
        configuration: WarmJobConfiguration,
        task_status: anyio.abc.TaskStatus[int] | None = None,
    ) -> WarmWorkerResult:
        """Run one flow run to the end of its process."""
        environment = {
            **os.environ,
            **{key: value for key, value in configuration.env.items() if value is not None},
        }
        starter = _Forked(
            self._zygote, environment, configuration.working_dir, self._executors.control_channel
        )
        executor = self._executors.create_executor(
            flow_run, starter, resolve_flow=load_flow_from_flow_run, propose_submitting=False
        )
        results: list[Any] = []

        async def execute(*, task_status: anyio.abc.TaskStatus[Any] = anyio.TASK_STATUS_IGNORED) -> None:
            results.append(await executor.submit(task_status=task_status))

        async with anyio.create_task_group() as group:
            group.start_soon(execute)
            if task_status:
                task_status.started(0)
        result = results[0]
        code = result.status_code if result and result.status_code is not None else 1
        return WarmWorkerResult(status_code=code, identifier=str(flow_run.id))

    async def _wake_on_events(self) -> None:
        while True:
            try:
                pool = f"prefect.work-pool.{self._work_pool.id}" if self._work_pool else None
                if pool is None:
                    await asyncio.sleep(0.2)
                    continue
                wanted = EventFilter(
                    event=EventNameFilter(name=_WAKING_EVENTS),
                    any_resource=EventAnyResourceFilter(id=[pool]),
                )
                async with get_events_subscriber(filter=wanted) as events:
                    async for _ in events:
                        if self._runs_task_group:
                            self._runs_task_group.start_soon(self.get_and_submit_flow_runs)
            except Exception as error:  # the timer still finds the work
                _logger.debug("events are not heard for a moment: %r", error)
                await asyncio.sleep(1)


class _Process:
    """What Prefect's process manager wants to know of a process that somebody else started."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None


class _Forked:
    """Starts one flow run in a fork of the zygote and waits for its end."""

    def __init__(
        self, zygote: _Zygote, environment: dict[str, str], folder: str | None, channel: Any
    ) -> None:
        self._zygote = zygote
        self._environment = environment
        self._folder = folder
        self._channel = channel

    async def start(
        self, flow_run: FlowRun, task_status: anyio.abc.TaskStatus[ProcessHandle] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        port, token = self._channel.register(flow_run.id)
        control = {"PREFECT__CONTROL_PORT": str(port), "PREFECT__CONTROL_TOKEN": token}
        environment = {**self._environment, "PREFECT__FLOW_RUN_ID": str(flow_run.id), **control}
        reader, writer = await self._zygote.connect()
        try:
            request = {"id": str(flow_run.id), "env": environment, "cwd": self._folder}
            writer.write(json.dumps(request).encode() + b"\n")
            await writer.drain()
            process = _Process(json.loads(await reader.readline())["pid"])
            task_status.started(ProcessHandle(process, create_isolated_termination_scope(process.pid)))  # type: ignore[arg-type]
            line = await reader.readline()
            process.returncode = json.loads(line)["exit"] if line else _ZYGOTE_GONE
        finally:
            writer.close()


class _Zygote:
    """The warm process; started again when it has died."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._process: asyncio.subprocess.Process | None = None
        self._starting = asyncio.Lock()

    async def start(self) -> None:
        self._count += 1
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "prefect_codepipeline.deployments.zygote",
            self._path,
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdout, "asked for above"
        if await self._process.stdout.readline() != b"ready\n":
            raise RuntimeError("the warm process did not start; the worker's log says why")

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with self._starting:
            if self._process is None or self._process.returncode is not None:
                await self.start()
        return await asyncio.open_unix_connection(self._path)

    async def stop(self) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        await self._process.wait()

    @property
    def _path(self) -> str:
        return str(self._folder / f"zygote-{self._count}")
