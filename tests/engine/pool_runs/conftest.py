"""Work pools of a test's own, with workers that end with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pool_workers import PoolWorker


@pytest.fixture
def worker_of(prefect_server: str, tmp_path: Path) -> Iterator[Callable[..., PoolWorker]]:
    """Makes a work pool, or another worker of one; it has to be started."""
    workers: list[PoolWorker] = []

    def make(**more: Any) -> PoolWorker:
        workers.append(PoolWorker(tmp_path, **more))
        return workers[-1]

    yield make
    for worker in workers:
        worker.stop()
