"""Deals with what webhooks told, once its senders were answered: in order for each repository, several at once."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from datetime import date

from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.engine.triggers.deliveries import Definitions
from prefect_codepipeline.engine.triggers.webhook_inbox import drop, drop_old, finish, result_of, waiting
from prefect_codepipeline.errors import CodePipelineError, PrefectUnavailable
from prefect_codepipeline.model.triggers.webhook_delivery import TakenDelivery

THREADS = 4
# What another gateway has taken is left to it for so long, and then looked for as often.
LOOK_SECONDS = 30.0
# A host that cannot be read for a while is not worth losing a push for.
GIVE_UP_SECONDS = 600.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
_logger = logging.getLogger("codepipeline.gateway")


class Deliverer:
    """Threads that deal with deliveries. Doing one twice is harmless, so several gateways need not agree."""

    def __init__(self, threads: int = THREADS, look_seconds: float = LOOK_SECONDS) -> None:
        self._look_seconds = look_seconds
        self._queues: dict[str, deque[TakenDelivery]] = {}
        self._keys: set[str] = set()
        self._busy: set[str] = set()
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._definitions = Definitions()
        names = [f"codepipeline-deliver-{number}" for number in range(threads)]
        self._threads = [threading.Thread(target=self._work, name=name, daemon=True) for name in names]
        self._threads.append(
            threading.Thread(target=self._look, name="codepipeline-deliver-look", daemon=True)
        )

    def start(self) -> None:
        """Begin, with what was left behind."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End after what is being done now; the rest is in Prefect."""
        self._stopped.set()
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout=5)

    def add(self, taken: TakenDelivery) -> None:
        """Deal with a delivery that is kept in Prefect."""
        with self._changed:
            if taken.key not in self._keys:
                self._keys.add(taken.key)
                self._queues.setdefault(taken.line, deque()).append(taken)
                self._changed.notify()

    def _look(self) -> None:
        """Find what was left by a gateway that is no more: at first anything, then what another should have done."""
        newest = utc_now()
        tidied: date | None = None
        while not self._stopped.is_set():
            try:
                if tidied != newest.date():
                    drop_old(newest)
                    tidied = newest.date()
                with self._changed:
                    own = set(self._keys)
                for taken in waiting(own):
                    if taken.at < newest:
                        self.add(taken)
                newest = utc_now()
            except CodePipelineError as error:
                _logger.warning("webhooks: %s", _said(error))
            except Exception:
                _logger.exception("webhooks: looking for deliveries met a defect")
            self._stopped.wait(self._look_seconds)

    def _work(self) -> None:
        while (taken := self._next()) is not None:
            try:
                self._deal_with(taken)
            except Exception:  # one odd delivery must not end the dealing with all others
                _logger.exception("webhooks: delivery %s met a defect", taken.key)
            finally:
                self._leave(taken)

    def _next(self) -> TakenDelivery | None:
        """The first delivery of a repository that nobody works for; None when it is over."""
        with self._changed:
            while not self._stopped.is_set():
                free = next((name for name in self._queues if name not in self._busy), None)
                if free is not None:
                    self._busy.add(free)
                    return self._queues[free][0]
                self._changed.wait()
            return None

    def _leave(self, taken: TakenDelivery) -> None:
        with self._changed:
            self._busy.discard(taken.line)
            queue = self._queues[taken.line]
            queue.popleft()
            self._keys.discard(taken.key)
            if not queue:
                del self._queues[taken.line]
            self._changed.notify()

    def _deal_with(self, taken: TakenDelivery) -> None:
        """Until it is dealt with, or there is no hope."""
        pause, give_up = _FIRST_PAUSE, time.monotonic() + GIVE_UP_SECONDS
        while not self._stopped.is_set():
            try:
                self._try(taken)
                return
            except PrefectUnavailable as error:
                _logger.warning("webhooks: %s; it is tried again", _said(error))
            except CodePipelineError as error:
                if time.monotonic() > give_up:
                    finish(taken, abandon_delivery(taken, str(error)))
                    return
                _logger.warning("webhooks: delivery %s: %s; it is tried again", taken.key, error)
            self._stopped.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _try(self, taken: TakenDelivery) -> None:
        before = result_of(taken)
        if before and not before.is_refused:
            _logger.info("webhooks: delivery %s was dealt with before", taken.key)
            drop(taken)
            return
        done = process_delivery(taken, self._definitions)
        finish(taken, done)
        for result in done.results:
            _logger.info("webhooks: %s", result)


def _said(error: CodePipelineError) -> str:
    """Without what was asked: it may quote addresses."""
    return "Prefect's API is away" if isinstance(error, PrefectUnavailable) else str(error)
