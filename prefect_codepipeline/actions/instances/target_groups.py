"""Take instances out of the target groups of load balancers, and put them back.

https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTargetHealth.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from prefect_codepipeline.actions.aws.account import client_of
from prefect_codepipeline.actions.aws.client import error_code, translated
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.errors import ActionFailed

# A group that no listener uses checks no health.
_IN_SERVICE = ("healthy", "unused")
# An instance of a group by its id, and its port if it is not that of the group.
Target = tuple[str, int | None]


@dataclass(frozen=True)
class _Group:
    name: str
    arn: str
    port: int | None


class TargetGroups:
    """The groups of an action by their names. Raises `ActionFailed` for what AWS refuses."""

    def __init__(self, context: ActionContext, names: Sequence[str]) -> None:
        self._context, self._names = context, names

    def __bool__(self) -> bool:
        return bool(self._names)

    @cached_property
    def elb(self) -> Any:
        """The client of the load balancers."""
        return client_of(self._context, "elbv2")

    def registered(self, instances: Iterable[str]) -> dict[str, list[Target]]:
        """The targets among the instances, by the name of the group."""
        wanted = set(instances)
        return {
            group.name: [
                target for target, state, _ in self._targets(group, wanted) if state not in ("draining",)
            ]
            for group in self._groups
        }

    def take_out(self, instances: Sequence[str]) -> list[str]:
        """Deregister the instances; those that still have connections are returned."""
        wanted, left = set(instances), set()
        for group in self._groups:
            states = self._targets(group, wanted)
            left |= {target[0] for target, _, _ in states}
            if staying := [target for target, state, _ in states if state != "draining"]:
                with translated(f"taking instances out of target group {group.name!r}"):
                    self.elb.deregister_targets(TargetGroupArn=group.arn, Targets=_named(staying))
        return sorted(left)

    def put_back(self, instances: Sequence[str], ports: Mapping[str, Any]) -> list[str]:
        """Register the instances; why some are not in service yet is returned.

        `ports` has the targets that had another port than their group.
        """
        wanted, waiting = set(instances), []
        for group in self._groups:
            special = [target for target in map(_target, ports.get(group.name, ())) if target[0] in wanted]
            plain: list[Target] = [(each, None) for each in instances if each not in dict(special)]
            states = self._targets(group, wanted)
            there = {target for target, state, _ in states if state != "draining"}
            if missing := [target for target in (*special, *plain) if target not in there]:
                with translated(f"putting instances back into target group {group.name!r}"):
                    self.elb.register_targets(TargetGroupArn=group.arn, Targets=_named(missing))
                waiting.append(f"{missing[0][0]} begins in target group {group.name!r}")
            waiting += [
                f"{target[0]} is {state} in target group {group.name!r}: {reason}"
                for target, state, reason in states
                if state not in _IN_SERVICE and state != "draining"
            ]
        return waiting

    @cached_property
    def _groups(self) -> list[_Group]:
        from botocore.exceptions import ClientError

        names, region = ", ".join(self._names), self.elb.meta.region_name
        with translated(f"looking up target groups {names} in region {region}"):
            try:
                found = self.elb.describe_target_groups(Names=list(self._names))["TargetGroups"]
            except ClientError as error:
                if error_code(error) in ("TargetGroupNotFound", "TargetGroupNotFoundException"):
                    raise ActionFailed(
                        f"not all of the target groups {names} exist in region {region}; correct TargetGroupNameList",
                        code="ConfigurationError",
                    ) from error
                raise
        return [_Group(each["TargetGroupName"], each["TargetGroupArn"], each.get("Port")) for each in found]

    def _targets(self, group: _Group, wanted: set[str]) -> list[tuple[Target, str, str]]:
        """The targets of a group that are wanted, with their state and its reason."""
        with translated(f"reading the health of target group {group.name!r}"):
            answer: dict[str, Any] = self.elb.describe_target_health(TargetGroupArn=group.arn)
        found = []
        for each in answer.get("TargetHealthDescriptions", ()):
            target, health = each["Target"], each.get("TargetHealth", {})
            if target["Id"] in wanted:
                port = target.get("Port") if target.get("Port") != group.port else None
                reason = health.get("Description") or health.get("Reason") or "no reason is given"
                found.append(((target["Id"], port), health.get("State", ""), reason))
        return found


def _target(value: Sequence[Any]) -> Target:
    return value[0], value[1]


def _named(targets: Iterable[Target]) -> list[dict[str, Any]]:
    return [{"Id": name, **({"Port": port} if port else {})} for name, port in targets]
