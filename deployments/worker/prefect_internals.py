"""The private parts of Prefect that the worker uses, all of them in this file.

Modules and names of Prefect that start with `_` are imported, overridden and read here and nowhere else, so that porting to
a new version of Prefect means reading this file. `tests/deployments/worker/test_prefect_internals.py` names each of
them, and what breaks without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import anyio
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_logger
from prefect.runner._cancellation_manager import CancellationManager
from prefect.runner._flow_run_executor import FlowRunExecutor, FlowRunExecutorContext
from prefect.runner._process_manager import ProcessHandle, ProcessManager, create_isolated_termination_scope
from prefect.runner._state_proposer import StateProposer
from prefect.workers.base import BaseJobConfiguration, BaseWorker

from prefect_codepipeline.deployments.worker.attempts import may_be_crashed
from prefect_codepipeline.prefect_api.deployments import UPKEEP_QUEUES

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Self

    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import Flow, FlowRun, State
    from prefect.client.schemas.responses import DeploymentResponse, WorkerFlowRunResponse

_CANCEL_TRIES = 10
_logger = get_logger("codepipeline.worker")

# --- the worker -----------------------------------------------------------------------------------------------------

# At run time no subclass of Prefect's worker: each of those is a type of worker that people can choose.
if TYPE_CHECKING:
    _Worker = BaseWorker[Any, Any, Any]
else:
    _Worker = object


@dataclass
class Known:
    """What is read while Prefect is asked whether a run may start, and is not asked for again."""

    deployment: DeploymentResponse | None
    flow: Flow | None
    prepared: Any


# Of the run that is being submitted in this context.
_known: ContextVar[Known | None] = ContextVar("prefect_codepipeline_known", default=None)


class OpenConfiguration(BaseJobConfiguration):
    """A job configuration that uses what the worker has read, and keeps the deployment's entry point."""

    _entrypoint: str | None = None

    @staticmethod
    @functools.cache
    def _base_environment() -> dict[str, str]:
        """As in Prefect, which writes all settings out for each run; a worker's settings do not change."""
        return BaseJobConfiguration._base_environment()

    @classmethod
    async def resolve_for_flow_run(cls, flow_run: FlowRun, **more: Any) -> Self:
        """As in Prefect, which reads the deployment and the flow once more."""
        known = _known.get()
        if known is None or known.flow is None:
            return await super().resolve_for_flow_run(flow_run, **more)
        more["client"] = _Reading(more["client"], known.flow)
        configuration = await super().resolve_for_flow_run(
            flow_run, **{**more, "deployment": known.deployment}
        )
        configuration._entrypoint = _module_of(known.deployment)
        return configuration

    @property
    def entrypoint(self) -> str | None:
        """The module and the name of the flow, if nothing need be fetched before the flow is imported."""
        return self._entrypoint


class _Reading:
    """A client that has read the flow already."""

    def __init__(self, client: PrefectClient, flow: Flow) -> None:
        self._client = client
        self._flow = flow

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def read_flow(self, _flow_id: UUID) -> Flow:
        return self._flow


def _module_of(deployment: DeploymentResponse | None) -> str | None:
    # An empty step pulls nothing.
    entrypoint = deployment.entrypoint if deployment and not any(deployment.pull_steps or []) else None
    return entrypoint if entrypoint and ":" not in entrypoint else None


class OpenWorker(_Worker):
    """Private parts of Prefect's worker under public names; comes before `BaseWorker` in a worker's bases."""

    async def prepare(self) -> Any:
        """Called for each run beside the first requests; `run` gets its result from `prepared`."""

    @property
    def prepared(self) -> Any:
        """What `prepare` returned for the run of this context; raises what it raised."""
        known = _known.get()
        assert known, "only a run that is being submitted is prepared"
        if isinstance(known.prepared, Exception):
            raise known.prepared
        return known.prepared

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
        upkeep = [found for found in free if found.flow_run.work_queue_name in UPKEEP_QUEUES]
        others = [found for found in free if found not in upkeep]
        return [*await self._submit_beyond_limit(upkeep), *await super()._submit_scheduled_flow_runs(others)]

    async def _submit_beyond_limit(self, runs: list[WorkerFlowRunResponse]) -> list[FlowRun]:
        """Prefect's loop awaits nothing, so no other run is submitted while there is no limit."""
        limiter, self._limiter = self._limiter, None
        try:
            return await super()._submit_scheduled_flow_runs(runs)
        finally:
            self._limiter = limiter

    async def _submit_run(self, flow_run: FlowRun) -> None:
        """As in Prefect, but if the server does not answer, only the start of this run fails, not the worker.

        What a start needs to know is read while the server decides about the state Pending; what Prefect's UI shows
        besides, the process and the worker of the run, is written while the process starts.
        """
        try:
            if await self._claim(flow_run):
                await self._start_claimed(flow_run)
            else:
                self._release_limit_slot(flow_run.id)
        except Exception:
            _logger.exception("could not start flow run '%s'", flow_run.id)
            self._release_limit_slot(flow_run.id)
        finally:
            self._submitting_flow_run_ids.discard(flow_run.id)
            if self._cancelling_observer is not None:
                self._cancelling_observer.remove_in_flight_flow_run_id(flow_run.id)

    async def _claim(self, flow_run: FlowRun) -> bool:
        """Set the run Pending, which only one worker can, and keep what is read meanwhile in `_known`."""
        answers: Any = await asyncio.gather(
            self._propose_pending_state(flow_run),
            self.prepare(),
            self._deployment_of(flow_run),
            self.client.read_flow(flow_run.flow_id),
            return_exceptions=True,
        )
        is_ours, prepared, deployment, flow = answers
        if isinstance(is_ours, BaseException):
            raise is_ours
        if isinstance(deployment, ObjectNotFound):
            message = f"Deployment {flow_run.deployment_id} no longer exists, cancelled run."
            await self._mark_flow_run_as_cancelled(flow_run, state_updates={"message": message})
            return False
        if isinstance(deployment, BaseException) or isinstance(flow, BaseException):
            deployment = flow = None  # Prefect reads them again, and reports the crash if that fails too
        _known.set(Known(deployment, flow, prepared))
        return bool(is_ours)

    async def _start_claimed(self, flow_run: FlowRun) -> None:
        assert self._runs_task_group, "the worker has been set up"
        pid = await self._runs_task_group.start(self._submit_run_and_capture_errors, flow_run)
        if not pid or isinstance(pid, Exception):
            self._release_limit_slot(flow_run.id)
            return
        logger = self.get_flow_run_logger(flow_run)
        try:
            await self.client.update_flow_run(flow_run.id, infrastructure_pid=str(pid))
        except Exception:
            logger.exception(
                "The pid of flow run '%s' could not be stored; it cannot be cancelled.", flow_run.id
            )
        logger.info("Flow run '%s' submitted to infrastructure", flow_run.name)

    async def _deployment_of(self, flow_run: FlowRun) -> DeploymentResponse | None:
        return await self.client.read_deployment(flow_run.deployment_id) if flow_run.deployment_id else None

    async def _give_worker_labels_to_flow_run(self, flow_run_id: UUID) -> None:
        """As in Prefect, but the run does not wait for it."""
        self.start_soon(self._write_labels, super()._give_worker_labels_to_flow_run, flow_run_id)

    async def _write_labels(
        self, write: Callable[[UUID], Coroutine[Any, Any, None]], flow_run_id: UUID
    ) -> None:
        try:
            await write(flow_run_id)
        except Exception as error:  # they are for display
            _logger.warning("could not label flow run '%s' with its worker: %r", flow_run_id, error)

    async def _propose_submitting_state(self, flow_run: FlowRun) -> None:
        """Left out: this worker's processes start at once, and the run is Pending until they do."""

    def _release_limit_slot(self, flow_run_id: UUID) -> None:
        super()._release_limit_slot(flow_run_id)
        self.slot_is_free(flow_run_id)

    async def _propose_crashed_state(
        self, flow_run: FlowRun, message: str, client: PrefectClient | None = None
    ) -> None:
        """As in Prefect, but never for a newer attempt: Prefect reports a crash twice, the second time seconds later."""
        if await may_be_crashed(client or self.client, flow_run):
            await super()._propose_crashed_state(flow_run, message, client)


def usual_environment() -> dict[str, str]:
    """The variables that Prefect adds to the worker's own for every flow run: its settings."""
    return OpenConfiguration._base_environment()


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
