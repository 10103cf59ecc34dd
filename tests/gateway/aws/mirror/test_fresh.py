"""A value that many threads ask for: how old it may be, who reads it, and what a failure does."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from waiting import until

from prefect_codepipeline.errors import PrefectUnavailable
from prefect_codepipeline.gateway.aws.mirror import fresh
from prefect_codepipeline.gateway.aws.mirror.fresh import Fresh


class Source:
    """What is read: the number of times it was read so far."""

    def __init__(self) -> None:
        self.times = 0
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.error: Exception | None = None

    def read(self) -> int:
        self.times += 1
        number = self.times
        assert self.may_go_on.wait(20)
        if self.error:
            raise self.error
        return number


def test_a_value_is_read_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    source, now = Source(), [100.0]
    value = Fresh(source.read)
    monkeypatch.setattr(fresh.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(fresh, "_AHEAD_SECONDS", 9.0)

    assert [value.get(), value.get()] == [1, 1]
    now[0] += 0.99
    assert value.get() == 1
    now[0] += 0.02
    assert value.get() == 2


def test_what_expired_is_read_anew_even_if_a_reading_is_under_way() -> None:
    source = Source()
    value = Fresh(source.read)
    source.may_go_on.clear()
    with ThreadPoolExecutor(2) as threads:
        before = threads.submit(value.get)
        until(lambda: source.times)
        value.expire()
        after = threads.submit(value.get)
        source.may_go_on.set()
        assert before.result(20) == 1
        assert after.result(20) == 2, "what was read before the change was answered"


def test_of_many_threads_one_reads() -> None:
    source = Source()
    value = Fresh(source.read)
    source.may_go_on.clear()
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(value.get) for _ in range(8)]
        until(lambda: source.times)
        source.may_go_on.set()
        assert {each.result(20) for each in asked} == {1}


def test_a_failure_is_told_to_all_who_waited_and_not_kept() -> None:
    source = Source()
    source.error = PrefectUnavailable("away")
    value = Fresh(source.read)
    source.may_go_on.clear()
    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(value.get) for _ in range(4)]
        until(lambda: source.times)
        time.sleep(0.05)  # the others are about to wait for the first
        source.may_go_on.set()
        assert all(isinstance(each.exception(20), PrefectUnavailable) for each in asked)
    assert source.times < 4
    source.error = None

    assert value.get() == source.times


def test_a_client_that_asks_all_the_time_never_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source()
    value = Fresh(source.read)
    monkeypatch.setattr(fresh, "_AHEAD_SECONDS", 0.01)
    assert value.get() == 1
    time.sleep(0.02)
    source.may_go_on.clear()

    assert value.get() == 1
    until(lambda: source.times == 2)
    assert value.get() == 1, "it waited for what is read ahead"
    source.may_go_on.set()
    until(lambda: value.get() >= 2)
