"""`python -m prefect_codepipeline.deployments.local.reconcile_loop`: repair and poll every so often, until told to stop."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time

from prefect_codepipeline.actions.commands.containers import remove_orphaned_containers
from prefect_codepipeline.engine.triggers.polling import EVERY_SECONDS, poll_once
from prefect_codepipeline.errors import CodePipelineError, PrefectUnavailable
from prefect_codepipeline.flows.reconcile import Memory, reconcile_once

SECONDS_VARIABLE = "PREFECT_CODEPIPELINE_RECONCILE_SECONDS"
DEFAULT_SECONDS = 5.0
SWEEP_SECONDS = 60.0
_logger = logging.getLogger("codepipeline.reconcile")


def main() -> None:
    """Reconcile until SIGTERM; a server that is away for a while is waited for."""
    # By force: Prefect has set up the root logger for warnings when it was imported.
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    stop = threading.Event()
    # By itself: a repository may take its time, and repairs must not wait for it.
    threading.Thread(target=_poll, args=(stop,), name="codepipeline-poll", daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    seconds = float(os.environ.get(SECONDS_VARIABLE) or DEFAULT_SECONDS)
    swept = 0.0
    memory: Memory = {}
    while not stop.wait(seconds):
        try:
            for sentence in reconcile_once(memory=memory):
                _logger.info("%s", sentence)
            if time.monotonic() - swept > SWEEP_SECONDS:
                swept = time.monotonic()
                if removed := remove_orphaned_containers():
                    _logger.info("%s containers of dead workers were removed", removed)
        except CodePipelineError as error:
            _logger.warning("%s", error)
        except Exception:  # one odd execution must not end the repair of all others
            _logger.exception("reconcile met a defect")


def _poll(stop: threading.Event) -> None:
    """Look at repositories at the beginning of each minute."""
    said: set[str] = set()
    while EVERY_SECONDS and not stop.wait(EVERY_SECONDS - time.time() % EVERY_SECONDS):
        try:
            sentences = poll_once()
        except PrefectUnavailable as error:
            sentences = [str(error)]
        except Exception:  # one odd repository must not end the looking at all others
            _logger.exception("polling met a defect")
            continue
        for sentence in sentences:
            # What is wrong is so each minute; it is said once.
            if sentence not in said:
                _logger.info("%s", sentence)
        said = set(sentences)


if __name__ == "__main__":
    main()
