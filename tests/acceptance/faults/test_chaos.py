"""The short form of `make chaos`: kills at random, and a crowd at the gates."""

from __future__ import annotations

import pytest
from chaos import crowd, storm
from set_up import SetUp

pytestmark = pytest.mark.live


def test_nothing_is_lost_or_done_twice_or_left_behind_by_kills(set_up: SetUp) -> None:
    storm(set_up, kills=3, seed=7)


def test_a_crowd_passes_the_gates_one_at_a_time(set_up: SetUp) -> None:
    crowd(set_up, 5, "QUEUED")
