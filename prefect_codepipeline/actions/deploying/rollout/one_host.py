"""The deployment to one host: what it lacks is sent, each part of its lifecycle is started and followed, and concluded."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from prefect_codepipeline.actions.deploying.connections.connection import HostConnection, HostUnreachable
from prefect_codepipeline.actions.deploying.connections.opening import connected
from prefect_codepipeline.actions.deploying.host_calls import Entry, HostCalls, HostFailed
from prefect_codepipeline.actions.deploying.rollout.desk import Desk, utc_now
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.appspec.lifecycle import OF_LAST_SUCCESSFUL, events_of_host
from prefect_codepipeline.model.codedeploy.group import DeploymentGroup
from prefect_codepipeline.model.stored.deployment import DeployedHost, HostEvent, StoredDeployment

# For that time a host that cannot be reached is tried again.
UNREACHABLE_SECONDS = 300.0
_PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0)
# A host that has answered nothing to a call by then is not reached.
_CALL_SECONDS = 60.0
_SEND_SECONDS = 3600.0
# The connection itself counts the time of its opening; so much later it counts as hanging.
_SLACK_SECONDS = 30.0
# One call reads the journal for that time.
_FOLLOW_SECONDS = 30
_WORKERS_EVENTS = ("BlockTraffic", "AllowTraffic")
_HOSTS_EVENTS = frozenset(events_of_host(has_traffic=True)) - {*_WORKERS_EVENTS}
# What a host says is no more than the program there would: another one must not fill the record.
_LONGEST_TEXT = 2_048
_MOST_WARNINGS = 20
_MOST_ENTRIES = 1_000
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Rollout:
    """What a deployment needs beside its record.

    Args:
        group: its settings, with access to the hosts.
        tar: writes the archive of the bundle when first called, for hosts that lack the revision. Any thread may call it.
        masked: a text of a host without secrets.
        is_over: whether a deployment that a host still is busy with has ended, or is continued by no execution.
        traffic: takes hosts out of the traffic; None without.
        has_it: whether a host, whose last successful deployment is given, need not be deployed to.
    """

    group: DeploymentGroup
    tar: Callable[[], Path]
    masked: Callable[[str], str]
    is_over: Callable[[str], bool]
    traffic: Any = None
    has_it: Callable[[str, str], bool] = lambda host, last: False


async def deploy_to_host(desk: Desk, rollout: Rollout, name: str) -> None:
    """Deploy to a host until it has ended; where an earlier process was, this one continues."""
    await _trying(desk, rollout, name, lambda: _attempt(desk, rollout, name))


async def stop_host(desk: Desk, rollout: Rollout, name: str, seconds: float = 60.0) -> None:
    """End the running script of a host; no event of it begins any more."""
    deployment = desk.deployment
    try:
        async with asyncio.timeout(seconds), _open(rollout, desk.host(name)) as connection:
            calls = _calls(rollout, deployment, connection)
            await calls.stop(deployment.deployment_id)
            await _follow(desk, rollout, name, calls, ())
            await _finish_stopped(calls, deployment.deployment_id)
        desk.end(name, "Stopped")
    except (HostUnreachable, HostFailed, ActionFailed, TimeoutError) as error:
        why = rollout.masked(str(error)) or f"it did not answer within {seconds:g} seconds"
        desk.end(name, "Stopped", error=f"it could not be stopped, and its script may still run: {why}")


async def _finish_stopped(calls: HostCalls, deployment_id: str) -> None:
    """End a deployment whose script has ended; its program may need another moment."""
    while True:
        try:
            return await calls.finish(deployment_id, "Stopped")
        except HostFailed as error:
            if not error.retry:
                raise
        await asyncio.sleep(0.2)


async def _trying(desk: Desk, rollout: Rollout, name: str, attempt: Callable[[], Awaitable[None]]) -> None:
    """Attempt it, again for five minutes while the host cannot be reached."""
    tries = 0
    while True:
        try:
            return await attempt()
        except HostUnreachable as error:
            why, is_final = rollout.masked(str(error)), error.permanent
        except HostFailed as error:
            if not error.retry:
                return desk.end(name, "Failed", rollout.masked(error.code), rollout.masked(str(error)))
            why, is_final = rollout.masked(str(error)), False
        except ActionFailed as error:  # such as a bundle that is no longer in the artifact store
            return desk.end(name, "Failed", "UnknownError", str(error))
        if is_final:
            return desk.end(name, "Failed", "HostUnreachable", why)
        if utc_now() - desk.unreachable(name) >= timedelta(seconds=UNREACHABLE_SECONDS):
            minutes = f"{UNREACHABLE_SECONDS / 60:g} minutes"
            return desk.end(
                name, "Failed", "HostUnreachable", f"it could not be reached for {minutes}: {why}"
            )
        await asyncio.sleep(_PAUSES[min(tries, len(_PAUSES) - 1)])
        tries += 1


async def _attempt(desk: Desk, rollout: Rollout, name: str) -> None:
    deployment = desk.deployment
    with desk.calling():
        opening = _open(rollout, desk.host(name))
        seconds = rollout.group.ssh.connect_timeout_in_seconds + _SLACK_SECONDS
        connection = await _within(seconds, opening.__aenter__())
    try:
        calls = _calls(rollout, deployment, connection)
        with desk.calling():
            if not await _prepare(desk, rollout, name, calls):
                return desk.end(name, "Succeeded")
        for step in _steps(has_traffic=rollout.traffic is not None):
            if isinstance(step, str):
                await _traffic(desk, rollout, name, step, connection)
            else:
                await _run(desk, rollout, name, calls, step)
            if _failed_event(desk.host(name), rollout.group):
                break
        with desk.calling():
            await _conclude(desk, rollout, name, calls)
    finally:
        await opening.__aexit__(None, None, None)


async def _prepare(desk: Desk, rollout: Rollout, name: str, calls: HostCalls) -> bool:
    """Free the host of what an ended deployment left, and send the bundle if the host lacks it; False: it has all."""
    deployment = desk.deployment
    survey = await _within(_CALL_SECONDS, calls.survey(deployment.deployment_id, deployment.revision))
    if survey.busy_with and survey.busy_with != deployment.deployment_id:
        await _free(desk, rollout, calls, survey.busy_with)
    if survey.journal is not None:
        return True
    last = survey.last_successful
    if last and last.revision == deployment.revision and await _has_it(rollout, name, last.deployment):
        return False
    if not survey.has_revision:
        tar = await asyncio.to_thread(rollout.tar)
        await _within(_SEND_SECONDS, calls.send(deployment.revision, tar))
        desk.reached(name)
    return True


async def _has_it(rollout: Rollout, name: str, last: str) -> bool:
    return await asyncio.to_thread(rollout.has_it, name, last)


async def _free(desk: Desk, rollout: Rollout, calls: HostCalls, busy_with: str) -> None:
    group = rollout.group
    if not await asyncio.to_thread(rollout.is_over, busy_with):
        raise HostFailed(
            f"{_busy(busy_with)}; if `codepipeline deployment show {busy_with}` does not know it, another Prefect server "
            f"deploys there, or its record was deleted: then remove {group.state_folder}/{desk.deployment.group_id}/lock.json "
            "on the host",
            "UnknownError",
        )
    await _within(_CALL_SECONDS, calls.stop(busy_with))
    await _within(_CALL_SECONDS, calls.finish(busy_with, "Stopped"))


def _busy(deployment_id: str) -> str:
    return f"the host is busy with deployment {deployment_id!r}; wait for its end"


async def _run(desk: Desk, rollout: Rollout, name: str, calls: HostCalls, events: Sequence[str]) -> None:
    """Start these events, unless they have ended, and follow them to their end."""
    if _have_ended(desk.host(name), rollout.group, events):
        return
    with desk.calling():
        await desk.touch(name)
        order = _order(desk.deployment, rollout.group, events)
        if busy_with := await _within(_CALL_SECONDS, calls.start(order)):
            raise HostFailed(_busy(busy_with), "UnknownError", retry=False)
        desk.reached(name)  # not before: a host whose disk hangs may answer what only reads
    await _follow(desk, rollout, name, calls, events)


async def _follow(desk: Desk, rollout: Rollout, name: str, calls: HostCalls, events: Sequence[str]) -> None:
    """Read the host's journal until the events have ended; without events, until its program has."""
    offset = 0

    def enter(entry: Entry) -> None:
        nonlocal offset
        offset += 1
        if offset > _MOST_ENTRIES:
            raise HostFailed(f"the journal on the host has over {_MOST_ENTRIES} entries", "HostProgram")
        desk.enter(name, _event(entry, rollout.masked))

    deployment_id = desk.deployment.deployment_id
    while True:
        following = calls.follow(deployment_id, offset, _FOLLOW_SECONDS, enter)
        followed = await _within(_FOLLOW_SECONDS + _CALL_SECONDS, following)
        if not events or _have_ended(desk.host(name), rollout.group, events):
            return
        if not followed.running and followed.outcome:
            ended = f"the deployment on the host ended as {followed.outcome} before {events[-1]}"
            raise HostFailed(ended, "UnknownError")
        if not followed.running:
            raise HostFailed(
                f"nothing is noted of the deployment on the host any more, before {events[-1]}: a script may have removed "
                "its folder from the state folder",
                "UnknownError",
            )


async def _traffic(desk: Desk, rollout: Rollout, name: str, event: str, connection: HostConnection) -> None:
    """Take the host out of the traffic, or put it back; after a crash it is done again."""
    known = desk.host(name).event(event)
    if known and known.status != "InProgress":
        return
    act = rollout.traffic.block if event == "BlockTraffic" else rollout.traffic.allow
    await desk.touch(name)
    started = utc_now()
    desk.enter(name, HostEvent(event=event, status="InProgress", started=started))
    ended: dict[str, Any] = {"status": "Succeeded"}
    with desk.calling():
        try:
            await act(desk.host(name).host, connection, desk.deployment.deployment_id)
        except HostFailed as error:
            if error.retry:
                raise
            ended = {"status": "Failed", "code": error.code, "message": rollout.masked(str(error))}
    desk.enter(name, HostEvent(event=event, started=started, ended=utc_now(), **ended))
    await desk.save()


async def _conclude(desk: Desk, rollout: Rollout, name: str, calls: HostCalls) -> None:
    """End the deployment on the host, unless its program has done so after its last event."""
    failed = _failed_event(desk.host(name), rollout.group)
    if failed is None:
        return desk.end(name, "Succeeded")
    if failed.event in _WORKERS_EVENTS:
        await _within(_CALL_SECONDS, calls.finish(desk.deployment.deployment_id, "Failed"))
    desk.end(name, "Failed", failed.code, failed.message)


def _steps(*, has_traffic: bool) -> list[str | list[str]]:
    """The lifecycle in parts: events of the worker by name, and lists of those that the host works off in one go."""
    steps: list[str | list[str]] = []
    for event in events_of_host(has_traffic=has_traffic):
        if event in _WORKERS_EVENTS:
            steps.append(event)
        elif steps and isinstance(steps[-1], list):
            steps[-1].append(event)
        else:
            steps.append([event])
    return steps


def _have_ended(host: DeployedHost, group: DeploymentGroup, events: Sequence[str]) -> bool:
    """Whether each of these events has ended, or one before has failed."""
    if _failed_event(host, group):
        return True
    known = [host.event(event) for event in events]
    return all(event and event.status != "InProgress" for event in known)


def _failed_event(host: DeployedHost, group: DeploymentGroup) -> HostEvent | None:
    """The event that ended the host's deployment, or None."""
    ignored = OF_LAST_SUCCESSFUL if group.ignore_application_stop_failures else ()
    ends = (
        event
        for event in host.events
        if event.status == "Stopped" or (event.status == "Failed" and event.event not in ignored)
    )
    return next(ends, None)


def _order(deployment: StoredDeployment, group: DeploymentGroup, events: Sequence[str]) -> dict[str, Any]:
    last = events[-1] == events_of_host(has_traffic=group.traffic is not None)[-1]
    return {
        "format": 1,
        "application": deployment.application,
        "group": deployment.group,
        "group_id": deployment.group_id,
        "deployment": deployment.deployment_id,
        "revision": deployment.revision,
        "root": "",
        "events": list(events),
        "last": last,
        "appspec": deployment.appspec,
        "environment": {"BUNDLE_COMMIT": deployment.commit} if deployment.commit else {},
        "ignore_application_stop_failures": group.ignore_application_stop_failures,
        "file_exists_behavior": group.file_exists_behavior,
        "outputs_left_open": group.outputs_left_open,
        "keep_last_files": deployment.is_of_ec2_action,
    }


def _event(entry: Entry, masked: Callable[[str], str]) -> HostEvent:
    try:
        return _read_event(entry, masked)
    except (LookupError, TypeError, ValueError, AttributeError):
        shown = masked(repr(entry)[:200])
        message = f"the journal on the host has an entry that the program there does not write: {shown}"
        raise HostFailed(message, "HostProgram") from None


def _read_event(entry: Entry, masked: Callable[[str], str]) -> HostEvent:
    def text(name: str) -> str | None:
        return masked(entry[name])[-_LONGEST_TEXT:] if entry.get(name) else None

    state, at = entry["state"], datetime.fromisoformat(entry["at"])
    if entry["event"] not in _HOSTS_EVENTS or at.tzinfo is None:
        raise ValueError
    warnings = (entry.get("warnings") or ())[:_MOST_WARNINGS]
    return HostEvent(
        event=entry["event"],
        status=state,
        code=text("code"),
        script=text("script"),
        message=text("message"),
        log=text("log") if state != "Succeeded" else None,
        warnings=tuple(masked(each)[:_LONGEST_TEXT] for each in warnings),
        **{"started" if state == "InProgress" else "ended": at},
    )


def _calls(rollout: Rollout, deployment: StoredDeployment, connection: HostConnection) -> HostCalls:
    group = rollout.group
    return HostCalls(connection, group.state_folder, deployment.group_id, group.python)


def _open(rollout: Rollout, host: DeployedHost) -> Any:
    here = socket.gethostname()
    if rollout.group.place == "local" and host.name != here:
        raise HostUnreachable(
            f"the deployment is on machine {host.name!r}, and this worker is on {here!r}; groups with where: local need a "
            "work pool with one worker"
        )
    return connected(host.host, rollout.group.ssh, rollout.group.place)


async def _within(seconds: float, call: Awaitable[_Answer]) -> _Answer:
    try:
        async with asyncio.timeout(seconds):
            return await call
    except TimeoutError:
        raise HostUnreachable(f"the host did not answer within {seconds:g} seconds") from None
