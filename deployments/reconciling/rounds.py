"""Reconcile at intervals, and poll each minute, until a stop."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from prefect_codepipeline.engine.triggers.polling import EVERY_SECONDS, poll_once
from prefect_codepipeline.errors import CodePipelineError, PrefectUnavailable
from prefect_codepipeline.flows.reconcile import Memory, reconcile_once

DEFAULT_SECONDS = 5.0
_logger = logging.getLogger("codepipeline.reconcile")


@dataclass
class Rounds:
    """The rounds of this process, and how the last one went. Times are those of `time.monotonic`.

    Attributes:
        stop: ends the loop, before the next step of a round.
        is_wanted: asked before each step: whether this process, of several, repairs.
        began: when the round that is running began; None between two rounds.
        ended: when the last whole round ended; None before the first.
        seconds: how long that round took.
        failed: how many rounds ended with an error.
        trouble: why the last round failed; empty if it did not.
        memory: what the rounds have seen.
    """

    stop: threading.Event
    is_wanted: Callable[[], bool] = lambda: True
    began: float | None = None
    ended: float | None = None
    seconds: float = 0.0
    failed: int = 0
    trouble: str = ""
    memory: Memory = field(default_factory=dict)

    def repeat(self, every: float) -> None:
        """Run a round every so many seconds until the stop."""
        known: set[str] = set()
        while not self.stop.wait(every):
            if not self.is_wanted():
                self.memory = {}  # another process has changed what was seen here
                continue
            try:
                sentences = self._run()
            except CodePipelineError as error:
                self._note(str(error))
                sentences = [self.trouble]
            except Exception as error:  # no error may end the loop
                self._note(f"{type(error).__name__}: {error}")
                _logger.exception("reconcile failed unexpectedly; it will run again")
                continue
            known = _log_new(sentences, known)

    def _run(self) -> list[str]:
        self.began = time.monotonic()
        try:
            sentences = reconcile_once(memory=self.memory, is_stopped=self._is_interrupted)
            if not self._is_interrupted():
                self.ended, self.trouble = time.monotonic(), ""
                self.seconds = self.ended - self.began
            return sentences
        finally:
            self.began = None

    def _is_interrupted(self) -> bool:
        return self.stop.is_set() or not self.is_wanted()

    def _note(self, trouble: str) -> None:
        self.trouble = trouble
        self.failed += 1


def poll_until(stop: threading.Event, is_wanted: Callable[[], bool] = lambda: True) -> None:
    """Poll the repositories at the start of each minute until the stop, while this process is the one that does."""
    known: set[str] = set()
    while EVERY_SECONDS and not stop.wait(EVERY_SECONDS - time.time() % EVERY_SECONDS):
        if not is_wanted():
            continue
        try:
            sentences = poll_once()
        except PrefectUnavailable as error:
            sentences = [str(error)]
        except Exception:  # one bad repository must not end the polling
            _logger.exception("polling failed unexpectedly; it will run again")
            continue
        known = _log_new(sentences, known)


def _log_new(sentences: list[str], known: set[str]) -> set[str]:
    """Log what was not said the last time: a problem that stays is logged once. What is known then."""
    for sentence in sentences:
        if sentence not in known:
            _logger.info("%s", sentence)
    return set(sentences)
