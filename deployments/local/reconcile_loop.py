"""`python -m prefect_codepipeline.deployments.local.reconcile_loop`: reconcile and poll at intervals until SIGTERM.

It also starts the database, the server and the gateway of the embedded set-up again if they have died.
"""

from __future__ import annotations

import logging
import signal
import threading

from prefect_codepipeline.actions.commands.hidden_environment import hide_environment
from prefect_codepipeline.deployments.local.embedded import repair
from prefect_codepipeline.deployments.local.gateway_watch import repair_gateway
from prefect_codepipeline.deployments.reconciling.retention import pruning
from prefect_codepipeline.deployments.reconciling.rounds import DEFAULT_SECONDS, Rounds, poll_until
from prefect_codepipeline.errors import CodePipelineError
from prefect_codepipeline.numbers_set import number_set

SECONDS_VARIABLE = "PREFECT_CODEPIPELINE_RECONCILE_SECONDS"
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
    threading.Thread(target=poll_until, args=(stop,), name="codepipeline-poll", daemon=True).start()
    pruning(stop).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    # Without a lease: the embedded set-up has one loop, whose successor must not wait for its silence.
    Rounds(stop).repeat(number_set(SECONDS_VARIABLE, DEFAULT_SECONDS))


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


if __name__ == "__main__":
    main()
