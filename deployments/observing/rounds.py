"""The metrics of a reconcile service: its rounds, and the approvals that these have seen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from prefect_codepipeline.deployments.reconciling.rounds import Rounds
from prefect_codepipeline.flows.reconcile import open_approvals


class RoundsCollector(Collector):
    """Tells Prometheus, when it asks, what the rounds of this process are like."""

    def __init__(self, rounds: Rounds, is_busy: Callable[[], bool]) -> None:
        self._rounds = rounds
        self._is_busy = is_busy

    def register(self) -> None:
        """Have it asked with all other metrics of this process."""
        REGISTRY.register(self)

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now. Ages are missing before the first round."""
        rounds = self._rounds
        yield _gauge(
            "busy", "1 for the service that reconciles, 0 for those that wait.", float(self._is_busy())
        )
        failed = CounterMetricFamily(
            "codepipeline_reconcile_failed_rounds", "Rounds that ended with an error."
        )
        failed.add_metric([], rounds.failed)
        yield failed
        if rounds.ended is not None:
            age = time.monotonic() - rounds.ended
            yield _gauge("round_age_seconds", "Time since the last whole round.", age)
            yield _gauge("round_duration_seconds", "How long the last whole round took.", rounds.seconds)
        if self._is_busy():
            count, oldest = open_approvals(rounds.memory)
            yield GaugeMetricFamily("codepipeline_approvals_open", "Approvals that wait for a person.", count)
            age = max(0.0, time.time() - oldest.timestamp()) if oldest else 0.0
            yield GaugeMetricFamily(
                "codepipeline_approvals_oldest_seconds", "Age of the oldest open approval.", age
            )


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"codepipeline_reconcile_{name}", text, value)
