"""A rehearsal: the lifecycle of a bundle on this machine, without a pipeline and without a server.

https://docs.aws.amazon.com/codedeploy/latest/userguide/deployments-local.html
"""

from __future__ import annotations

import asyncio
import secrets
import string
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from prefect_codepipeline.actions.deploying.bundle import Bundle
from prefect_codepipeline.actions.deploying.connections.opening import connected
from prefect_codepipeline.actions.deploying.host_calls import Entry, HostCalls
from prefect_codepipeline.errors import CodePipelineError, wrong_configuration
from prefect_codepipeline.model.appspec.lifecycle import EVENTS, OF_LAST_SUCCESSFUL
from prefect_codepipeline.model.appspec.parts import FileExistsBehavior
from prefect_codepipeline.model.codedeploy.group import Host, SshAccess
from prefect_codepipeline.model.problem import nearest

# Without a load balancer there is nothing to do in these.
_OF_TRAFFIC = ("BlockTraffic", "AllowTraffic")
REHEARSED = tuple(event for event in EVENTS if event not in _OF_TRAFFIC)
_GROUP_ID = "local"
# As of codedeploy-local, so that scripts that look at it work in both.
_GROUP = "LocalFleet"
_BEFORE_INSTALL = (*OF_LAST_SUCCESSFUL, "DownloadBundle", "BeforeInstall")
_FOLLOWED_SECONDS = 10


@dataclass(frozen=True)
class Rehearsal:
    """How a bundle is rehearsed. `root` is the folder below which its files are installed; / is the machine itself."""

    application: str
    root: Path
    events: Sequence[str] = REHEARSED
    file_exists_behavior: FileExistsBehavior = "DISALLOW"

    @property
    def state_folder(self) -> Path:
        """Where revisions, working copies and records are."""
        return (Path.home() if self.is_real else self.root) / ".codedeploy"

    @property
    def is_real(self) -> bool:
        return self.root == Path("/")


@dataclass(frozen=True)
class Rehearsed:
    """What came out: `outcome` is Succeeded, Failed or Stopped; `folder` has the working copy and the scripts' log."""

    deployment: str
    outcome: str
    folder: Path


def events_in_order(wanted: Sequence[str]) -> tuple[str, ...]:
    """The events to run, in the order of the caller, with DownloadBundle and Install before all others if they are missing.

    Raises:
        ActionFailed: with code `ConfigurationError`, an event is unknown, named twice or too early.
    """
    for event in wanted:
        if event in _OF_TRAFFIC:
            raise wrong_configuration(
                f"{event} cannot be rehearsed: it is done by the traffic settings of a group"
            )
        if event not in EVENTS:
            hint = nearest(event, REHEARSED)
            raise wrong_configuration(
                f"{event!r} is not a lifecycle event of hosts" + f"; {hint}" * bool(hint)
            )
        if wanted.count(event) > 1:
            raise wrong_configuration(f"{event} is named twice")
    events = [event for event in ("DownloadBundle", "Install") if event not in wanted] + list(wanted)
    if "Install" not in wanted and "DownloadBundle" in wanted:  # it follows at once
        events = list(wanted)
        events.insert(events.index("DownloadBundle") + 1, "Install")
    _check_before(events, "DownloadBundle", OF_LAST_SUCCESSFUL)
    _check_before(events, "Install", _BEFORE_INSTALL)
    return tuple(events)


def _check_before(events: Sequence[str], event: str, allowed: Sequence[str]) -> None:
    early = [each for each in events[: events.index(event)] if each not in allowed]
    if early:
        raise wrong_configuration(
            f"{early[0]} cannot run before {event}, which brings its scripts; only {', '.join(allowed)} can"
        )


async def rehearse(bundle: Bundle, rehearsal: Rehearsal, on_entry: Callable[[Entry], None]) -> Rehearsed:
    """Run the lifecycle, and hand over each line of its journal. If the caller is cancelled, running scripts are ended.

    Raises:
        ActionFailed: the bundle cannot be read.
        HostFailed: the program that deploys could not do its work.
        CodePipelineError: another rehearsal below this root still runs.
    """
    here = Host(name="this machine", address="localhost")
    state_folder = str(rehearsal.state_folder)
    async with connected(here, SshAccess(), "local") as connection:
        calls = HostCalls(connection, state_folder, _GROUP_ID, sys.executable)
        deployment = _new_id()
        await _make_room(calls, deployment, bundle.revision, rehearsal)
        await _send(calls, bundle)
        busy = await calls.start(_order(deployment, bundle, rehearsal))
        if busy:
            raise _still_runs(busy, rehearsal)
        outcome = await _follow(calls, deployment, on_entry)
    return Rehearsed(deployment, outcome, rehearsal.state_folder / _GROUP_ID / deployment)


async def _make_room(calls: HostCalls, deployment: str, revision: str, rehearsal: Rehearsal) -> None:
    """End what an earlier rehearsal left that was killed."""
    before = (await calls.survey(deployment, revision)).busy_with
    if before is None:
        return
    if (await calls.follow(before, 0, 0, lambda _entry: None)).running:
        raise _still_runs(before, rehearsal)
    await calls.finish(before, "Failed")


def _still_runs(deployment: str, rehearsal: Rehearsal) -> CodePipelineError:
    return CodePipelineError(
        f"rehearsal {deployment} below {rehearsal.root} still runs; wait for it, or name another folder with --root"
    )


async def _send(calls: HostCalls, bundle: Bundle) -> None:
    with tempfile.NamedTemporaryFile(prefix="codepipeline-bundle-") as file:
        bundle.write_tar(file)
        file.flush()
        await calls.send(bundle.revision, Path(file.name))


async def _follow(calls: HostCalls, deployment: str, on_entry: Callable[[Entry], None]) -> str:
    """Until it has ended. Ctrl-C stops it: the program that deploys would continue, as it does when a connection breaks."""
    seen = 0

    def count(entry: Entry) -> None:
        nonlocal seen
        seen += 1
        on_entry(entry)

    async def to_the_end() -> str:
        while True:
            found = await calls.follow(deployment, seen, _FOLLOWED_SECONDS, count)
            if found.outcome and not found.running:
                return found.outcome

    try:
        return await to_the_end()
    except asyncio.CancelledError:
        await calls.stop(deployment)
        await to_the_end()
        raise


def _order(deployment: str, bundle: Bundle, rehearsal: Rehearsal) -> dict[str, object]:
    return {
        "format": 1,
        "application": rehearsal.application,
        "group": _GROUP,
        "group_id": _GROUP_ID,
        "deployment": deployment,
        "revision": bundle.revision,
        "root": "" if rehearsal.is_real else str(rehearsal.root),
        "events": list(rehearsal.events),
        "last": True,
        "appspec": bundle.appspec.as_order(),
        "environment": {},
        "ignore_application_stop_failures": False,
        "file_exists_behavior": rehearsal.file_exists_behavior,
        "outputs_left_open": "warn",
    }


def _new_id() -> str:
    letters = string.ascii_uppercase + string.digits
    return f"d-{''.join(secrets.choice(letters) for _ in range(9))}-local"
