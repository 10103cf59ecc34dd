"""The private parts of Prefect that a flow run's process uses: what `python -m prefect.engine` does, in a fork.

Most of what Prefect does at the start of a process is the same for all runs, so the fork server does it once, before it
forks. As for `prefect_internals.py`: nothing else touches these names, and `test_prefect_internals.py` has each of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import os
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from prefect import flow_engine
from prefect._internal.control_listener import configure_from_env
from prefect._internal.metrics import RunMetrics
from prefect.client import orchestration
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import FlowRunUpdate, StateCreate
from prefect.client.schemas.objects import FlowRun, State, TaskRun
from prefect.client.schemas.responses import OrchestrationResult
from prefect.context import refresh_global_settings_context
from prefect.engine import _drive_run_flow_result, handle_engine_signals
from prefect.flows import load_flow_from_entrypoint, load_flow_from_flow_run
from prefect.logging.configuration import setup_logging
from prefect.logging.loggers import flow_run_logger
from prefect.runner._hook_runner import HookRunner
from prefect.settings import PREFECT_API_URL, PREFECT_PROFILES_PATH
from prefect.states import Running

from prefect_codepipeline.deployments.worker import sockets

# Runs that are shorter need neither heartbeats nor a look whether they were suspended in Prefect's UI.
_SETTLED_SECONDS = 2.0
# Prefect reads its settings from these files too, where a run starts.
_SETTINGS_FILES = ("prefect.toml", "pyproject.toml", ".env")
# Modules whose private or imported names are used and replaced; to mypy they have no such names.
_engine: Any = flow_engine
_client: Any = orchestration
_original_heartbeats = _engine._send_heartbeats
_original_observer = _engine.observe_flow_run_suspension


def prepare_to_run_flows(environment: Mapping[str, str]) -> None:
    """Do in the fork server, for the environment that it was started with, what each of its forks needs."""
    began_in = Path.cwd()
    with tempfile.TemporaryDirectory() as empty:
        os.chdir(empty)
        _read_settings()
        os.chdir(began_in)
    _prepared.update(environment=_shared(environment), profiles=_profiles())
    _warm_up()
    _client.ssl = _SharedTls
    _engine._send_heartbeats = _later_heartbeats
    _engine.observe_flow_run_suspension = _later_observer
    if PREFECT_API_URL.value():
        # The first client reads the certificates. The worker has compared its version with the server's.
        client = get_client(sync_client=True)
        key = _client._api_version_check_key(str(client.api_url), client.client_version())
        _client._cache_api_version_check(key)


def _warm_up() -> None:
    """Use once what would be built at its first use: most of Prefect's models."""
    run = FlowRun(flow_id=uuid4(), state=Running())
    FlowRun.model_validate_json(run.model_dump_json())
    for model in (OrchestrationResult, FlowRunUpdate, StateCreate, TaskRun):
        model.model_rebuild()


_prepared: dict[str, Any] = {}


def settle_in() -> None:
    """Read Prefect's settings anew in a fork, unless its environment and folder are as those of the fork server."""
    is_prepared = _prepared == {"environment": _shared(os.environ), "profiles": _profiles()}
    if not is_prepared or any(os.path.exists(name) for name in _SETTINGS_FILES):
        _read_settings()
    if sockets.are_refused():
        sockets.do_without()


def _read_settings() -> None:
    refresh_global_settings_context()
    setup_logging(incremental=False)


def _shared(environment: Mapping[str, str]) -> dict[str, str]:
    """Without what Prefect tells each run about itself."""
    return {name: value for name, value in environment.items() if not name.startswith("PREFECT__")}


def _profiles() -> int | None:
    with contextlib.suppress(OSError):
        return os.stat(PREFECT_PROFILES_PATH.value()).st_mtime_ns
    return None


class _SharedTls:
    """In place of `ssl` in Prefect's client: each client would load all certificates, which takes 20 ms."""

    SSLContext = ssl.SSLContext
    CERT_NONE = ssl.CERT_NONE

    @classmethod
    def create_default_context(cls, *, cafile: str | None = None) -> ssl.SSLContext:
        return cls._of(cafile, os.stat(cafile).st_mtime_ns if cafile else 0)

    @staticmethod
    @functools.cache
    def _of(cafile: str | None, _changed: int) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=cafile)


def run_flow_run(run: str, entrypoint: str | None) -> None:
    """Do what the program `prefect.engine` does, with the run (as JSON) and the entry point that the worker read."""
    flow_run = FlowRun.model_validate_json(run)
    configure_from_env()
    with handle_engine_signals(flow_run.id):
        logger = flow_run_logger(flow_run=flow_run)
        try:
            flow = _load(flow_run, entrypoint)
        except Exception:
            logger.exception("Unexpected exception encountered when trying to load flow")
            raise
        with RunMetrics(flow_run, flow):
            # As a result, a state that is no success would be raised, and logged as an error of the engine.
            result = flow_engine.run_flow(
                flow,
                flow_run=flow_run,
                error_logger=logger,  # type: ignore[arg-type]
                return_type="state",
            )
            _drive_run_flow_result(flow, result)


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


def _load(flow_run: FlowRun, entrypoint: str | None) -> Any:
    if entrypoint:
        return load_flow_from_entrypoint(entrypoint, use_placeholder_flow=False)
    return flow_engine.load_flow(flow_run)


@contextlib.contextmanager
def _later_heartbeats(engine: Any, join_on_exit: bool = True) -> Iterator[None]:
    """As in Prefect, but the first heartbeat is not sent while the run starts, and nothing waits for the thread's end."""
    if engine.heartbeat_seconds is None:
        yield
        return
    with _once_settled(lambda: _original_heartbeats(engine, join_on_exit=False)):
        yield


@contextlib.contextmanager
def _later_observer(flow_run_id: UUID, request: Any, polling_interval: float = 10) -> Iterator[None]:
    """As in Prefect, but the run does not wait until its own connection for this is there."""
    with _once_settled(lambda: _original_observer(flow_run_id, request, polling_interval)):
        yield


@contextlib.contextmanager
def _once_settled(enter: Callable[[], AbstractContextManager[Any]]) -> Iterator[None]:
    """Enter a context in a thread of its own after a while, if the block has not ended by then."""
    ended = threading.Event()

    def follow() -> None:
        if not ended.wait(_SETTLED_SECONDS):
            with enter():
                ended.wait()

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(follow,), daemon=True).start()
    try:
        yield
    finally:
        ended.set()
