"""The instances with a tag, and the commands that Systems Manager runs on them.

https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_SendCommand.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, Literal

from prefect_codepipeline.actions.aws.account import client_of
from prefect_codepipeline.actions.aws.client import translated
from prefect_codepipeline.actions.instances.host_script import REASON
from prefect_codepipeline.actions.registry import ActionContext

DOCUMENT = "AWS-RunShellScript"
# Of SendCommand.
MOST_INSTANCES = 50
# Of a filter of DescribeInstanceInformation.
_MOST_IDS = 100
_DELIVERY_SECONDS = 120
_ENDED = ("Success", "Cancelled", "Failed", "TimedOut")
_CLOCKS_DIFFER = timedelta(minutes=2)


@dataclass(frozen=True)
class Instances:
    """The instances with a tag: those that can be reached, and why each other one cannot."""

    reachable: Sequence[str]
    unreachable: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Command:
    """A command as Systems Manager shows it."""

    status: str
    targets: int
    completed: int

    @property
    def has_ended(self) -> bool:
        return self.status in _ENDED


@dataclass(frozen=True)
class Outcome:
    """What became of a command on one instance; `reason` is empty where it succeeded."""

    instance: str
    output: str
    reason: str
    begun: bool = True

    @property
    def succeeded(self) -> bool:
        return not self.reason


class Fleet:
    """The clients of an action. Raises `ActionFailed` for what AWS refuses."""

    def __init__(self, context: ActionContext) -> None:
        self.context = context
        self.ssm = client_of(context, "ssm")
        self.region = str(self.ssm.meta.region_name)

    def find(self, key: str, value: str | None, kind: Literal["EC2", "SSM_MANAGED_NODE"]) -> Instances:
        """The running instances of EC2, or the nodes of Systems Manager, that have the tag."""
        if kind == "EC2":
            running = self._running(key, value)
            chunks = [running[at : at + _MOST_IDS] for at in range(0, len(running), _MOST_IDS)]
            nodes = [each for chunk in chunks for each in self._nodes(InstanceIds=chunk)]
        else:
            running = []
            tag = {f"tag:{key}": [value]} if value else {"tag-key": [key]}
            nodes = [*self._nodes(**tag, ResourceType=["ManagedInstance"])]
        why = {each["InstanceId"]: _why_unreachable(each) for each in nodes}
        no_agent = "Systems Manager does not know it: it has no agent, or its role does not allow it"
        why.update({each: no_agent for each in running if each not in why})
        return Instances(
            reachable=sorted(each for each, reason in why.items() if not reason),
            unreachable={each: why[each] for each in sorted(why) if why[each]},
        )

    def _nodes(self, **filters: Sequence[str | None]) -> Iterator[dict[str, Any]]:
        """What Systems Manager knows of the nodes with these values."""
        named = [{"Key": key, "Values": list(values)} for key, values in filters.items()]
        with translated(f"looking for nodes of Systems Manager in region {self.region}"):
            for page in self.ssm.get_paginator("describe_instance_information").paginate(Filters=named):
                yield from page["InstanceInformationList"]

    def _running(self, key: str, value: str | None) -> list[str]:
        ec2 = client_of(self.context, "ec2")
        tag = {"Name": f"tag:{key}", "Values": [value]} if value else {"Name": "tag-key", "Values": [key]}
        filters = [tag, {"Name": "instance-state-name", "Values": ["running"]}]
        with translated(f"looking for instances with tag {key!r} in region {self.region}"):
            pages = ec2.get_paginator("describe_instances").paginate(Filters=filters)
            return [
                each["InstanceId"]
                for page in pages
                for reservation in page["Reservations"]
                for each in reservation["Instances"]
            ]

    def send(self, text: str, instances: Sequence[str], comment: str, at_once: int, errors: int) -> str:
        """Run a command on instances, at most 50, and return its id. Systems Manager has no token for it.

        `errors` are the instances that may fail before no further one begins.
        """
        # A request that is repeated because its answer was lost would run the command twice.
        ssm = client_of(self.context, "ssm", attempts=0)
        seconds = str(max(60, int(self.context.remaining_seconds)))
        with translated(f"running a command on {len(instances)} instances in region {self.region}"):
            answer = ssm.send_command(
                DocumentName=DOCUMENT,
                InstanceIds=list(instances),
                Comment=comment,
                TimeoutSeconds=_DELIVERY_SECONDS,
                MaxConcurrency=str(at_once),
                MaxErrors=str(errors),
                Parameters={"commands": text.splitlines(), "executionTimeout": [seconds]},
            )
        return str(answer["Command"]["CommandId"])

    def sent(self, instance: str, comment: str, since: datetime) -> str | None:
        """The command with that comment, if an earlier process or a lost request has sent it."""
        after = (since.astimezone(timezone.utc) - _CLOCKS_DIFFER).strftime("%Y-%m-%dT%H:%M:%SZ")
        filters = [{"key": "InvokedAfter", "value": after}]
        with translated(f"looking for earlier commands on instance {instance}"):
            pages = self.ssm.get_paginator("list_commands").paginate(InstanceId=instance, Filters=filters)
            for each in (each for page in pages for each in page["Commands"]):
                if each.get("Comment") == comment:
                    return str(each["CommandId"])
        return None

    def command(self, command: str) -> Command:
        """The state of a command, in one request."""
        with translated(f"reading the state of command {command}"):
            found = self.ssm.list_commands(CommandId=command).get("Commands")
        if not found:  # it is listed a moment after it was sent
            return Command("Pending", 0, 0)
        return Command(found[0]["Status"], found[0].get("TargetCount", 0), found[0].get("CompletedCount", 0))

    def outcomes(self, command: str, instances: Sequence[str]) -> list[Outcome]:
        """What became of an ended command on each instance."""
        found = {}
        with translated(f"reading the results of command {command}"):
            pages = self.ssm.get_paginator("list_command_invocations").paginate(
                CommandId=command, Details=True
            )
            for each in (each for page in pages for each in page["CommandInvocations"]):
                found[each["InstanceId"]] = _outcome(each)
        missing = "the command did not begin there"
        return [found.get(each) or Outcome(each, "", missing, begun=False) for each in instances]

    def cancel(self, command: str) -> None:
        """Cancel a command where it has not ended."""
        with translated(f"cancelling command {command}"):
            self.ssm.cancel_command(CommandId=command)


def _why_unreachable(node: Mapping[str, Any]) -> str:
    """Why nothing can be deployed to a node; empty if it can."""
    if node.get("PlatformType", "Linux") != "Linux":
        return f"its platform is {node['PlatformType']}, not Linux"
    if node.get("PingStatus", "Online") != "Online":
        return f"its agent is not online: {node['PingStatus']}"
    return ""


def _outcome(invocation: dict[str, Any]) -> Outcome:
    output = "".join(each.get("Output", "") for each in invocation.get("CommandPlugins") or ())
    if invocation["Status"] == "Success":
        return Outcome(invocation["InstanceId"], output, "")
    said = [line.removeprefix(REASON) for line in output.splitlines() if line.startswith(REASON)]
    reason = said[-1] if said else invocation.get("StatusDetails") or invocation["Status"]
    return Outcome(invocation["InstanceId"], output, reason, begun=invocation["Status"] != "Cancelled")
