"""While an execution runs, see that somebody asks it to stop: at once where actions run, by a look each second."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from prefect_codepipeline.engine.executions.process import Execution
from prefect_codepipeline.errors import CodePipelineError
from prefect_codepipeline.prefect_api.runs import show_stopping

LOOK_SECONDS = float(os.environ.get("PREFECT_CODEPIPELINE_STOP_SECONDS") or 1.0)
_logger = logging.getLogger(__name__)


@contextmanager
def watching_for_stop(execution: Execution) -> Iterator[None]:
    """Look for stop requests as long as the block runs."""
    over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(execution, over), name="codepipeline-stop", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _watch(execution: Execution, over: threading.Event) -> None:
    is_shown = False
    while not over.wait(LOOK_SECONDS):
        try:
            stop = execution.look_for_stop()
            if stop and not is_shown and not execution.state.final:
                is_shown = True
                show_stopping(execution.id, stop.summary)
        except CodePipelineError as error:
            _logger.warning(
                "whether the execution is to stop could not be seen, which is tried again: %s", error
            )
