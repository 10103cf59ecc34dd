"""Process webhook deliveries after their senders were answered: in order for each repository, several at once."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from datetime import date

from prefect_codepipeline.engine.executions.pause import Pause
from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.engine.triggers.deliveries import (
    Definitions,
    abandon_delivery,
    note_result,
    process_delivery,
    skip_delivery,
    why_repeated,
)
from prefect_codepipeline.engine.triggers.held_starts import announce
from prefect_codepipeline.engine.triggers.webhook_inbox import drop, drop_old, finish, result_of, waiting
from prefect_codepipeline.errors import CodePipelineError, PrefectUnavailable
from prefect_codepipeline.model.triggers.webhook_delivery import TakenDelivery

THREADS = 4
# A delivery that another gateway accepted is left to that gateway for this long. It is also the polling interval.
LOOK_SECONDS = 30.0
# A git host that is unavailable for some minutes must not lose a push.
RETRY_SECONDS = 600.0
_LONGEST_PAUSE = 30.0
_logger = logging.getLogger("codepipeline.gateway")


class Deliverer:
    """Threads that process deliveries. Processing one twice is harmless, so several gateways need no coordination."""

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
            threading.Thread(target=self._poll, name="codepipeline-deliver-poll", daemon=True)
        )

    def start(self) -> None:
        """Start the threads; the first poll finds deliveries that an earlier process did not finish."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop after the current deliveries; the others stay stored in Prefect."""
        self._stopped.set()
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout=5)

    def add(self, taken: TakenDelivery) -> None:
        """Queue a delivery that is stored in Prefect."""
        with self._changed:
            if taken.key not in self._keys:
                self._keys.add(taken.key)
                self._queues.setdefault(taken.line, deque()).append(taken)
                self._changed.notify()

    def _poll(self) -> None:
        """Queue the unfinished deliveries of other gateways: first all, then those that wait since the previous poll."""
        newest = utc_now()
        cleaned_on: date | None = None
        while not self._stopped.is_set():
            try:
                if cleaned_on != newest.date():
                    drop_old(newest)
                    cleaned_on = newest.date()
                with self._changed:
                    own = set(self._keys)
                for taken in waiting(own):
                    if taken.at < newest:
                        self.add(taken)
                newest = utc_now()
            except CodePipelineError as error:
                _logger.warning("webhooks: %s", _error_text(error))
            except Exception:
                _logger.exception("webhooks: polling for deliveries failed unexpectedly")
            self._stopped.wait(self._look_seconds)

    def _work(self) -> None:
        while (taken := self._next()) is not None:
            try:
                self._process(taken)
            except Exception:  # one bad delivery must not end the thread
                _logger.exception("webhooks: delivery %s failed unexpectedly", taken.key)
            finally:
                self._finish(taken)

    def _next(self) -> TakenDelivery | None:
        """The first delivery of a repository that no other thread processes, or None after `stop`."""
        with self._changed:
            while not self._stopped.is_set():
                free = next((name for name in self._queues if name not in self._busy), None)
                if free is not None:
                    self._busy.add(free)
                    return self._queues[free][0]
                self._changed.wait()
            return None

    def _finish(self, taken: TakenDelivery) -> None:
        with self._changed:
            self._busy.discard(taken.line)
            queue = self._queues[taken.line]
            queue.popleft()
            self._keys.discard(taken.key)
            if not queue:
                del self._queues[taken.line]
            self._changed.notify()

    def _process(self, taken: TakenDelivery) -> None:
        """Process a delivery, with retries until `RETRY_SECONDS` have passed or the gateway stops."""
        pause, retry_until = Pause(_LONGEST_PAUSE), time.monotonic() + RETRY_SECONDS
        while not self._stopped.is_set():
            try:
                self._try(taken)
                return
            except PrefectUnavailable as error:
                _logger.warning("webhooks: %s; retrying", _error_text(error))
            except CodePipelineError as error:
                if time.monotonic() > retry_until:
                    abandoned = abandon_delivery(taken, str(error))
                    note_result(taken, abandoned)
                    finish(taken, abandoned)
                    return
                _logger.warning("webhooks: delivery %s: %s; retrying", taken.key, error)
            self._stopped.wait(pause.begin())

    def _try(self, taken: TakenDelivery) -> None:
        before = result_of(taken)
        # A refused one is tried again, but not at another endpoint, where it would start other pipelines.
        if before and not (before.is_refused and before.endpoint == taken.endpoint):
            _logger.info("webhooks: delivery %s was processed before", taken.key)
            drop(taken)
            return
        repeated = why_repeated(taken)
        done = skip_delivery(taken, repeated) if repeated else process_delivery(taken, self._definitions)
        note_result(
            taken, done
        )  # before a repeated request can be stored as a new one, which this thread would not see
        finish(taken, done)
        for result in done.results:
            _logger.info("webhooks: %s", result)
        announce(done)


def _error_text(error: CodePipelineError) -> str:
    """The error for the log. The text of `PrefectUnavailable` quotes the requested URL, so it is replaced."""
    return "Prefect's API does not answer" if isinstance(error, PrefectUnavailable) else str(error)
