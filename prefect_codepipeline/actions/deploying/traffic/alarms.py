"""Look at the alarms of a deployment group: CloudWatch, URLs and commands of the worker."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial

import httpx

from prefect_codepipeline.actions.aws.account import client_of
from prefect_codepipeline.actions.aws.alarms import read_alarms, state_of
from prefect_codepipeline.actions.commands.failures import shortened
from prefect_codepipeline.actions.deploying.commands.running import Runner, run_command
from prefect_codepipeline.actions.outgoing import Sending, TooLongError, ask, login_header
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.codedeploy.group import Alarms

LOOK_EVERY_SECONDS = 10.0
REQUEST_SECONDS, COMMAND_SECONDS = 10.0, 60.0
_MOST_BYTES = 1 << 20
# One lost packet must not roll a deployment back.
_TRIES, _PAUSE_SECONDS = 3, 1.0


class _UnreadableError(Exception):
    """It is not known whether an alarm is on."""


async def alarm_of(alarms: Alarms, context: ActionContext, mask: Callable[[str], str]) -> str | None:
    """One look at all alarms; a sentence about those that are on, or None.

    An alarm that cannot be read counts as one that is on, unless the group says otherwise. If the call is cancelled,
    the commands are ended.

    Args:
        alarms: of the deployment group.
        context: of the action: its account of AWS, and its log.
        mask: takes secrets out of a text.
    """
    looks = list(_looks(alarms, context))
    found = await asyncio.gather(*(_said(look, alarms, context) for look in looks))
    sentences = [sentence for sentence in found if sentence]
    return mask("; ".join(sentences)) or None


def has_alarms(alarms: Alarms) -> bool:
    """Whether there is anything to look at."""
    return bool(alarms.cloudwatch or alarms.urls or alarms.commands)


_Look = Callable[[], Awaitable[str | None]]


def _looks(alarms: Alarms, context: ActionContext) -> Iterator[_Look]:
    """A function for each thing to look at; it raises `_UnreadableError`."""
    if alarms.cloudwatch:
        yield partial(asyncio.to_thread, _cloudwatch, alarms.cloudwatch, context)
    for url in alarms.urls:
        yield partial(_url, url)
    for command in alarms.commands:
        yield partial(_command, command)


async def _said(look: _Look, alarms: Alarms, context: ActionContext) -> str | None:
    try:
        return await look()
    except _UnreadableError as error:
        if alarms.ignore_poll_failure:
            context.logger.warning("Not counted as an alarm, because of ignore_poll_failure: %s", error)
            return None
        return f"{error}; without ignore_poll_failure that counts as an alarm"


def _cloudwatch(names: Sequence[str], context: ActionContext) -> str | None:
    try:
        found = read_alarms(
            client_of(context, "cloudwatch"), names, "correct the alarms of the deployment group"
        )
    except ActionFailed as error:
        raise _UnreadableError(str(error)) from error
    return "; ".join(state_of(found[name]) for name in names if found[name]["StateValue"] == "ALARM") or None


async def _url(text: str) -> str | None:
    shown, missing = _without_secrets(text), ""
    for number in range(_TRIES):
        if number:
            await asyncio.sleep(_PAUSE_SECONDS)
        try:
            status = await asyncio.to_thread(_status, text)
        except (TimeoutError, ConnectionError) as error:
            missing = str(error)
        else:
            return None if 200 <= status < 300 else f"GET {shown} responded with {status}, not with 200-299"
    raise _UnreadableError(f"GET {shown} got no response in {_TRIES} attempts: {missing}")


def _status(text: str) -> int:
    url = httpx.URL(text)
    headers = {"user-agent": "prefect-codepipeline", **login_header(url)}
    # Unlike the URL of a rule, this one is of a block, and no part of it comes from a build: own services may be watched.
    sending = Sending("GET", url, headers, allows_private_addresses=True)
    try:
        return ask(sending, REQUEST_SECONDS, _MOST_BYTES, lambda: None).status
    except TooLongError:
        raise ConnectionError(f"the response is longer than {_MOST_BYTES} bytes") from None


def _without_secrets(text: str) -> str:
    url = httpx.URL(text)
    return str(url.copy_with(userinfo=b"", query=b"..." if url.query else None, fragment=None))


async def _command(command: Sequence[str]) -> str | None:
    ended = await run_command(Runner.on_worker(), command, {}, COMMAND_SECONDS)
    what = f"command {shortened(shlex.join(command))!r} on the worker"
    sentence = f"{what} {ended.how(COMMAND_SECONDS)}{ended.last_words()}"
    if ended.error or ended.timed_out:
        raise _UnreadableError(sentence)
    return None if ended.succeeded else sentence
