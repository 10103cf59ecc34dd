"""The short form of `make chaos`: kills at random, and a crowd at the gates."""

from __future__ import annotations

import pytest
from chaos import crowd, start_together, storm
from job_storm import job_storm
from set_up import SetUp

pytestmark = [
    pytest.mark.live,
    pytest.mark.long,
    pytest.mark.timeout(900),
]  # four crowds share two processors
SEED = 3  # kills PostgreSQL, the worker and a flow


def test_a_crowd_passes_one_at_a_time_and_kills_lose_or_repeat_or_leave_nothing(set_up: SetUp) -> None:
    start_together(set_up, 16)
    crowd(set_up, 5, "QUEUED")
    assert "postgresql" in storm(set_up, kills=3, seed=SEED)
    assert "'gateway': 1" in job_storm(set_up, kills=1, workers=6, executions=2, actions=5, seed=SEED)
