"""Check every second, while an execution runs, whether a stop was requested or another process has taken over."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from prefect_codepipeline.engine.executions.process import Execution, TakenOver
from prefect_codepipeline.errors import CodePipelineError
from prefect_codepipeline.numbers_set import number_set
from prefect_codepipeline.prefect_api.flow_runs import show_stopping

CHECK_SECONDS = number_set("PREFECT_CODEPIPELINE_STOP_SECONDS", 1.0)
_logger = logging.getLogger(__name__)


@contextmanager
def watching_for_stop(execution: Execution) -> Iterator[None]:
    """Check for stop requests while the block runs."""
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(execution, ended), name="codepipeline-stop", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _watch(execution: Execution, ended: threading.Event) -> None:
    is_displayed = False
    while not ended.wait(CHECK_SECONDS):
        try:
            stop = execution.look_for_stop()
            if stop and not is_displayed and not execution.state.final:
                is_displayed = True
                execution.display(partial(show_stopping, execution.id, stop.summary))
        except TakenOver:  # another process has taken over; the flow finds out too
            return
        except CodePipelineError as error:
            _logger.warning("could not check whether a stop was requested; it will be tried again: %s", error)
