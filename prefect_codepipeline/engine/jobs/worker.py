"""A worker without the AWS API: asks Prefect for jobs, and does several at the same time."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import uuid4

from prefect_codepipeline.actions.work import CancellationToken
from prefect_codepipeline.engine.jobs import handing_out
from prefect_codepipeline.engine.jobs.action_types import find_type, parse_type
from prefect_codepipeline.engine.jobs.handling import MESSAGE_LENGTH, Handler, handle
from prefect_codepipeline.engine.jobs.known import KnownJob
from prefect_codepipeline.engine.jobs.results import Failure, Success, put_result
from prefect_codepipeline.errors import (
    ActionAbandoned,
    ActionTypeNotFoundException,
    InvalidJobStateException,
    InvalidNonceException,
    JobNotFoundException,
    PrefectRefused,
    PrefectUnavailable,
)
from prefect_codepipeline.prefect_api.leases import holding_lease

ASK_SECONDS = 1.0
AWAY_SECONDS = 5.0
_logger = logging.getLogger(__name__)


class Worker:
    """Asks for the jobs of one action type until it is stopped.

    While it lives it renews a lease. The jobs of a worker that died are given to another one after a minute.

    Args:
        action_type: `Deploy/Custom/Acme/1`.
        handler: does the work of one job.
        query: what the queryable property of the action must be.
        parallel: how many jobs at the same time.

    Raises:
        ActionTypeNotFoundException: there is no such action type.
    """

    def __init__(
        self, action_type: str, handler: Handler, *, query: Mapping[str, str] | None = None, parallel: int = 1
    ) -> None:
        self._kind = parse_type(action_type)
        if find_type(self._kind) is None:
            raise ActionTypeNotFoundException(
                f"there is no action type {action_type}; create it with: codepipeline action-type add"
            )
        self._handler = handler
        self._query = dict(query or {})
        self._parallel = parallel
        self._lease = f"worker-{uuid4()}"
        self._by = f"{socket.gethostname()}:{os.getpid()}"
        self._stopped = threading.Event()
        self._cancellation = CancellationToken()

    def stop(self) -> None:
        """Ask for no further jobs. `run` returns when the present ones are done."""
        self._stopped.set()

    def cancel(self) -> None:
        """End the present jobs too; other workers get them."""
        self.stop()
        self._cancellation.leave()

    def run(self, most: int | None = None) -> None:
        """Work until `stop`, or until so many jobs were done."""
        with holding_lease(self._lease, os.getpid()), ThreadPoolExecutor(self._parallel) as threads:
            working: set[Future[None]] = set()
            begun = 0
            while not self._stopped.is_set() and begun != most:
                free = self._parallel - len(working)
                taken = self._take(free if most is None else min(free, most - begun)) if free else []
                begun += len(taken)
                working |= {threads.submit(self._work, known) for known in taken}
                if working and not taken:
                    wait(working, ASK_SECONDS, FIRST_COMPLETED)
                elif not taken:
                    self._stopped.wait(ASK_SECONDS)
                working = {each for each in working if not each.done()}

    def _take(self, most: int) -> list[KnownJob]:
        """Jobs that are this worker's now."""
        taken: list[KnownJob] = []
        try:
            for known, nonce in handing_out.poll(str(self._kind), most, self._query):
                with suppress(ActionAbandoned, InvalidNonceException, JobNotFoundException):
                    self._acknowledge(known.job.id, nonce)
                    taken.append(known)
        except PrefectUnavailable as error:
            _logger.warning("could not ask for jobs; it will be tried again: %s", error)
            self._stopped.wait(AWAY_SECONDS)
        return taken

    def _acknowledge(self, job_id: str, nonce: str) -> None:
        # The lease of this worker would keep a job from the others that it took without getting the answer.
        request = f"{self._lease}/{nonce}"
        take = partial(handing_out.acknowledge, job_id, nonce, self._by, lease=self._lease, request=request)
        self._patiently(f"job {job_id} could not be taken", take)

    def _patiently(self, what: str, operation: Callable[[], Any]) -> None:
        """Repeat an operation until Prefect answers. Raises `ActionAbandoned`: the worker has to end before."""
        while True:
            try:
                operation()
                return
            except PrefectRefused:  # it would be refused again
                raise
            except PrefectUnavailable as error:
                _logger.warning("%s; it will be tried again: %s", what, error)
                if self._cancellation.wait(AWAY_SECONDS):
                    raise ActionAbandoned("the worker was stopped") from None

    def _work(self, known: KnownJob) -> None:
        where = f"job {known.job.id} of {known.indexed.pipeline}, action {known.indexed.action!r}"
        _logger.info("%s began", where)
        with suppress(ActionAbandoned):
            result = self._result(known, where)
            try:
                self._record(known, result, where)
            except (InvalidJobStateException, JobNotFoundException) as error:
                _logger.warning("%s was done, but its result was refused: %s", where, error)

    def _result(self, known: KnownJob, where: str) -> Success | Failure:
        found: list[Success | Failure] = []
        self._patiently(
            f"{where} could not be done",
            lambda: found.append(handle(known, self._handler, self._cancellation)),
        )
        return found[0]

    def _record(self, known: KnownJob, result: Success | Failure, where: str) -> None:
        try:
            self._put(known, result, where)
        except (ActionAbandoned, InvalidJobStateException, JobNotFoundException):
            raise
        # A handler may give anything. No other worker gets the job while this one lives, so it has to end.
        except Exception as error:
            why = f"the result of the work cannot be recorded: {error}"
            self._put(known, Failure("JobFailed", why[:MESSAGE_LENGTH]), where)

    def _put(self, known: KnownJob, result: Success | Failure, where: str) -> None:
        request = f"{self._lease}/{known.job.id}"
        put = partial(put_result, known.job.id, result, self._by, request=request)
        self._patiently(f"the result of {where} could not be recorded", put)
        _logger.info("%s: %s", where, type(result).__name__.lower())


def work(
    action_type: str,
    handler: Handler,
    *,
    query: Mapping[str, str] | None = None,
    parallel: int = 1,
    most: int | None = None,
    on_start: Callable[[Worker], None] = lambda worker: None,
) -> None:
    """Do the jobs of an action type with a handler, until this process is interrupted.

    Args:
        action_type: `Deploy/Custom/Acme/1`.
        handler: does the work of one job.
        query: what the queryable property of the action must be.
        parallel: how many jobs at the same time.
        most: end after so many jobs.
        on_start: gets the worker before it begins, to stop it.
    """
    worker = Worker(action_type, handler, query=query, parallel=parallel)
    on_start(worker)
    worker.run(most)
