"""Retention sends few requests a second, and ends between two."""

from __future__ import annotations

import threading
import time

import pytest

from prefect_codepipeline.engine.retention.pace import Pace, StoppedError


def test_requests_are_spread():
    pace = Pace(per_second=100)
    began = time.monotonic()
    for _ in range(5):
        pace.wait(4)

    # The last four need not be over.
    assert 0.16 <= time.monotonic() - began < 2


def test_a_stop_ends_the_work_before_the_next_request():
    stop = threading.Event()
    pace = Pace(stop, per_second=0.01)
    pace.wait()
    threading.Timer(0.05, stop.set).start()
    with pytest.raises(StoppedError):
        pace.wait()
