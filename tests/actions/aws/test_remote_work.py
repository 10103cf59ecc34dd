"""Work in AWS between the calls of its provider: when it is looked at again, and how long silence is borne."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from prefect_codepipeline.actions.aws.remote_work import Following, Look, Work, follow, started
from prefect_codepipeline.actions.registry import ActionContext, Earlier, WorkGoesOn
from prefect_codepipeline.errors import ActionAbandoned, ActionFailed, PrefectUnavailable

WORK = Work("job-1", "https://example.com/job-1")
AWAY = ActionFailed("no answer", code="SystemUnavailable")


@pytest.fixture
def context(make_aws_context: Any) -> ActionContext:
    made: ActionContext = make_aws_context("Deploy/ECS", seconds=30 * 86_400)
    return made


def aged(context: ActionContext, ago: timedelta, **state: str) -> ActionContext:
    """The context of a later call."""
    return replace(context, earlier=Earlier(datetime.now(timezone.utc) - ago, "job-1", state=state))


def look(context: ActionContext, longest: float | None = None) -> float:
    """The seconds until the next look at work that goes on."""
    going_on = Following("job 'one'", WORK, lambda: Look(False, "2 of 3"), lambda: "", longest)
    with pytest.raises(WorkGoesOn) as work:
        follow(going_on, context)
    assert work.value.waiting.summary == "2 of 3"
    assert work.value.waiting.until
    return (work.value.waiting.until - datetime.now(timezone.utc)).total_seconds()


@pytest.mark.parametrize(
    ("ago", "pause"),
    [
        (timedelta(seconds=1), 2),
        (timedelta(seconds=100), 10),
        (timedelta(minutes=20), 30),
        (timedelta(days=1), 864),
    ],
)
def test_the_longer_the_work_takes_the_less_often_it_is_looked_at(
    context: ActionContext, ago: timedelta, pause: float
) -> None:
    assert look(aged(context, ago)) == pytest.approx(pause, abs=0.5)


def test_the_first_look_after_a_start_is_followed_by_another_soon(context: ActionContext) -> None:
    assert look(context) == pytest.approx(2, abs=0.5)


def test_a_provider_may_want_more_looks_and_none_is_after_the_time_limit(
    context: ActionContext, make_aws_context: Any
) -> None:
    assert look(aged(context, timedelta(days=1)), 60) == pytest.approx(60, abs=0.5)
    short = make_aws_context("Deploy/ECS", seconds=1)
    assert look(aged(short, timedelta(days=1))) == pytest.approx(1, abs=0.5)


def silent(*_: Any) -> Any:
    raise AWAY


def never() -> Work | None:
    raise AssertionError("it is not searched for")


@pytest.mark.parametrize("which", ["start", "find", "look"])
def test_silence_is_borne_for_five_minutes(context: ActionContext, which: str) -> None:
    kept: dict[str, str] = {}
    context = replace(context, keep=lambda *_, **state: kept.update(state))
    calls: dict[str, Callable[[ActionContext], Any]] = {
        "start": lambda context: started(context, "job", silent, lambda: None),
        "find": lambda context: started(context, "job", never, silent),  # type: ignore[arg-type]
        "look": lambda context: follow(Following("job 'one'", WORK, silent, lambda: ""), context),
    }
    first = context if which == "start" else aged(context, timedelta(hours=1))
    with pytest.raises(WorkGoesOn, match="no answer about job"):
        calls[which](first)
    since = datetime.fromisoformat(kept["unanswered-since"])
    assert datetime.now(timezone.utc) - since < timedelta(seconds=5)

    still = {"unanswered-since": (since - timedelta(minutes=4)).isoformat()}
    with pytest.raises(WorkGoesOn):
        calls[which](aged(context, timedelta(hours=1), **still))
    gone = {"unanswered-since": (since - timedelta(minutes=5)).isoformat()}
    with pytest.raises(ActionFailed) as failed:
        calls[which](aged(context, timedelta(hours=1), **gone))
    assert failed.value.code == "SystemUnavailable"


def test_work_of_days_is_looked_at_soon_again_while_there_is_no_answer(context: ActionContext) -> None:
    with pytest.raises(WorkGoesOn) as work:
        follow(Following("job 'one'", WORK, silent, lambda: ""), aged(context, timedelta(days=3)))

    assert work.value.waiting.until
    left = work.value.waiting.until - datetime.now(timezone.utc)
    assert left <= timedelta(seconds=30)


def test_the_work_goes_on_if_it_is_prefect_that_does_not_answer(context: ActionContext) -> None:
    def keep(*_: Any, **__: Any) -> None:
        raise PrefectUnavailable("no answer")

    stopped: list[str] = []
    work = Following("job 'one'", WORK, silent, lambda: stopped.append("stop") or "")  # type: ignore[func-returns-value]

    with pytest.raises(PrefectUnavailable):
        follow(work, replace(aged(context, timedelta(hours=1)), keep=keep))

    assert not stopped


def test_an_answer_ends_the_silence(context: ActionContext) -> None:
    kept: dict[str, str] = {}
    since = (datetime.now(timezone.utc) - timedelta(minutes=4)).isoformat()
    context = replace(context, keep=lambda *_, **state: kept.update(state))

    look(aged(context, timedelta(hours=1), **{"unanswered-since": since}))

    assert kept == {"unanswered-since": ""}


def test_what_must_end_is_stopped_and_the_message_says_what_happens_then(context: ActionContext) -> None:
    context.cancellation.cancel()
    stopped: list[str] = []

    def stop() -> str:
        stopped.append("job-1")
        return "the job goes on for a minute"

    with pytest.raises(ActionAbandoned, match="; the job goes on for a minute"):
        follow(Following("job 'one'", WORK, silent, stop), context)
    assert stopped == ["job-1"]
    with pytest.raises(ActionAbandoned):
        started(context, "job", never, lambda: None)  # type: ignore[arg-type]
