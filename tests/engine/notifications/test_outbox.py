"""An outbox sends each item once, pauses longer after each failure, and ends by its deadline."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import pytest

from prefect_codepipeline.engine.executions import pause
from prefect_codepipeline.engine.executions.pause import Pause, read_retry_after
from prefect_codepipeline.engine.notifications.outbox import Outbox, close_all


class Letters(Outbox[str, float | None]):
    """Sends letters by a function, which returns the seconds that the receiver asks for if it is limited."""

    def __init__(self, send: Callable[[str], float | None]) -> None:
        super().__init__("letters", logging.getLogger("test"))
        self._post = send
        self._letters: list[str] = []
        self.left: int | None = None
        self.is_connected = True

    def add(self, *letters: str) -> None:
        with self._changed:
            self._letters += letters
            self._wake()

    def _waiting(self) -> list[tuple[str, float]]:
        return [(letter, self._pauses["post"].until) for letter in self._letters]

    def _send(self, item: str) -> float | None:
        return self._post(item)

    def _take_answer(self, item: str, answer: float | None) -> None:
        with self._changed:
            if answer is not None:
                self._pauses["post"].begin(answer)
                return
            self._letters.remove(item)
            self._pauses["post"].reset()

    def _take_failure(self, item: str, error: Exception) -> None:
        if not isinstance(error, ConnectionError):
            raise error
        with self._changed:
            self._pauses["post"].begin()
        self._warn("away", f"the post is away: {error}")

    def _conclude(self, left: int) -> None:
        self.left = left

    def _disconnect(self) -> None:
        self.is_connected = False


class Post:
    """Takes letters, after it has failed with each of `trouble`."""

    def __init__(self, *trouble: Exception | float) -> None:
        self._trouble = list(trouble)
        self.letters: list[str] = []
        self.tries: list[float] = []

    def __call__(self, letter: str) -> float | None:
        self.tries.append(time.monotonic())
        if self._trouble:
            trouble = self._trouble.pop(0)
            if isinstance(trouble, Exception):
                raise trouble
            return trouble
        self.letters.append(letter)
        return None


@pytest.fixture
def full_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: high)


@pytest.mark.usefixtures("full_pauses")
def test_a_pause_doubles_up_to_the_longest_and_starts_again_after_a_success() -> None:
    one = Pause()

    assert [one.begin() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    one.reset()
    assert one.until <= time.monotonic()
    assert one.begin() == 1
    short = Pause(longest=3)
    assert [short.begin() for _ in range(4)] == [1, 2, 3, 3]


def test_pauses_differ_by_chance_and_are_never_longer_than_their_turn() -> None:
    lengths = [Pause().begin() for _ in range(50)]

    assert len(set(lengths)) > 1
    assert all(0.5 <= length <= 1 for length in lengths)


def test_a_pause_that_the_receiver_asked_for_is_not_cut_short() -> None:
    own, asked = Pause(), Pause()
    own.begin()
    assert asked.begin(7.5) == 7.5

    own.cut_short()
    asked.cut_short()

    assert own.until == 0
    assert asked.until > time.monotonic() + 7


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), (" 12 ", 12), ("1.5", 1.5), ("9" * 400, 3600), ("", None), ("soon", None), ("-1", None), ("٣", None),
     ("Mon, 99 Foo 99999999999999999999", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0)],
)  # fmt: skip
def test_what_retry_after_says(text: str, seconds: float | None) -> None:
    assert read_retry_after(text) == seconds


def test_retry_after_may_be_a_date() -> None:
    seconds = read_retry_after(
        format_datetime(datetime.now(timezone.utc) + timedelta(seconds=90), usegmt=True)
    )

    assert seconds is not None
    assert 85 < seconds <= 90


def test_each_item_is_sent_once_and_in_order() -> None:
    post = Post()
    letters = Letters(post)
    for number in range(20):
        letters.add(str(number))

    close_all([letters])

    assert post.letters == [str(number) for number in range(20)]
    assert letters.left == 0
    assert not letters.is_connected


def test_trouble_is_logged_once_and_the_pauses_grow(
    monkeypatch: pytest.MonkeyPatch, caplog: Any, full_pauses: None, wait_for: Any
) -> None:
    monkeypatch.setattr(pause, "FIRST_SECONDS", 0.05)
    post = Post(*[ConnectionError("no route")] * 3)
    letters = Letters(post)
    letters.add("a")
    wait_for(lambda: post.letters, 5)
    close_all([letters])

    gaps = [later - earlier for earlier, later in zip(post.tries, post.tries[1:], strict=False)]
    assert [gap >= least for gap, least in zip(gaps, (0.05, 0.1, 0.2), strict=True)] == [True] * 3
    assert [record.getMessage() for record in caplog.records] == ["the post is away: no route"]


def test_the_end_is_a_last_chance_unless_the_receiver_asked_to_wait() -> None:
    away, limited = Post(ConnectionError("no route")), Post(0.7)
    outboxes = [Letters(away), Letters(limited)]
    began = time.monotonic()
    for each, post in zip(outboxes, (away, limited), strict=True):
        each.add("a")
        while not post.tries:
            time.sleep(0.005)

    close_all(outboxes)

    assert [post.letters for post in (away, limited)] == [["a"], ["a"]]
    assert away.tries[1] - began < 0.5
    assert limited.tries[1] - limited.tries[0] >= 0.7


def test_an_end_does_not_wait_for_what_cannot_be_sent_in_time() -> None:
    letters = Letters(Post(60.0))
    letters.add("a", "b")
    began = time.monotonic()

    close_all([letters], 5)

    assert time.monotonic() - began < 2
    assert letters.left == 2


def test_several_are_closed_by_one_deadline() -> None:
    forever = threading.Event()
    outboxes = [Letters(lambda _: float(forever.wait(10))) for _ in range(4)]
    for each in outboxes:
        each.add("a")
    began = time.monotonic()

    close_all(outboxes, 0.5)

    assert 0.5 <= time.monotonic() - began < 1.5
    assert [each.left for each in outboxes] == [1] * 4
    forever.set()


def test_without_an_item_there_is_no_thread() -> None:
    before = threading.active_count()
    letters = Letters(Post())

    assert threading.active_count() == before
    close_all([letters])
    assert letters.left == 0


def test_a_bug_stops_the_outbox_and_its_text_is_not_logged(caplog: Any) -> None:
    letters = Letters(Post(KeyError("planted-secret")))
    letters.add("a", "b")

    close_all([letters])

    assert [record.getMessage() for record in caplog.records] == [
        "letters failed unexpectedly and sends no more: KeyError"
    ]
    assert letters.left == 0
