"""The metrics of a worker: what it runs now. What became of it, the reconcile service counts."""

from __future__ import annotations

from collections.abc import Sized

from prometheus_client import Gauge

_running = Gauge("codepipeline_worker_flow_runs", "Flow runs that have a process of this worker.")


def show_launches(launches: Sized) -> None:
    """Show how many flow runs there are, whenever Prometheus asks."""
    _running.set_function(lambda: float(len(launches)))
