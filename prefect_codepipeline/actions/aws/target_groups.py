"""Take instances and addresses out of the target groups of load balancers, and put them back.

https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTargetHealth.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address
from typing import Any

from prefect_codepipeline.actions.aws.client import error_code, translated
from prefect_codepipeline.errors import wrong_configuration

# A group that no listener uses checks no health.
_IN_SERVICE = ("healthy", "unused")
# A target of a group by its id, and its port if it is not that of the group.
Target = tuple[str, int | None]


@dataclass(frozen=True)
class _Group:
    name: str
    arn: str
    port: int | None
    kind: str

    def takes(self, target: str) -> bool:
        """Whether a target of this id can be in the group."""
        return _is_address(target) == (self.kind == "ip")


class TargetGroups:
    """Groups by their names. Raises `ActionFailed` for what AWS refuses.

    A target is the id of an instance, or an address: each group takes those of its kind.

    Args:
        connect: makes the client of the load balancers.
        names: of the groups.
        remedy: what to correct if one does not exist.
    """

    def __init__(self, connect: Callable[[], Any], names: Sequence[str], remedy: str) -> None:
        self._connect, self._names, self._remedy = connect, names, remedy

    def __bool__(self) -> bool:
        return bool(self._names)

    @cached_property
    def elb(self) -> Any:
        """The client of the load balancers."""
        return self._connect()

    def registered(self, targets: Iterable[str]) -> dict[str, list[Target]]:
        """Which of the targets are in a group, by the name of the group."""
        wanted = set(targets)
        for group in self._groups:
            if wanted:
                self._fitting(group, sorted(wanted))
        return {
            group.name: [target for target, state, _ in self._targets(group, wanted) if state != "draining"]
            for group in self._groups
        }

    def take_out(self, targets: Sequence[str]) -> list[str]:
        """Deregister the targets; those that still have connections are returned."""
        wanted, left = set(targets), set()
        for group in self._groups:
            states = self._targets(group, wanted)
            left |= {target[0] for target, _, _ in states}
            if staying := [target for target, state, _ in states if state != "draining"]:
                with translated(f"taking targets out of target group {group.name!r}"):
                    self.elb.deregister_targets(TargetGroupArn=group.arn, Targets=_named(staying))
        return sorted(left)

    def put_back(self, targets: Sequence[str], ports: Mapping[str, Any]) -> list[str]:
        """Register the targets; why some are not in service yet is returned.

        `ports` has, by the names of the groups, the targets that had another port than their group.
        """
        wanted, waiting = set(targets), []
        for group in self._groups:
            fitting = self._fitting(group, targets)
            special = [target for target in map(_target, ports.get(group.name, ())) if target[0] in wanted]
            plain: list[Target] = [(each, None) for each in fitting if each not in dict(special)]
            states = self._targets(group, wanted)
            there = {target for target, state, _ in states if state != "draining"}
            if missing := [target for target in (*special, *plain) if target not in there]:
                with translated(f"putting targets back into target group {group.name!r}"):
                    self.elb.register_targets(TargetGroupArn=group.arn, Targets=_named(missing))
                waiting.append(f"{missing[0][0]} begins in target group {group.name!r}")
            waiting += [
                f"{target[0]} is {state} in target group {group.name!r}: {reason}"
                for target, state, reason in states
                if state not in _IN_SERVICE and state != "draining"
            ]
        return waiting

    def _fitting(self, group: _Group, targets: Sequence[str]) -> list[str]:
        if fitting := [each for each in targets if group.takes(each)]:
            return fitting
        wanted = "addresses" if group.kind == "ip" else "ids of instances"
        raise wrong_configuration(
            f"target group {group.name!r} takes {wanted} (its target type is {group.kind!r}), and "
            f"{', '.join(targets) or 'the host'} is of another kind; {self._remedy}"
        )

    @cached_property
    def _groups(self) -> list[_Group]:
        from botocore.exceptions import ClientError

        names, region = ", ".join(self._names), self.elb.meta.region_name
        with translated(f"looking up target groups {names} in region {region}"):
            try:
                found = self.elb.describe_target_groups(Names=list(self._names))["TargetGroups"]
            except ClientError as error:
                if error_code(error) in ("TargetGroupNotFound", "TargetGroupNotFoundException"):
                    raise wrong_configuration(
                        f"not all of the target groups {names} exist in region {region}; {self._remedy}"
                    ) from error
                raise
        return [
            _Group(
                each["TargetGroupName"],
                each["TargetGroupArn"],
                each.get("Port"),
                each.get("TargetType", "instance"),
            )
            for each in found
        ]

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


def _is_address(target: str) -> bool:
    try:
        ip_address(target)
    except ValueError:
        return False
    return True


def _target(value: Sequence[Any]) -> Target:
    return value[0], value[1]


def _named(targets: Iterable[Target]) -> list[dict[str, Any]]:
    return [{"Id": name, **({"Port": port} if port else {})} for name, port in targets]
