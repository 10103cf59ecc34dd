"""Hosts leave the traffic and return: by real commands, and by target groups of moto and of a server that drains."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from itertools import accumulate
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aws_environment import use_endpoint
from aws_server import AwsServer, RefusalError

from prefect_codepipeline.actions.aws import client
from prefect_codepipeline.actions.deploying.connections.local import LocalConnection
from prefect_codepipeline.actions.deploying.host_calls import HostFailed
from prefect_codepipeline.actions.deploying.traffic import hosts as module
from prefect_codepipeline.actions.deploying.traffic.hosts import HostTraffic, traffic_of
from prefect_codepipeline.actions.registry import ActionContext, Earlier
from prefect_codepipeline.model.codedeploy.group import DeploymentGroup

WEB = {"name": "web-1", "address": "10.0.0.1"}
SECRET = "hunter2-hunter2"


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(client, "ATTEMPTS", 1)


@pytest.fixture
def make_context(make_aws_context: Callable[..., ActionContext]) -> Callable[..., ActionContext]:
    return lambda **fields: make_aws_context("Deploy/CodeDeploy", **fields)


def make_group(*hosts: dict[str, Any], **traffic: Any) -> DeploymentGroup:
    values = {"name": "prod", "hosts": list(hosts) or [WEB], "traffic": traffic}
    return DeploymentGroup.model_validate(values)


def made(group: DeploymentGroup, context: ActionContext) -> HostTraffic:
    traffic = traffic_of(group, context, lambda text: text.replace(SECRET, "***"))
    assert traffic
    return traffic


def move(group: DeploymentGroup, context: ActionContext, *verbs: str) -> None:
    """Block or allow each host of the group, as many at once as there are."""

    async def all_hosts() -> None:
        traffic = made(group, context)
        for verb in verbs:
            await asyncio.gather(
                *(getattr(traffic, verb)(host, LocalConnection(), "d-ABC123DEF") for host in group.hosts)
            )

    asyncio.run(all_hosts())


def test_a_group_without_traffic_has_no_traffic_events(make_context: Any) -> None:
    group = DeploymentGroup.model_validate({"name": "prod", "hosts": [WEB]})

    assert traffic_of(group, make_context(), str) is None


@pytest.mark.parametrize("on", ["worker", "host"])
def test_commands_get_the_host_and_the_event(
    make_context: Any, tmp_path: Path, on: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "seen"
    say = f'echo $1 $HOST $ADDRESS $DEPLOYMENT_ID $LIFECYCLE_EVENT >>{file}; echo "password {SECRET}"'
    group = make_group(
        on=on, block=["sh", "-c", say, "x", "b"], allow=["sh", "-c", say, "x", "a"], wait=["sh", "-c", say, "x", "w"]
    )  # fmt: skip

    with caplog.at_level(logging.INFO):
        move(group, make_context(), "block", "allow")

    assert file.read_text().splitlines() == [
        "b web-1 10.0.0.1 d-ABC123DEF BlockTraffic",
        "w web-1 10.0.0.1 d-ABC123DEF BlockTraffic",
        "a web-1 10.0.0.1 d-ABC123DEF AllowTraffic",
        "w web-1 10.0.0.1 d-ABC123DEF AllowTraffic",
    ]
    assert "web-1: BlockTraffic: $ sh -c" in caplog.text
    assert "password ***" in caplog.text
    assert SECRET not in caplog.text


def test_what_is_waited_for_is_asked_again_and_again(make_context: Any, tmp_path: Path) -> None:
    wait = f"echo x >>{tmp_path}/asked; [ $(wc -l <{tmp_path}/asked) -ge 3 ]"
    move(make_group(block=["true"], allow=["true"], wait=["sh", "-c", wait]), make_context(), "block")

    assert (tmp_path / "asked").read_text() == "x\n" * 3


@pytest.mark.parametrize(
    ("traffic", "verb", "message", "code"),
    [
        (
            {"block": ["sh", "-c", f"echo no {SECRET}; exit 3"]},
            "block",
            "command \"sh -c 'echo no ***; exit 3'\" on the worker exited with 3; its last output: no ***",
            "ScriptFailed",
        ),
        (
            {"allow": ["no-such-program", "-x"], "on": "host"},
            "allow",
            "command 'no-such-program -x' on the host could not be started: No such file or directory",
            "ScriptMissing",
        ),
        (
            {"block": ["sleep", "60"], "timeout_in_seconds": 1},
            "block",
            "command 'sleep 60' on the worker did not end within 1 seconds and was ended",
            "ScriptTimedOut",
        ),
        (
            {"wait": ["sh", "-c", "echo 3 left; exit 1"], "timeout_in_seconds": 1},
            "block",
            "traffic was not gone within 1 seconds: command "
            "\"sh -c 'echo 3 left; exit 1'\" on the worker exited with 1; its last output: 3 left",
            "ScriptTimedOut",
        ),
        (
            {"wait": ["false"], "timeout_in_seconds": 1},
            "allow",
            "traffic was not back within 1 seconds: command 'false' on the worker exited with 1",
            "ScriptTimedOut",
        ),
        (
            {"wait": ["no-such-program"]},
            "block",
            "command 'no-such-program' on the worker could not be started: No such file or directory",
            "ScriptMissing",
        ),
    ],
)
def test_a_failure_names_host_event_command_and_reason(
    make_context: Any, traffic: dict[str, Any], verb: str, message: str, code: str
) -> None:
    group = make_group(**{"block": ["true"], "allow": ["true"], **traffic})

    with pytest.raises(HostFailed) as failure:
        move(group, make_context(), verb)

    assert (str(failure.value), failure.value.code) == (message, code)


def test_hosts_are_blocked_at_the_same_time(make_context: Any, tmp_path: Path) -> None:
    """Each command waits until all three have begun."""
    hosts = [{"name": f"web-{n}", "address": f"10.0.0.{n}"} for n in range(3)]
    there = tmp_path / "there"
    meet = f"mkdir -p {there}; touch {there}/$HOST; until [ $(ls {there} | wc -l) = 3 ]; do sleep 0.05; done"

    move(
        make_group(*hosts, block=["sh", "-c", meet], allow=["true"], timeout_in_seconds=20),
        make_context(),
        "block",
    )


def test_only_so_many_commands_run_on_the_worker_at_once(
    make_context: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_COMMANDS", 2)
    hosts = [{"name": f"web-{n}", "address": f"10.0.0.{n}"} for n in range(6)]
    block = f"echo + >>{tmp_path}/log; sleep 0.2; echo - >>{tmp_path}/log"

    move(make_group(*hosts, block=["sh", "-c", block], allow=["true"]), make_context(), "block")

    steps = [1 if line == "+" else -1 for line in (tmp_path / "log").read_text().split()]
    assert max(accumulate(steps)) == 2
    assert len(steps) == 12


class Groups:
    """Target groups of moto."""

    def __init__(self, aws: Callable[[str], Any]) -> None:
        self.elb = aws("elbv2")
        self.vpc = aws("ec2").create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]

    def make(self, kind: str = "ip") -> tuple[str, str]:
        name = f"g-{uuid4().hex[:8]}"
        (made,) = self.elb.create_target_group(
            Name=name, Protocol="HTTP", Port=80, VpcId=self.vpc, TargetType=kind
        )["TargetGroups"]
        return name, made["TargetGroupArn"]

    def add(self, arn: str, target: str, port: int = 80) -> None:
        self.elb.register_targets(TargetGroupArn=arn, Targets=[{"Id": target, "Port": port}])

    def targets(self, arn: str) -> dict[str, int]:
        there = self.elb.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
        return {each["Target"]["Id"]: each["Target"]["Port"] for each in there}


@pytest.fixture
def groups(aws_endpoint: Any, aws: Callable[[str], Any]) -> Groups:
    return Groups(aws)


def test_addresses_and_instances_leave_their_groups_and_return(make_context: Any, groups: Groups) -> None:
    (by_ip, ip_arn), (by_id, id_arn) = groups.make("ip"), groups.make("instance")
    instance = "i-0123456789abcdef0"
    for arn, target in ((ip_arn, "10.0.0.1"), (ip_arn, "10.0.0.9"), (id_arn, instance)):
        groups.add(arn, target)
    host = {**WEB, "tags": {"InstanceId": instance}}
    group, context = make_group(host, target_groups=[by_ip, by_id]), make_context()

    move(group, context, "block")
    assert (groups.targets(ip_arn), groups.targets(id_arn)) == ({"10.0.0.9": 80}, {})
    move(group, context, "block")  # after a crash
    move(group, context, "allow")
    move(group, context, "allow")

    assert groups.targets(ip_arn) == {"10.0.0.9": 80, "10.0.0.1": 80}
    assert groups.targets(id_arn) == {instance: 80}


def test_a_port_of_its_own_comes_back_also_after_a_crash(make_context: Any, groups: Groups) -> None:
    (first, first_arn), (second, second_arn) = groups.make(), groups.make()
    groups.add(first_arn, "10.0.0.1", 8080)
    groups.add(second_arn, "10.0.0.1", 9090)
    group, kept = make_group(target_groups=[first, second]), dict[str, str]()

    move(group, make_context(keep=lambda **state: kept.update(state)), "block")
    assert groups.targets(first_arn) == groups.targets(second_arn) == {}
    after = Earlier(datetime.now(timezone.utc), state=kept)
    groups.add(second_arn, "10.0.0.1", 9091)  # as if the first process had died between the groups
    move(group, make_context(earlier=after, keep=lambda **state: kept.update(state)), "block", "allow")

    assert groups.targets(first_arn) == {"10.0.0.1": 8080}
    assert groups.targets(second_arn) == {"10.0.0.1": 9091}
    assert json.loads(kept["traffic-ports"])["web-1"][second] == [["10.0.0.1", 9091]]


@pytest.mark.parametrize(
    ("host", "kind", "message"),
    [
        (
            {"name": "web-1", "address": "10.0.0.1"},
            "instance",
            "takes ids of instances (its target type is 'instance'), and 10.0.0.1 is of another kind; correct "
            "target_groups of the deployment group's traffic, TargetGroupNameList of the EC2 action, or the "
            "tag InstanceId or the address of the host",
        ),
        (
            {"name": "web-1", "address": "no-such-name.invalid"},
            "ip",
            "its address 'no-such-name.invalid' has no IP address, and it has no tag InstanceId; correct one of them",
        ),
    ],
)
def test_a_host_that_no_group_can_have(
    make_context: Any, groups: Groups, host: Any, kind: str, message: str
) -> None:
    name, _ = groups.make(kind)

    with pytest.raises(HostFailed) as failure:
        move(make_group(host, target_groups=[name]), make_context(), "block")

    assert str(failure.value).endswith(message)
    assert failure.value.code == "UnknownError"


def test_an_unknown_group(make_context: Any, groups: Groups) -> None:
    with pytest.raises(HostFailed) as failure:
        move(make_group(target_groups=["nothing"]), make_context(), "block")

    assert str(failure.value) == (
        "not all of the target groups nothing exist in region us-east-1; correct "
        "target_groups of the deployment group's traffic, TargetGroupNameList of the EC2 action, or the "
        "tag InstanceId or the address of the host"
    )


class Balancer(AwsServer):
    """A target group of which targets drain, and come into service, after some looks at them."""

    def __init__(self) -> None:
        super().__init__()
        self.states: dict[str, list[str]] = {}
        self.at_once = threading.Semaphore()
        self.overlaps = 0
        group = {"TargetGroupName": "web", "TargetGroupArn": "arn:web", "Port": 80, "TargetType": "ip"}
        self.answers = {
            "DescribeTargetGroups": lambda _: {"TargetGroups": [group]},
            "DescribeTargetHealth": self._health,
            "DeregisterTargets": lambda asked: self._set(asked, ["draining"] * 3),
            "RegisterTargets": lambda asked: self._set(asked, ["initial", "unhealthy", "healthy"]),
        }

    def _set(self, asked: dict[str, Any], states: list[str]) -> dict[str, Any]:
        for each in asked["Targets"]:
            self.states[each["Id"]] = list(states)
        return {}

    def _health(self, _: dict[str, Any]) -> dict[str, Any]:
        self.overlaps += not self.at_once.acquire(blocking=False)
        time.sleep(0.002)
        self.at_once.release()
        found = [
            {"Target": {"Id": name, "Port": 80}, "TargetHealth": {"State": states[0]}}
            for name, states in self.states.items()
            if states
        ]
        for states in self.states.values():
            if len(states) > 1 or states == ["draining"]:
                states.pop(0)
        return {"TargetHealthDescriptions": found}


@pytest.fixture
def balancer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Balancer]:
    server = Balancer()
    use_endpoint(monkeypatch, server.url, "us-east-1")
    yield server
    server.stop()


def test_draining_and_health_are_waited_for(make_context: Any, balancer: Balancer) -> None:
    balancer.states["10.0.0.1"] = ["healthy"]
    group = make_group(target_groups=["web"])

    move(group, make_context(), "block")
    assert balancer.states == {"10.0.0.1": []}
    move(group, make_context(), "allow")

    assert balancer.states == {"10.0.0.1": ["healthy"]}
    assert len(balancer.asked("DeregisterTargets")) == len(balancer.asked("RegisterTargets")) == 1


def test_a_target_that_stays_unhealthy_fails_its_host(make_context: Any, balancer: Balancer) -> None:
    balancer.answers["RegisterTargets"] = lambda asked: balancer._set(asked, ["unhealthy"])

    with pytest.raises(HostFailed) as failure:
        move(make_group(target_groups=["web"], timeout_in_seconds=3), make_context(), "allow")

    assert str(failure.value) == (
        "it did not end within 3 seconds: 10.0.0.1 is unhealthy in target group 'web': no reason is given"
    )
    assert failure.value.code == "ScriptTimedOut"


def test_a_balancer_that_is_throttled_is_asked_again_and_one_that_refuses_is_not(
    make_context: Any, balancer: Balancer
) -> None:
    balancer.states["10.0.0.1"] = ["healthy"]
    for _ in range(2):  # boto3 repeats it once
        balancer.fail_once("DescribeTargetHealth", RefusalError("Throttling", "Rate exceeded"), is_done=False)
    move(make_group(target_groups=["web"]), make_context(), "block")
    assert balancer.states == {"10.0.0.1": []}

    del balancer.answers["RegisterTargets"]
    with pytest.raises(
        HostFailed,
        match="putting targets back into target group 'web': AWS refused",
    ):
        move(make_group(target_groups=["web"]), make_context(), "allow")


def test_many_hosts_ask_one_after_the_other(make_context: Any, balancer: Balancer) -> None:
    hosts = [{"name": f"web-{n}", "address": f"10.0.0.{n}"} for n in range(20)]
    balancer.states.update({host["address"]: ["healthy"] for host in hosts})

    move(make_group(*hosts, target_groups=["web"]), make_context(), "block", "allow")

    assert set(map(tuple, balancer.states.values())) == {("healthy",)}
    assert len(balancer.asked("DeregisterTargets")) == 20
    assert balancer.overlaps == 0
