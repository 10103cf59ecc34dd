"""A short form of `make fuzz`: no changed file ends in a traceback."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from fuzz import attempt, changed, seeds

SEEDS = seeds()


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(range(len(SEEDS))), st.integers(0, 2**32))
def test_no_changed_file_ends_in_a_traceback(which: int, seed: int) -> None:
    attempt(changed(SEEDS[which], random.Random(seed)))


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: seed.name)
def test_the_files_that_are_changed_are_right_themselves(seed: object) -> None:
    assert getattr(seed, "content", None)
