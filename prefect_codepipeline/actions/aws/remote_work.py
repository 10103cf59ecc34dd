"""Work of an action in AWS that outlives this process: start it or find it again, follow it, stop it.

Every wait is one call of `_wait`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.errors import ActionAbandoned, ActionFailed, ActionInterrupted

SHORTEST_PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 30.0
# The longer the work takes, the less often it is looked at.
PAUSE_PER_SECOND = 0.1
# So long the work may be unobservable: the service does not answer, or is throttled.
UNANSWERED_SECONDS = 300.0


@dataclass(frozen=True)
class Work:
    """Work in AWS by its id, and the URL of its page in the console."""

    id: str
    url: str | None = None


@dataclass(frozen=True)
class Look:
    """What one look at the work has seen; `summary` is shown as the action's progress."""

    ended: bool
    summary: str = ""
    percent: int | None = None


@dataclass(frozen=True)
class Following:
    """How work is followed.

    Args:
        what: the work's name for messages, such as `stack 'shop'`.
        work: its id and URL.
        look: asks for its state once. Raises `ActionFailed` if it cannot.
        stop: ends the work; returns what still happens, as a sentence for the message. Raises `ActionFailed` if it cannot.
        longest_pause_seconds: between two looks.
    """

    what: str
    work: Work
    look: Callable[[], Look]
    stop: Callable[[], str]
    longest_pause_seconds: float | None = None


def started(
    context: ActionContext, step: str, start: Callable[[], Work], find: Callable[[], Work | None]
) -> Work:
    """The work of one step of an action, started once in the life of the action execution.

    Args:
        context: of the action.
        step: names the work among all work of the action.
        start: starts it, with a token where AWS takes one.
        find: work that was started, but whose id was not kept: an earlier process died, or the answer was lost.
            Called only then.

    Raises:
        ActionFailed: it could not be started; if the service does not answer, it is tried again for a while.
    """
    earlier = context.earlier
    if earlier and (kept := earlier.state.get(step)):
        url = earlier.url if earlier.external_id == kept else None
        context.logger.info("Following %s, which an earlier process started", kept)
        return Work(kept, url)
    work = find() if earlier else None
    if work is None:
        context.check()  # nothing starts in an action that must end
        work = _start(context, start, find)
    context.keep(work.id, work.url, **{step: work.id})
    context.logger.info("Started %s: %s", work.id, work.url)
    return work


def _start(context: ActionContext, start: Callable[[], Work], find: Callable[[], Work | None]) -> Work:
    began = time.monotonic()
    while True:
        try:
            return start()
        except ActionFailed as error:
            with suppress(ActionFailed):
                if found := find():  # the service had started it, but the answer was lost
                    return found
            if error.code != "SystemUnavailable" or time.monotonic() - began >= UNANSWERED_SECONDS:
                raise
            context.logger.warning("Will retry: %s", error)
        _wait(context, began, None)
        context.check()


def follow(following: Following, context: ActionContext) -> None:
    """Look at the work until it has ended; on cancellation, timeout or a permanent error, stop it.

    The work continues if only this process must end.

    Raises:
        ActionFailed: the time is up (`Timeout`), or the state could not be read; with the work's id and URL.
        ActionAbandoned: the execution was cancelled; as `ActionInterrupted`, only this process ends.
    """
    began = answered = time.monotonic()
    try:
        while True:
            context.check()
            try:
                look = following.look()
            except ActionFailed as error:
                away_seconds = time.monotonic() - answered
                if error.code != "SystemUnavailable" or away_seconds >= UNANSWERED_SECONDS:
                    raise
                context.logger.warning(
                    "Could not read the state of %s, will retry: %s", following.what, error
                )
            else:
                answered = time.monotonic()
                _report(look, following.work, context)
                if look.ended:
                    return
            _wait(context, began, following.longest_pause_seconds)
    except ActionInterrupted:
        raise
    except ActionAbandoned as error:
        raise ActionAbandoned(_with(error, _stop(following, context))) from error
    except ActionFailed as error:
        raise failed(_with(error, _stop(following, context)), following.work, error.code) from error
    except BaseException:
        _stop(following, context)
        raise


def failed(message: str, work: Work, code: str = "JobFailed") -> ActionFailed:
    """The failure of work, with its id and its page."""
    return ActionFailed(message, code=code, external_execution_id=work.id, external_execution_url=work.url)


def _report(look: Look, work: Work, context: ActionContext) -> None:
    context.report_progress(summary=look.summary, percent=look.percent, external_id=work.id, url=work.url)


def _wait(context: ActionContext, began: float, longest: float | None) -> None:
    pause = max(SHORTEST_PAUSE_SECONDS, PAUSE_PER_SECOND * (time.monotonic() - began))
    most = LONGEST_PAUSE_SECONDS if longest is None else longest
    context.cancellation.wait(min(pause, most, max(context.remaining_seconds, 0.0)))


def _stop(following: Following, context: ActionContext) -> str:
    """Stop the work, and return what still happens."""
    try:
        return following.stop()
    except ActionFailed as error:
        sentence = f"{following.what} may still run: {error}; stop it at {following.work.url}"
        sentence = sentence[0].upper() + sentence[1:]
        context.logger.warning("%s", sentence)
        return sentence


def _with(error: Exception, sentence: str) -> str:
    return f"{error}; {sentence}" if sentence else str(error)
