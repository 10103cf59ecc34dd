"""Which of several reconcile services is busy: the one that holds a Prefect variable, and renews it.

Two that are busy at once do no harm, because each step of reconcile may run twice. The lease saves their work.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

from prefect_codepipeline.errors import PrefectUnavailable
from prefect_codepipeline.prefect_api.client import moment
from prefect_codepipeline.prefect_api.leases import server_time
from prefect_codepipeline.prefect_api.variables import (
    Variable,
    create_variable,
    delete_variable,
    read_variable,
    update_variable,
)

NAME = "codepipeline-reconcile"
RENEW_SECONDS = 5.0
SILENCE_SECONDS = 30.0
_logger = logging.getLogger("codepipeline.reconcile")


class BusyLease:
    """The lease, as one service sees it."""

    def __init__(self) -> None:
        self._own = {"host": socket.gethostname(), "pid": os.getpid(), "id": uuid4().hex}
        self._held: Variable | None = None
        self._other: dict[str, Any] = {}

    @property
    def is_held(self) -> bool:
        """Whether this service is the busy one, as far as it knows."""
        return self._held is not None

    @property
    def is_refused(self) -> bool:
        """Whether another service was busy when this one asked the last time."""
        return self._held is None and bool(self._other)

    @property
    def holder(self) -> str:
        """The service that is busy instead."""
        return f"{self._other.get('host', 'another one')} (process {self._other.get('pid', '?')})"

    def keep_until(self, stop: threading.Event, may_hold: Callable[[], bool] = lambda: True) -> None:
        """Take the lease when it is free or its holder silent, and renew it, until the stop; then give it back.

        Args:
            stop: ends this.
            may_hold: whether this service is able to work. If not, its lease is not renewed.
        """
        while True:
            try:
                if may_hold():
                    self.take_or_renew()
            except PrefectUnavailable as error:
                _logger.debug("the lease could not be renewed: %s", error)
            if stop.wait(RENEW_SECONDS):
                return

    def take_or_renew(self) -> None:
        """One attempt. Raises `PrefectUnavailable`; what was held counts as held then."""
        if self._held and update_variable(self._held["id"], self._own):
            return
        was_held = self.is_held
        self._held = create_variable(NAME, self._own, ["codepipeline"]) or self._of_silent_holder()
        if self.is_held != was_held:
            _logger.info("%s", "reconciles now" if self.is_held else f"waits: {self.holder} reconciles")

    def give_back(self) -> None:
        """Let another service begin at once. If Prefect does not answer, it begins after the silence."""
        if self._held:
            try:
                delete_variable(self._held)
            except PrefectUnavailable as error:
                _logger.debug("the lease could not be given back: %s", error)
            self._held = None

    def _of_silent_holder(self) -> Variable | None:
        """The lease, taken from a holder that has been silent; None if another service has it."""
        there = read_variable(NAME)
        if there is None:
            return create_variable(NAME, self._own, ["codepipeline"])
        if there["value"] == self._own:  # the answer to its creation was lost
            return there
        self._other = there["value"]
        if server_time() - moment(there["updated"]) <= timedelta(seconds=SILENCE_SECONDS):
            return None
        delete_variable(there)  # by its id: if another service was faster, there is a new one, which stays
        return create_variable(NAME, self._own, ["codepipeline"])
