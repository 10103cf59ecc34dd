"""Reconcile as a service: any number may run, on any machine that reaches Prefect; one of them is busy."""

from __future__ import annotations

import logging
import signal
import threading
import time

from prefect_codepipeline.deployments.observing.pages import Health, serving_pages
from prefect_codepipeline.deployments.observing.traces import has_traces
from prefect_codepipeline.deployments.reconciling.busy_lease import BusyLease
from prefect_codepipeline.deployments.reconciling.retention import pruning
from prefect_codepipeline.deployments.reconciling.rounds import Rounds, poll_until
from prefect_codepipeline.deployments.releases.record_format import check_record_format
from prefect_codepipeline.errors import NotLetIn, PrefectUnavailable
from prefect_codepipeline.prefect_api.client import within

# A step may wait that long for Prefect when the service has to end: less than Kubernetes and Docker wait before they kill.
REQUEST_SECONDS = 8.0
# A round that takes longer hangs: another service takes its place, and the one that hangs may be restarted.
STUCK_SECONDS = 300.0
_AGAIN_SECONDS = 2.0
_END_SECONDS = 2.0
_logger = logging.getLogger("codepipeline.reconcile")


def serve(every: float, polls: bool) -> None:
    """Reconcile every so many seconds, and poll repositories each minute, until SIGTERM or SIGINT.

    Raises:
        NewerRecord: a newer release works with this server.
        NotLetIn: Prefect does not accept the credentials at the start; later ones are logged, and tried again.
        CodePipelineError: the address of `/health` cannot be used.
    """
    # `force`, because Prefect's import has already configured the root logger for warnings only.
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    stop, lease = threading.Event(), BusyLease()
    rounds = Rounds(stop, lambda: lease.is_held)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with serving_pages(lambda: health_of(rounds, lease)) as address, within(REQUEST_SECONDS):
        _wait_for_server(stop, rounds)
        beside = [threading.Thread(target=_keep, args=(lease, stop, rounds), name="codepipeline-busy")]
        if polls:
            polling = (stop, lambda: lease.is_held)
            beside.append(threading.Thread(target=poll_until, args=polling, name="codepipeline-poll"))
        if address or has_traces():
            beside.append(_measuring(stop, lease, rounds))
        for thread in beside:
            thread.daemon = (
                True  # a slow repository does not hold up the end: what is polled again starts nothing twice
            )
            thread.start()
        pruning(stop).start()
        rounds.repeat(every)
        for thread in beside:
            thread.join(_END_SECONDS)
        lease.give_back()
    _logger.info("ended")


def health_of(rounds: Rounds, lease: BusyLease) -> Health:
    """Whether the loop comes round; what it does. It is well also while Prefect is away: a restart would not help."""
    if _is_stuck(rounds):
        return False, f"the round of reconcile that began over {STUCK_SECONDS:g} s ago has not ended"
    if rounds.trouble:
        return True, f"waits for Prefect, or failed: {rounds.trouble}"
    if not lease.is_held:
        return True, f"waits: {lease.holder} reconciles" if lease.is_refused else "begins"
    if rounds.ended is None:
        return True, "reconciles for the first time"
    return True, f"reconciles; the last round ended {time.monotonic() - rounds.ended:.0f} s ago"


def _is_stuck(rounds: Rounds) -> bool:
    began = rounds.began
    return began is not None and time.monotonic() - began > STUCK_SECONDS


def _keep(lease: BusyLease, stop: threading.Event, rounds: Rounds) -> None:
    with within(REQUEST_SECONDS):
        lease.keep_until(stop, lambda: not _is_stuck(rounds))


def _measuring(stop: threading.Event, lease: BusyLease, rounds: Rounds) -> threading.Thread:
    # Only what is asked for is imported.
    from prefect_codepipeline.deployments.observing.executions import Observer
    from prefect_codepipeline.deployments.observing.rounds import RoundsCollector
    from prefect_codepipeline.deployments.observing.traces import Traces

    RoundsCollector(rounds, lambda: lease.is_held).register()
    observer = Observer(Traces() if has_traces() else None)
    looking = (stop, lambda: lease.is_held)
    return threading.Thread(target=observer.look_until, args=looking, name="codepipeline-measure")


def _wait_for_server(stop: threading.Event, rounds: Rounds) -> None:
    """Wait until Prefect answers, and see that this release may work with what is there."""
    while not stop.is_set():
        try:
            check_record_format()
            rounds.trouble = ""
            return
        except NotLetIn:
            raise  # waiting does not help
        except PrefectUnavailable as error:
            if str(error) != rounds.trouble:
                _logger.warning("%s", error)
            rounds.trouble = str(error)
            stop.wait(_AGAIN_SECONDS)
