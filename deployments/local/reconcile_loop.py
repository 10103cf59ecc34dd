"""`python -m prefect_codepipeline.deployments.local.reconcile_loop`: reconcile and poll at intervals until SIGTERM.

It also starts the database, the server and the gateway of the embedded set-up again if they have died.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time

from prefect_codepipeline.actions.commands.containers import remove_orphaned_containers
from prefect_codepipeline.actions.commands.hidden_environment import hide_environment
from prefect_codepipeline.deployments.local.embedded import repair
from prefect_codepipeline.deployments.local.gateway_watch import repair_gateway
from prefect_codepipeline.engine.triggers.polling import EVERY_SECONDS, poll_once
from prefect_codepipeline.errors import CodePipelineError, PrefectUnavailable
from prefect_codepipeline.flows.reconcile import Memory, reconcile_once

SECONDS_VARIABLE = "PREFECT_CODEPIPELINE_RECONCILE_SECONDS"
DEFAULT_SECONDS = 5.0
SWEEP_SECONDS = 60.0
REPAIR_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 60.0
_logger = logging.getLogger("codepipeline.reconcile")


def main() -> None:
    """Reconcile until SIGTERM. If the server does not answer, try again."""
    hide_environment()
    # `force`, because Prefect's import has already configured the root logger for warnings only.
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    stop = threading.Event()
    # In threads of their own: a server that has died delays no repair, and a slow repository no reconciliation.
    threading.Thread(target=_repair, args=(stop,), name="codepipeline-repair", daemon=True).start()
    threading.Thread(target=_poll, args=(stop,), name="codepipeline-poll", daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    seconds = float(os.environ.get(SECONDS_VARIABLE) or DEFAULT_SECONDS)
    last_sweep = 0.0
    memory: Memory = {}
    while not stop.wait(seconds):
        try:
            for sentence in reconcile_once(memory=memory):
                _logger.info("%s", sentence)
            if time.monotonic() - last_sweep > SWEEP_SECONDS:
                last_sweep = time.monotonic()
                if removed := remove_orphaned_containers():
                    _logger.info("removed %s containers of workers that have ended", removed)
        except CodePipelineError as error:
            _logger.warning("%s", error)
        except Exception:  # one bad execution must not end the loop
            _logger.exception("reconcile failed unexpectedly; it will run again")


def _repair(stop: threading.Event) -> None:
    """Look after the database, the server and the gateway; after each attempt that fails, twice as long is waited."""
    pause = REPAIR_SECONDS
    while not stop.wait(pause):
        try:
            for sentence in (*repair(), *repair_gateway()):
                _logger.warning("%s", sentence)
            pause = REPAIR_SECONDS
        except CodePipelineError as error:
            _logger.warning("%s", error)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def _poll(stop: threading.Event) -> None:
    """Poll the repositories at the start of each minute."""
    logged: set[str] = set()
    while EVERY_SECONDS and not stop.wait(EVERY_SECONDS - time.time() % EVERY_SECONDS):
        try:
            sentences = poll_once()
        except PrefectUnavailable as error:
            sentences = [str(error)]
        except Exception:  # one bad repository must not end the polling
            _logger.exception("polling failed unexpectedly; it will run again")
            continue
        for sentence in sentences:
            # A persistent error occurs each minute; log it once.
            if sentence not in logged:
                _logger.info("%s", sentence)
        logged = set(sentences)


if __name__ == "__main__":
    main()
