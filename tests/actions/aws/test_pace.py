"""All looks at work in AWS together keep within a number of requests, while a few actions are looked at as they wish."""

from __future__ import annotations

import heapq
import subprocess
import sys
from collections import Counter
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path

import pytest

from prefect_codepipeline.actions.aws import pace
from prefect_codepipeline.actions.aws.remote_work import (
    LONGEST_PAUSE_SECONDS,
    PAUSE_PER_SECOND,
    SHORTEST_PAUSE_SECONDS,
)

NOW = datetime(2030, 1, 1, tzinfo=timezone.utc)
ANOTHER = """
import sys
from datetime import datetime, timezone
from prefect_codepipeline.actions.aws.pace import place_after
now = datetime(2030, 1, 1, tzinfo=timezone.utc)
print(max(place_after(now, now, "account") for _ in range(90)).isoformat())
"""


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PREFECT_CODEPIPELINE_CACHE", str(tmp_path))
    monkeypatch.setenv("PREFECT_CODEPIPELINE_AWS_REQUESTS", "150")
    monkeypatch.setattr(pace, "REQUESTS_PER_MINUTE", 150.0)


def looks_by_minute(actions: int, minutes: int, requests: int = 1) -> list[int]:
    """The requests of each minute of so many actions whose work begins at once."""
    waiting = [(0.0, number) for number in range(actions)]
    found: Counter[int] = Counter()
    while waiting[0][0] < 60 * minutes:
        at, number = heapq.heappop(waiting)
        found[int(at // 60)] += requests
        pause = min(max(SHORTEST_PAUSE_SECONDS, PAUSE_PER_SECOND * at), LONGEST_PAUSE_SECONDS)
        now = NOW + timedelta(seconds=at)
        until = pace.place_after(now + timedelta(seconds=pause), now, "account", requests)
        heapq.heappush(waiting, ((until - NOW).total_seconds(), number))
    return [found[minute] for minute in range(minutes)]


@pytest.mark.parametrize("requests", [1, 2])
def test_a_hundred_actions_make_less_than_200_requests_a_minute(requests):
    first, *others = looks_by_minute(100, 5, requests)

    assert first - 100 * requests <= 150  # without the starts
    assert max(others) <= 160
    assert min(others) >= 120  # no one is left out


def test_every_one_of_many_actions_has_its_turn():
    places = sorted(pace.place_after(NOW, NOW, "account") for _ in range(300))

    assert places[-1] - NOW < timedelta(minutes=2, seconds=10)
    gaps = [(one - other).total_seconds() for other, one in pairwise(places[12:])]
    assert max(gaps) < 0.41  # evenly, not in bursts


def test_a_few_actions_are_looked_at_as_often_as_they_wish():
    for second in range(0, 60, 2):
        now = NOW + timedelta(seconds=second)
        wanted = [now + timedelta(seconds=2 + number / 10) for number in range(5)]
        assert [pace.place_after(each, now, "account") for each in wanted] == wanted


def test_accounts_do_not_wait_for_one_another():
    for _ in range(100):
        pace.place_after(NOW, NOW, "account")

    assert pace.place_after(NOW, NOW, "another") == NOW


def test_processes_share_the_places():
    for _ in range(90):
        pace.place_after(NOW, NOW, "account")
    done = subprocess.run([sys.executable, "-c", ANOTHER], capture_output=True, text=True, check=True)

    assert datetime.fromisoformat(done.stdout.strip()) - NOW > timedelta(seconds=55)


def test_a_broken_file_and_a_full_disk_cost_only_the_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pace.place_after(NOW, NOW, "account")
    (file,) = (tmp_path / "aws").iterdir()
    file.write_text('{"1":')
    assert pace.place_after(NOW, NOW, "account") == NOW

    monkeypatch.setenv("PREFECT_CODEPIPELINE_CACHE", "/dev/null")
    assert [pace.place_after(NOW, NOW, "account") for _ in range(50)] == [NOW] * 50


def test_places_of_the_past_are_forgotten(tmp_path: Path):
    for minute in range(60):
        now = NOW + timedelta(minutes=minute)
        pace.place_after(now, now, "account")

    (file,) = (tmp_path / "aws").iterdir()
    assert len(file.read_text()) < 50
