"""A round of retention each day, beside the loop that reconciles: it may take hours."""

from __future__ import annotations

import logging
import threading

from prefect_codepipeline.engine.retention.prune import note_stores, prune_when_due
from prefect_codepipeline.errors import CodePipelineError

# Whether a round is due is looked at that often. The first look comes late: a set-up that starts has other work.
LOOK_SECONDS = 600.0
_logger = logging.getLogger("codepipeline.reconcile")


def prune_until(stop: threading.Event) -> None:
    """Do a round of retention each day until the stop. Of several processes one does it.

    The stores are noted at once: a set-up that is never up for long must be known to the others that use them.
    """
    is_first = True
    while is_first or not stop.wait(LOOK_SECONDS):
        try:
            note_stores()
            for sentence in [] if is_first else prune_when_due(stop):
                _logger.info("%s", sentence)
        except CodePipelineError as error:
            _logger.warning("retention: %s", error)
        except Exception:  # no error may end the loop
            _logger.exception("retention failed unexpectedly; it will run again")
        is_first = False


def pruning(stop: threading.Event) -> threading.Thread:
    """The thread that does it. It does not hold up the end of its process: the next round does the rest."""
    return threading.Thread(target=prune_until, args=(stop,), name="codepipeline-retention", daemon=True)
