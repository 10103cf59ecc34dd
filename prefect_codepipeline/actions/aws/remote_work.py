"""Work of an action in AWS that outlives this process: start it or find it again, follow it, stop it.

While the work continues, the action waits: its function is called again for each look, and so once more does what comes
before `follow`. So what only a start needs, such as the input artifacts, belongs into the `start` of `started`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from prefect_codepipeline.actions.aws.pace import place_after
from prefect_codepipeline.actions.registry import ActionContext, Waiting, WorkGoesOn
from prefect_codepipeline.errors import ActionAbandoned, ActionFailed, ActionInterrupted, PrefectUnavailable

# The longer the work takes, the less often it is looked at: a tenth of its time, and after minutes every 30 s. Work of
# hours and days is looked at after each hundredth of its time: every look of a suspended execution costs some facts.
# Where much work is followed at once, the looks take turns: see `pace`.
SHORTEST_PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 30.0
PAUSE_PER_SECOND = 0.1
LATE_PAUSE_PER_SECOND = 0.01
# So long the work may be unobservable: the service does not answer, or is throttled.
UNANSWERED_SECONDS = 300.0
# Under this name it is kept since when that has been.
_UNANSWERED = "unanswered-since"


@dataclass(frozen=True)
class Work:
    """Work in AWS by its id, and the URL of its page in the console."""

    id: str
    url: str | None = None


@dataclass(frozen=True)
class Look:
    """What one look at the work has seen; `summary` is shown as the action's progress.

    `pause_seconds` is the pause before the next look, if the look itself knows it best.
    """

    ended: bool
    summary: str = ""
    percent: int | None = None
    pause_seconds: float | None = None


@dataclass(frozen=True)
class Following:
    """How work is followed.

    Args:
        what: the work's name for messages, such as `stack 'shop'`.
        work: its id and URL.
        look: asks for its state once. Raises `ActionFailed` if it cannot.
        stop: ends the work; returns what still happens, as a sentence for the message. Raises `ActionFailed` if it cannot.
        longest_pause_seconds: between two looks; by default it grows with the time that the work takes.
        requests: of a look.
    """

    what: str
    work: Work
    look: Callable[[], Look]
    stop: Callable[[], str]
    longest_pause_seconds: float | None = None
    requests: int = 1


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
        return Work(kept, earlier.url if earlier.external_id == kept else None)
    with bearing_silence(context, step):
        work = find() if earlier else None
        if work is None:
            context.check()  # nothing starts in an action that must end
            work = _start(start, find)
    context.keep(work.id, work.url, **{step: work.id})
    context.logger.info("Started %s: %s", work.id, work.url)
    return work


def _start(start: Callable[[], Work], find: Callable[[], Work | None]) -> Work:
    try:
        return start()
    except ActionFailed:
        with suppress(ActionFailed):
            if found := find():  # the service had started it, but the answer was lost
                return found
        raise


def follow(following: Following, context: ActionContext) -> None:
    """Return if the work has ended; on cancellation, timeout or a permanent error, stop it.

    The work continues if only this process must end, or if it is Prefect that does not answer.

    Raises:
        WorkGoesOn: it has not; the action waits for it.
        ActionFailed: the time is up (`Timeout`), or the state could not be read; with the work's id and URL.
        ActionAbandoned: the execution was cancelled; as `ActionInterrupted`, only this process ends.
    """
    try:
        context.check()
        with bearing_silence(context, following.what):
            look = following.look()
    except (ActionInterrupted, WorkGoesOn, PrefectUnavailable):
        raise
    except ActionAbandoned as error:
        raise ActionAbandoned(_with(error, _stop(following, context))) from error
    except ActionFailed as error:
        raise failed(_with(error, _stop(following, context)), following.work, error.code) from error
    except BaseException:
        _stop(following, context)
        raise
    _report(look, following.work, context)
    if not look.ended:
        raise WorkGoesOn(Waiting(_after(look, following, context), summary=look.summary or following.what))


@contextmanager
def bearing_silence(context: ActionContext, what: str) -> Iterator[None]:
    """Let the action wait if the service does not answer within this block, for five minutes at most.

    Raises:
        WorkGoesOn: it does not answer.
        ActionFailed: any other failure, or no answer for five minutes.
    """
    since = context.kept(_UNANSWERED)
    try:
        yield
    except ActionFailed as error:
        if error.code != "SystemUnavailable":
            raise
        now = datetime.now(timezone.utc)
        if not since:
            context.keep(**{_UNANSWERED: now.isoformat()})
        elif now - datetime.fromisoformat(since) >= timedelta(seconds=UNANSWERED_SECONDS):
            raise
        context.logger.warning("No answer about %s, will retry: %s", what, error)
        raise WorkGoesOn(
            Waiting(_next_look(context, LONGEST_PAUSE_SECONDS), summary=f"no answer about {what}")
        ) from error
    if since:
        context.keep(**{_UNANSWERED: ""})


def failed(message: str, work: Work, code: str = "JobFailed") -> ActionFailed:
    """The failure of work, with its id and its page."""
    return ActionFailed(message, code=code, external_execution_id=work.id, external_execution_url=work.url)


def _report(look: Look, work: Work, context: ActionContext) -> None:
    context.report_progress(summary=look.summary, percent=look.percent, external_id=work.id, url=work.url)


def _after(look: Look, following: Following, context: ActionContext) -> datetime:
    if look.pause_seconds is None:
        return _next_look(context, following.longest_pause_seconds, following.requests)
    pause = max(0.0, min(look.pause_seconds, context.remaining_seconds))
    return datetime.now(timezone.utc) + timedelta(seconds=pause)


def _next_look(context: ActionContext, longest: float | None = None, requests: int = 1) -> datetime:
    now = datetime.now(timezone.utc)
    age = (now - context.began).total_seconds()
    pause = min(max(SHORTEST_PAUSE_SECONDS, PAUSE_PER_SECOND * age), longest or LONGEST_PAUSE_SECONDS)
    if longest is None:
        pause = max(pause, LATE_PAUSE_PER_SECOND * age)
    aws, action = context.settings.aws, context.action
    account = (aws.profile, aws.credentials, aws.endpoint_url, action.region or aws.region)
    free = place_after(now + timedelta(seconds=pause), now, account, requests)
    return min(free, now + timedelta(seconds=max(0.0, context.remaining_seconds)))


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
