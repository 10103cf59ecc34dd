"""The private parts of Prefect that the worker uses, all of them in this file.

Modules and names of Prefect that start with `_` are imported, overridden and read here and nowhere else, so that porting to
a new version of Prefect means reading this file. `tests/deployments/worker/test_prefect_internals.py` names each of
them, and what breaks without it.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any
from uuid import UUID

import anyio
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.flows import load_flow_from_flow_run
from prefect.logging import get_logger
from prefect.runner._cancellation_manager import CancellationManager
from prefect.runner._flow_run_executor import FlowRunExecutor, FlowRunExecutorContext
from prefect.runner._hook_runner import HookRunner
from prefect.runner._process_manager import ProcessHandle, ProcessManager, create_isolated_termination_scope
from prefect.runner._state_proposer import StateProposer
from prefect.workers.base import BaseJobConfiguration, BaseWorker

from prefect_codepipeline.deployments.worker.attempts import may_be_crashed

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun
    from prefect.client.schemas.responses import WorkerFlowRunResponse

# Further modules that a run imports; the fork server leaves out what a later Prefect does not have.
PRELOADED = ("prefect._internal.metrics",)
_CANCEL_TRIES = 10
_logger = get_logger("codepipeline.worker")

# --- the worker -----------------------------------------------------------------------------------------------------

# At run time no subclass of Prefect's worker: each of those is a type of worker that people can choose.
if TYPE_CHECKING:
    _Worker = BaseWorker[Any, Any, Any]
else:
    _Worker = object


class OpenWorker(_Worker):
    """Private parts of Prefect's worker under public names; comes before `BaseWorker` in a worker's bases."""

    def may_start(self, flow_run: FlowRun) -> bool:
        """Whether a run that is scheduled may be started now."""
        return True

    def slot_is_free(self, flow_run_id: UUID) -> None:
        """Called when a run has ended, or was not started."""

    @property
    def work_pool_id(self) -> UUID | None:
        """The work pool's id; None before the worker has connected to its server."""
        return self._work_pool.id if self._work_pool else None

    async def keep(self, context: AbstractAsyncContextManager[Any]) -> None:
        """Enter a context that is left when the worker is stopped."""
        await self._exit_stack.enter_async_context(context)

    @property
    def can_start_soon(self) -> bool:
        """Whether the worker has what `start_soon` needs: not before its set-up, nor after its end."""
        return self._runs_task_group is not None

    def start_soon(self, call: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any) -> None:
        """Call beside everything else the worker does."""
        assert self._runs_task_group, "the worker has been set up"
        self._runs_task_group.start_soon(call, *arguments)

    async def _submit_scheduled_flow_runs(
        self, flow_run_response: list[WorkerFlowRunResponse]
    ) -> list[FlowRun]:
        free = [found for found in flow_run_response if self.may_start(found.flow_run)]
        return await super()._submit_scheduled_flow_runs(free)

    async def _submit_run(self, flow_run: FlowRun) -> None:
        """As in Prefect, but if the server does not answer, only the start of this run fails, not the worker."""
        try:
            await super()._submit_run(flow_run)
        except Exception:
            _logger.exception("could not start flow run '%s'", flow_run.id)
            self._submitting_flow_run_ids.discard(flow_run.id)
            self._release_limit_slot(flow_run.id)

    def _release_limit_slot(self, flow_run_id: UUID) -> None:
        super()._release_limit_slot(flow_run_id)
        self.slot_is_free(flow_run_id)

    async def _propose_crashed_state(
        self, flow_run: FlowRun, message: str, client: PrefectClient | None = None
    ) -> None:
        """As in Prefect, but never for a newer attempt: Prefect reports a crash twice, the second time seconds later."""
        if await may_be_crashed(client or self.client, flow_run):
            await super()._propose_crashed_state(flow_run, message, client)


def usual_command(configuration: BaseJobConfiguration) -> str:
    """The command with which Prefect starts a run's process by default."""
    return configuration._base_flow_run_command()


# --- the runner -----------------------------------------------------------------------------------------------------

Executor = FlowRunExecutor
Handle = ProcessHandle


class RunnerOfMany(FlowRunExecutorContext):
    """Prefect's runner context, shared by all runs of a worker; so the failure of one run must not break it."""

    async def __aenter__(self) -> RunnerOfMany:
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

    def executor_of(self, flow_run: FlowRun, starter: Any, hooks: Any) -> Executor:
        """What runs one run, given what starts its process and what runs its hooks."""
        return self.create_executor(flow_run, starter, hook_runner=hooks, propose_submitting=False)


class ForeignProcess:
    """The attributes that Prefect's process manager needs of a process that the fork server started."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    @property
    def handle(self) -> Handle:
        """The process in the format of the process manager."""
        return ProcessHandle(self, create_isolated_termination_scope(self.pid))  # type: ignore[arg-type]


def run_hooks(flow_run_id: str, state: str) -> None:
    """Run the flow's hooks for a state (as JSON). Called in a separate process with the run's environment."""

    async def run() -> None:
        reached: State[Any] = State.model_validate_json(state)
        async with get_client() as client:
            flow_run = await client.read_flow_run(UUID(flow_run_id))
        hooks = HookRunner(resolve_flow=load_flow_from_flow_run)
        await hooks.run_crashed_hooks(flow_run, reached)
        await hooks.run_cancellation_hooks(flow_run, reached)

    asyncio.run(run())


class _CarefulProposer(StateProposer):
    async def propose_crashed(self, flow_run: FlowRun, message: str) -> State[Any] | None:
        if await may_be_crashed(self._client, flow_run):
            return await super().propose_crashed(flow_run, message)
        return None


class _SturdyCancellation(CancellationManager):
    async def cancel_by_id(self, flow_run_id: UUID) -> None:
        """As in Prefect, but with retries if the server does not answer: no other process would cancel the run."""
        for _ in range(_CANCEL_TRIES):
            try:
                return await super().cancel_by_id(flow_run_id)
            except Exception as error:
                _logger.warning("could not cancel flow run '%s', retrying: %r", flow_run_id, error)
                await anyio.sleep(2)


class _Processes(ProcessManager):
    async def kill(self, flow_run_id: UUID, grace_seconds: float = 30, *, force: bool = False) -> None:
        """As in Prefect, which checks only every 3 s whether the process has ended."""
        handle = self.get(flow_run_id)
        if handle is None or force:
            return await super().kill(flow_run_id, grace_seconds, force=force)
        with contextlib.suppress(ProcessLookupError):
            handle.graceful_kill()
            with anyio.move_on_after(grace_seconds):
                while handle.is_alive():
                    await anyio.sleep(0.05)
            handle.hard_kill()
