"""Deploy to the instances of a fleet in batches, one look at a time; what is known is kept for the next look.

First every instance says what it has got: those that have the artifact are left out, those on which it failed are the first.
Then each batch is taken out of the target groups, gets a command, and is put back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from prefect_codepipeline.actions.aws.console import console_url
from prefect_codepipeline.actions.aws.remote_work import Look, Work
from prefect_codepipeline.actions.aws.target_groups import TargetGroups
from prefect_codepipeline.actions.instances.fleet import MOST_INSTANCES, Fleet, Instances, Outcome
from prefect_codepipeline.actions.instances.host_script import deploy_command, look_command
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.errors import ActionFailed

# As AWS documents it.
MOST_TARGETS = 500
# Each batch is kept twice, of the thousand times that an action may keep something.
MOST_BATCHES = 450
_MOST_REASON = 400


@dataclass(frozen=True)
class Bundle:
    """The script of the deployment in S3, and the digest of all that it does."""

    script: str
    digest: str


@dataclass(frozen=True)
class Limits:
    """How many instances are deployed to at once, and how many may fail: numbers or percentages."""

    batch: str | None
    errors: str | None

    def at_once(self, total: int, *, grouped: bool) -> int:
        """Without a limit, all that Systems Manager allows; with target groups one, so that the others serve."""
        if self.batch is None:
            return 1 if grouped else MOST_INSTANCES
        return min(MOST_INSTANCES, max(1, _share(self.batch, total)))

    def budget(self, total: int) -> int:
        """How many instances may fail."""
        return _share(self.errors, total) if self.errors else 0


class Rollout:
    """The deployment of one action. `state` is what was kept by earlier looks, and by this one."""

    def __init__(
        self, context: ActionContext, fleet: Fleet, groups: TargetGroups, limits: Limits, mark: str
    ) -> None:
        self.context, self.fleet, self.groups, self.limits = context, fleet, groups, limits
        self.mark = mark
        self.state: dict[str, str] = dict(context.earlier.state) if context.earlier else {}

    @property
    def is_prepared(self) -> bool:
        return "script" in self.state

    @property
    def total(self) -> int:
        """The number of instances with the tag."""
        return int(self.state["total"])

    @property
    def failures(self) -> int:
        return int(self.state["failures"])

    @property
    def has_failed(self) -> bool:
        """Whether too many instances failed, or a user cancelled a command."""
        return self.failures > self.limits.budget(self.total) or self._not_begun > 0

    @property
    def _not_begun(self) -> int:
        return int(self.state.get("not_begun", "0"))

    @property
    def work(self) -> Work:
        """The last command, as the action's external id."""
        command = self.state.get("command") or self.state.get("last")
        if not command:
            return Work(self.context.action_execution_id)
        arn = f"arn:{self.fleet.ssm.meta.partition}:ssm:{self.fleet.region}::command/{command}"
        return Work(command, console_url(arn, f"systems-manager/run-command/{command}?region={{region}}"))

    def prepare(self, found: Instances, bundle: Callable[[], Bundle]) -> None:
        """Keep what is deployed, and to which instances.

        Raises:
            ActionFailed: with code `ConfigurationError`, there are too many instances.
        """
        total = len(found.reachable) + len(found.unreachable)
        batches = -(-len(found.reachable) // self._size(total))
        if total > MOST_TARGETS or batches > MOST_BATCHES:
            raise ActionFailed(
                f"{total} instances have the tag, in {batches} batches; at most {MOST_TARGETS} in {MOST_BATCHES} batches "
                "are possible: choose another tag, or a larger MaxBatch",
                code="ConfigurationError",
            )
        made = bundle()
        self.state["failures"] = "0"
        self._keep(
            script=made.script,
            digest=made.digest,
            instances=",".join(found.reachable),
            total=str(total),
            **{
                "failures": "0",
                **self._with_failures(Outcome(each, "", why) for each, why in found.unreachable.items()),
            },
        )

    def look(self) -> Look:
        """Do what can be done now, and say how far the deployment is."""
        if "order" not in self.state and not self._has_surveyed():
            return Look(False, f"looking at what {self.total} instances have")
        while True:
            batch = self._batch()
            if not batch or (self.has_failed and not self.state.get("command")):
                return Look(True, self.summary(), 100)
            waiting = self._deploy_to(batch)
            if waiting:
                done = self.total - len(self._left())
                return Look(
                    False, f"{done} of {self.total} instances; {waiting}", 100 * done // max(1, self.total)
                )

    def stop(self) -> str:
        """End the deployment; what still happens."""
        said, batch = [], self._batch() if "order" in self.state else []
        command = self.state.get("command")
        if command and not self.fleet.command(command).has_ended:
            self.fleet.cancel(command)
            said.append("the command was cancelled; scripts that run on instances may run to their end")
        if batch and self.groups:
            waiting = self.groups.put_back(batch, self._ports())
            where = f", where {waiting[0]}" if waiting else ""
            said.append(f"{', '.join(batch[:3])} were put back into the target groups{where}")
        return ", and ".join(said) or "nothing runs on the instances"

    def summary(self) -> str:
        """What became of the instances, as a sentence."""
        left, skipped = len(self._left()) + self._not_begun, int(self.state.get("skipped", "0"))
        deployed = self.total - left - skipped - self.failures
        parts = [f"deployed to {deployed} of {self.total} instances"]
        if skipped:
            parts.append(f"{skipped} had this artifact already")
        if self.failures:
            parts.append(f"{self.failures} failed, first {self.state['first']}")
        if left:
            parts.append(f"{left} were left as they are")
        return "; ".join(parts)

    def _has_surveyed(self) -> bool:
        """Whether all instances have said what they have got; then the order is kept."""
        instances = _names(self.state["instances"])
        chunks = [instances[at : at + MOST_INSTANCES] for at in range(0, len(instances), MOST_INSTANCES)]
        if "surveys" not in self.state:
            comment = f"codepipeline {self.context.action_execution_id} look"
            text = look_command(self.mark)
            sent = [self.fleet.send(text, chunk, comment, MOST_INSTANCES, len(chunk)) for chunk in chunks]
            self._keep(surveys=",".join(sent))
            if sent:
                return False
        surveys = _names(self.state["surveys"])
        if not all(self.fleet.command(each).has_ended for each in surveys):
            return False
        outcomes = [
            outcome
            for survey, chunk in zip(surveys, chunks, strict=True)
            for outcome in self.fleet.outcomes(survey, chunk)
        ]
        self._keep_order(outcomes)
        return True

    def _keep_order(self, outcomes: Sequence[Outcome]) -> None:
        there = [each for each in outcomes if each.succeeded]
        fresh = [each for each in there if each.output.strip() != f"done {self.state['digest']}"]
        fresh.sort(
            key=lambda each: not each.output.startswith("begun ")
        )  # those on which it failed are the first
        self._keep(
            order=",".join(each.instance for each in fresh),
            skipped=str(len(there) - len(fresh)),
            batch="0",
            command="",
            instances="",
            surveys="",
            **self._with_failures(each for each in outcomes if not each.succeeded),
        )

    def _deploy_to(self, batch: Sequence[str]) -> str:
        """Bring a batch one step further; what it waits for, or an empty text if it has ended."""
        command = self.state.get("command")
        if not command:
            return self._start(batch)
        state = self.fleet.command(command)
        if not state.has_ended:
            return f"{state.completed} of {len(batch)} in this batch have ended"
        outcomes = self.fleet.outcomes(command, batch)
        good = [each.instance for each in outcomes if each.succeeded]
        if self.groups and (waiting := self.groups.put_back(good, self._ports())):
            return waiting[0]
        failed = [each for each in outcomes if not each.succeeded and each.begun]
        not_begun = sum(not each.begun for each in outcomes)
        for each in failed:
            self.context.logger.warning("Instance %s: %s\n%s", each.instance, each.reason, each.output)
        self._keep(
            batch=str(int(self.state["batch"]) + 1),
            command="",
            last=command,
            not_begun=str(self._not_begun + not_begun),
            **self._with_failures(failed),
        )
        return ""

    def _start(self, batch: Sequence[str]) -> str:
        if self.groups:
            self._keep_ports(batch)
            if left := self.groups.take_out(batch):
                return f"{left[0]} leaves its target groups"
        self.context.check()  # nothing starts in an action that must end
        comment = f"codepipeline {self.context.action_execution_id} {self.state['batch']}"
        since = self.context.earlier.started_at if self.context.earlier else datetime.now(timezone.utc)
        command = self.fleet.sent(batch[0], comment, since)
        if command is None:
            text = deploy_command(self.state["script"], self.fleet.region, self.mark)
            at_once = self.limits.at_once(self.total, grouped=bool(self.groups))
            left_errors = self.limits.budget(self.total) - self.failures
            command = self.fleet.send(text, batch, comment, at_once, left_errors)
        self._keep(command=command)
        self.context.logger.info("Started command %s on %s", command, ", ".join(batch))
        return f"{len(batch)} instances begin"

    def _keep_ports(self, batch: Sequence[str]) -> None:
        """Keep the ports of targets that are not those of their groups, before they are taken out."""
        special = {
            name: [target for target in targets if target[1]]
            for name, targets in self.groups.registered(batch).items()
        }
        if any(special.values()):
            self._keep(ports=json.dumps(special))

    def _ports(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = json.loads(self.state.get("ports") or "{}")
        return found

    def _size(self, total: int) -> int:
        """The instances of one batch. Without target groups Systems Manager itself limits how many run at once."""
        return self.limits.at_once(total, grouped=True) if self.groups else MOST_INSTANCES

    def _batch(self) -> list[str]:
        size, number = self._size(self.total), int(self.state["batch"])
        return _names(self.state["order"])[size * number : size * (number + 1)]

    def _left(self) -> list[str]:
        """The instances whose batch has not ended."""
        if "order" not in self.state:
            return _names(self.state["instances"])
        return _names(self.state["order"])[self._size(self.total) * int(self.state["batch"]) :]

    def _with_failures(self, outcomes: Iterable[Outcome]) -> dict[str, str]:
        """The kept number of failures and the first of them, with these added."""
        news = list(outcomes)
        if not news:
            return {}
        first = f"{news[0].instance}: {news[0].reason}"[:_MOST_REASON]
        return {"failures": str(self.failures + len(news)), "first": self.state.get("first") or first}

    def _keep(self, **state: str) -> None:
        self.state.update(state)
        if self.state.get("command"):
            self.context.keep(self.work.id, self.work.url, **state)
        else:
            self.context.keep(**state)


def _names(text: str) -> list[str]:
    return text.split(",") if text else []


def _share(text: str, total: int) -> int:
    number = int(text.rstrip("%"))
    return total * number // 100 if text.endswith("%") else number
