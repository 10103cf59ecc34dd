"""Take a host out of the traffic before it is deployed to, and put it back: by commands, or by target groups.

Both may be repeated after a crash: nothing is kept of how far they were.
"""

from __future__ import annotations

import asyncio
import json
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NoReturn, Protocol

from prefect_codepipeline.actions.aws.account import client_of
from prefect_codepipeline.actions.aws.target_groups import TargetGroups
from prefect_codepipeline.actions.commands.failures import shortened
from prefect_codepipeline.actions.deploying.commands.running import Ended, Runner, run_command
from prefect_codepipeline.actions.deploying.connections.connection import HostConnection
from prefect_codepipeline.actions.deploying.host_calls import HostFailed
from prefect_codepipeline.actions.deploying.traffic.target_ids import target_ids
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.codedeploy.group import DeploymentGroup, Host, Traffic

TrafficEvent = Literal["BlockTraffic", "AllowTraffic"]
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 10.0
# So many commands run on the worker at once, however many hosts there are.
MOST_COMMANDS = 50
# A load balancer ends draining by itself, after an hour at most.
DRAINING_SECONDS = 3700.0
_PORTS = "traffic-ports"


class HostTraffic(Protocol):
    """How hosts of one deployment leave the traffic and return. Many hosts may do so at once."""

    async def block(self, host: Host, connection: HostConnection, deployment_id: str) -> None:
        """Return when the host has no more traffic. Raises `HostFailed`, or `HostUnreachable`."""
        ...

    async def allow(self, host: Host, connection: HostConnection, deployment_id: str) -> None:
        """Return when the host has traffic again. Raises `HostFailed`, or `HostUnreachable`."""
        ...


def traffic_of(
    group: DeploymentGroup, context: ActionContext, mask: Callable[[str], str]
) -> HostTraffic | None:
    """The traffic of a group's hosts; None if its events do not exist.

    Args:
        group: the deployment group.
        context: of the action: its account of AWS, its log, and what it keeps.
        mask: takes secrets out of a text.
    """
    traffic = group.traffic
    if traffic is None:
        return None
    if traffic.target_groups:
        return TargetGroupTraffic(traffic, context)
    return CommandTraffic(traffic, group.python, context, mask)


@dataclass(frozen=True)
class _Step:
    """One event on one host."""

    host: Host
    event: TrafficEvent
    deployment_id: str

    @property
    def variables(self) -> dict[str, str]:
        return {
            "HOST": self.host.name,
            "ADDRESS": self.host.address,
            "DEPLOYMENT_ID": self.deployment_id,
            "LIFECYCLE_EVENT": self.event,
        }


class CommandTraffic:
    """Traffic by commands, on the worker or on the host."""

    def __init__(
        self, traffic: Traffic, python: str, context: ActionContext, mask: Callable[[str], str]
    ) -> None:
        self._traffic, self._python, self._context, self._mask = traffic, python, context, mask
        self._free = asyncio.Semaphore(MOST_COMMANDS)

    async def block(self, host: Host, connection: HostConnection, deployment_id: str) -> None:
        await self._change(_Step(host, "BlockTraffic", deployment_id), connection, self._traffic.block)

    async def allow(self, host: Host, connection: HostConnection, deployment_id: str) -> None:
        await self._change(_Step(host, "AllowTraffic", deployment_id), connection, self._traffic.allow)

    async def _change(self, step: _Step, connection: HostConnection, command: Sequence[str] | None) -> None:
        runner = Runner.on_worker()
        if self._traffic.on == "host":
            runner = Runner(connection, self._python, "the host")
        seconds = float(self._traffic.timeout_in_seconds)
        if command:
            ended = await self._run(step, runner, command, seconds)
            self._log(step, command, ended)
            if not ended.succeeded:
                _fail(self._sentence(runner, command, ended, seconds), ended.code)
        if self._traffic.wait:
            await self._wait(step, runner, self._traffic.wait)

    async def _wait(self, step: _Step, runner: Runner, command: Sequence[str]) -> None:
        """Run the command until it succeeds."""
        seconds = float(self._traffic.timeout_in_seconds)
        ends, pause = time.monotonic() + seconds, FIRST_PAUSE_SECONDS
        while True:
            left = max(1.0, ends - time.monotonic())
            ended = await self._run(step, runner, command, left)
            if ended.succeeded or ended.error or time.monotonic() + pause > ends:
                break
            await asyncio.sleep(pause)
            pause = min(1.5 * pause, LONGEST_PAUSE_SECONDS)
        self._log(step, command, ended)
        if ended.error:
            _fail(self._sentence(runner, command, ended, seconds), ended.code)
        if not ended.succeeded:
            what = "traffic was not gone" if step.event == "BlockTraffic" else "traffic was not back"
            why = self._sentence(runner, command, ended, left)
            _fail(f"{what} within {seconds:g} seconds: {why}", "ScriptTimedOut")

    async def _run(self, step: _Step, runner: Runner, command: Sequence[str], seconds: float) -> Ended:
        if self._traffic.on == "host":
            return await run_command(runner, command, step.variables, seconds)
        async with self._free:
            return await run_command(runner, command, step.variables, seconds)

    def _sentence(self, runner: Runner, command: Sequence[str], ended: Ended, seconds: float) -> str:
        shown = shortened(shlex.join(command))
        return self._mask(f"command {shown!r} on {runner.place} {ended.how(seconds)}{ended.last_words()}")

    def _log(self, step: _Step, command: Sequence[str], ended: Ended) -> None:
        text = "\n".join((f"$ {shlex.join(command)}", *ended.output.splitlines()))
        self._context.logger.info("%s: %s: %s", step.host.name, step.event, self._mask(text))


class TargetGroupTraffic:
    """Traffic by ELBv2 target groups. Requests are sent one after the other, however many hosts there are."""

    def __init__(self, traffic: Traffic, context: ActionContext) -> None:
        self._seconds = float(traffic.timeout_in_seconds)
        self._context = context
        self._groups = TargetGroups(
            partial(client_of, context, "elbv2"),
            traffic.target_groups,
            "correct target_groups of the deployment group's traffic, TargetGroupNameList of the EC2 action, or the tag "
            "InstanceId or the address of the host",
        )
        # The ports of targets that are not those of their groups, by host and by group.
        self._ports: dict[str, Mapping[str, Any]] = json.loads(context.kept(_PORTS) or "{}")
        self._lock = asyncio.Lock()

    async def block(self, host: Host, connection: HostConnection, deployment_id: str) -> None:
        step = _Step(host, "BlockTraffic", deployment_id)
        targets = await self._targets(step)
        await self._until(step, lambda: self._keep_ports(host, targets), self._seconds)
        await self._until(
            step,
            lambda: [f"{each} still has connections" for each in self._groups.take_out(targets)],
            DRAINING_SECONDS,
        )

    async def allow(self, host: Host, connection: HostConnection, deployment_id: str) -> None:
        step = _Step(host, "AllowTraffic", deployment_id)
        targets = await self._targets(step)
        ports = self._ports.get(host.name, {})
        await self._until(step, lambda: self._groups.put_back(targets, ports), self._seconds)

    async def _targets(self, step: _Step) -> list[str]:
        found = await asyncio.to_thread(target_ids, step.host)
        if not found:
            _fail(
                f"its address {step.host.address!r} has no IP address, and it has no tag InstanceId; correct one of them",
                "UnknownError",
            )
        return found

    async def _until(self, step: _Step, look: Callable[[], list[str]], seconds: float) -> None:
        """Look until there is nothing left to wait for."""
        ends, pause = time.monotonic() + seconds, FIRST_PAUSE_SECONDS
        while True:
            try:
                async with self._lock:
                    waiting = await asyncio.to_thread(look)
            except ActionFailed as error:
                if error.code != "SystemUnavailable":
                    _fail(str(error), "UnknownError")
                waiting = [str(error)]
            if not waiting:
                return
            if time.monotonic() > ends:
                _fail(f"it did not end within {seconds:g} seconds: {waiting[0]}", "ScriptTimedOut")
            await asyncio.sleep(pause)
            pause = min(1.5 * pause, LONGEST_PAUSE_SECONDS)

    def _keep_ports(self, host: Host, targets: Sequence[str]) -> list[str]:
        """Keep the ports that are not those of the groups, before the host is taken out. There is nothing to wait for."""
        special = {
            group: found
            for group, there in self._groups.registered(targets).items()
            if (found := [target for target in there if target[1]])
        }
        # Of a group that an earlier call took it out of, what that call kept stays.
        if special:
            self._ports[host.name] = {**self._ports.get(host.name, {}), **special}
            self._context.keep(**{_PORTS: json.dumps(self._ports)})
        return []


def _fail(message: str, code: str) -> NoReturn:
    raise HostFailed(message, code)
