"""How a flow run's process is started, watched, cancelled and reported: Prefect's runner, made fit to serve many runs.

What the warm worker takes from Prefect's inside (its modules that begin with `_`) is imported here and nowhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import anyio
import anyio.abc
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.flows import load_flow_from_flow_run
from prefect.logging import get_logger
from prefect.runner._cancellation_manager import CancellationManager
from prefect.runner._flow_run_executor import FlowRunExecutor, FlowRunExecutorContext
from prefect.runner._hook_runner import HookRunner
from prefect.runner._process_manager import (
    ProcessHandle,
    ProcessManager,
    create_isolated_termination_scope,
)
from prefect.runner._state_proposer import StateProposer

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun

    from prefect_codepipeline.deployments.warm_process import WarmProcess

# How long the process of a run that is scheduled again may take to end by itself.
OVERLAP_SECONDS = 10.0
_CANCEL_TRIES = 10
_logger = get_logger("codepipeline.worker")


@dataclass
class Launch:
    """With what a run's process is started; `command` is None for Prefect's own engine.

    `is_own`: the folder was made for this run and is removed after it.
    """

    environment: dict[str, str]
    folder: str
    is_own: bool
    command: str | None = None
    superseded_since: float | None = None

    def outstays(self) -> bool:
        """Asked whenever the run is seen scheduled again; True, once, when its process had time enough to end."""
        self.superseded_since = self.superseded_since or time.monotonic()
        if time.monotonic() - self.superseded_since < OVERLAP_SECONDS:
            return False
        self.superseded_since = float("inf")
        return True


class Executions(FlowRunExecutorContext):
    """What Prefect's runner has for one run, for all runs of a worker: so nothing may break it."""

    def __init__(self, warm: WarmProcess) -> None:
        self._warm = warm
        self.launches: dict[UUID, Launch] = {}

    async def __aenter__(self) -> Executions:
        await super().__aenter__()
        first = self.process_manager
        self.process_manager = _Processes(on_add=first._on_add, on_remove=first._on_remove)
        await self._stack.enter_async_context(self.process_manager)
        self._state_proposer = _CarefulProposer(client=self.client)
        self._cancellation_manager = _SturdyCancellation(
            process_manager=self.process_manager,
            hook_runner=self._hook_runner,
            state_proposer=self._state_proposer,
            event_emitter=self._event_emitter,
            client=self.client,
            control_channel=self.control_channel,
        )
        return self

    def executor(self, flow_run: FlowRun) -> FlowRunExecutor:
        """What runs one run whose launch is known."""
        launch = self.launches[flow_run.id]
        hooks = _ForkedHooks(self._warm, self.launches)
        starter = _Forked(self._warm, launch, self.control_channel)
        return self.create_executor(flow_run, starter, hook_runner=hooks, propose_submitting=False)

    async def end_superseded(self, flow_run_id: UUID, grace_seconds: float) -> None:
        """End a process whose run is scheduled again, and leave the run's state alone."""
        _logger.warning("flow run '%s' is scheduled again; its old process is ended", flow_run_id)
        await self.control_channel.signal(flow_run_id, "relinquish")
        await self.process_manager.kill(flow_run_id, grace_seconds)

    async def end_all(self, grace_seconds: float) -> None:
        """End every process, all at once."""
        running = self.process_manager.flow_run_ids()
        await asyncio.gather(*(self.process_manager.kill(run, grace_seconds) for run in running))

    async def end_process(self, pid: str, grace_seconds: float) -> bool:
        """End the process with that pid; False when it is not one of these."""
        for flow_run_id in self.process_manager.flow_run_ids():
            handle = self.process_manager.get(flow_run_id)
            if handle and str(handle.pid) == pid:
                await self.process_manager.kill(flow_run_id, grace_seconds)
                return True
        return False


def is_of_this_attempt(submitted: FlowRun, current: FlowRun) -> bool:
    """Whether a run still is what was submitted: not over, not suspended, not started or scheduled again."""
    if current.state is None or current.state.is_pending():
        return current.run_count == submitted.run_count
    if current.state.is_running():  # a resumed run keeps its count, any other counts up when it starts
        return current.run_count - submitted.run_count in (0, 1)
    return False


async def may_be_crashed(client: PrefectClient, flow_run: FlowRun) -> bool:
    """Whether a report that this attempt has crashed would overwrite nothing newer."""
    try:
        return is_of_this_attempt(flow_run, await client.read_flow_run(flow_run.id))
    except Exception as error:  # the report meets the same trouble, and logs it
        _logger.debug("could not read flow run '%s': %r", flow_run.id, error)
        return True


def run_hooks(flow_run_id: str, state: str) -> None:
    """Run the flow's hooks for a state (as JSON), in a process of their own with the run's environment."""

    async def run() -> None:
        reached: State[Any] = State.model_validate_json(state)
        async with get_client() as client:
            flow_run = await client.read_flow_run(UUID(flow_run_id))
        hooks = HookRunner(resolve_flow=load_flow_from_flow_run)
        await hooks.run_crashed_hooks(flow_run, reached)
        await hooks.run_cancellation_hooks(flow_run, reached)

    asyncio.run(run())


class _Process:
    """What Prefect's process manager wants to know of a process that somebody else started."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None


class _Forked:
    """Starts one flow run in a fork of the warm process and waits for its end."""

    def __init__(self, warm: WarmProcess, launch: Launch, channel: Any) -> None:
        self._warm = warm
        self._launch = launch
        self._channel = channel

    async def start(
        self, flow_run: FlowRun, task_status: anyio.abc.TaskStatus[ProcessHandle] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        port, token = self._channel.register(flow_run.id)
        control = {"PREFECT__CONTROL_PORT": str(port), "PREFECT__CONTROL_TOKEN": token}
        environment = {**self._launch.environment, **control}
        request = {"id": str(flow_run.id), "env": environment, "cwd": self._launch.folder}
        own_command = {"command": self._launch.command} if self._launch.command else {}
        async with self._warm.fork(**request, **own_command, own=self._launch.is_own) as child:
            process = _Process(child.pid)
            task_status.started(ProcessHandle(process, create_isolated_termination_scope(child.pid)))  # type: ignore[arg-type]
            process.returncode = await child.exit_code()


class _ForkedHooks:
    """Runs a flow's hooks in a fork too: the worker itself never imports a flow."""

    def __init__(self, warm: WarmProcess, launches: dict[UUID, Launch]) -> None:
        self._warm = warm
        self._launches = launches

    async def run_cancellation_hooks(self, flow_run: FlowRun, state: State[Any]) -> None:
        await self._run(flow_run, state)

    async def run_crashed_hooks(self, flow_run: FlowRun, state: State[Any]) -> None:
        await self._run(flow_run, state)

    async def _run(self, flow_run: FlowRun, state: State[Any]) -> None:
        launch = self._launches.get(flow_run.id)
        if launch is None or self._warm.stopped:
            return
        request = {"id": str(flow_run.id), "env": launch.environment, "cwd": launch.folder}
        hooks = state.model_dump_json(exclude={"data"})
        async with self._warm.fork(**request, own=launch.is_own, hooks=hooks) as child:
            if code := await child.exit_code():
                _logger.warning("the hooks of flow run '%s' ended with exit code %s", flow_run.id, code)


class _CarefulProposer(StateProposer):
    async def propose_crashed(self, flow_run: FlowRun, message: str) -> State[Any] | None:
        if await may_be_crashed(self._client, flow_run):
            return await super().propose_crashed(flow_run, message)
        return None


class _SturdyCancellation(CancellationManager):
    async def cancel_by_id(self, flow_run_id: UUID) -> None:
        """As Prefect does, but a server that is away is asked again: nobody else would cancel the run."""
        for _ in range(_CANCEL_TRIES):
            try:
                return await super().cancel_by_id(flow_run_id)
            except Exception as error:
                _logger.warning("could not cancel flow run '%s' yet: %r", flow_run_id, error)
                await anyio.sleep(2)


class _Processes(ProcessManager):
    async def kill(self, flow_run_id: UUID, grace_seconds: float = 30, *, force: bool = False) -> None:
        """As Prefect does, which looks every 3 s whether the process has ended."""
        handle = self.get(flow_run_id)
        if handle is None or force:
            return await super().kill(flow_run_id, grace_seconds, force=force)
        with contextlib.suppress(ProcessLookupError):
            handle.graceful_kill()
            with anyio.move_on_after(grace_seconds):
                while handle.is_alive():
                    await anyio.sleep(0.05)
            handle.hard_kill()
