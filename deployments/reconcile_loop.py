"""`python -m prefect_codepipeline.deployments.reconcile_loop`: repair every few seconds, until told to stop."""

from __future__ import annotations

import logging
import os
import signal
import threading

from prefect_codepipeline.errors import CodePipelineError
from prefect_codepipeline.flows.reconcile import reconcile_once

SECONDS_VARIABLE = "PREFECT_CODEPIPELINE_RECONCILE_SECONDS"
DEFAULT_SECONDS = 5.0
_logger = logging.getLogger("codepipeline.reconcile")


def main() -> None:
    """Reconcile until SIGTERM; a server that is away for a while is waited for."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    seconds = float(os.environ.get(SECONDS_VARIABLE) or DEFAULT_SECONDS)
    while not stop.wait(seconds):
        try:
            for sentence in reconcile_once():
                _logger.info("%s", sentence)
        except CodePipelineError as error:
            _logger.warning("%s", error)
        except Exception:  # one odd execution must not end the repair of all others
            _logger.exception("reconcile met a defect")


if __name__ == "__main__":
    main()
