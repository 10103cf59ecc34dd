"""Deploy/AWS/EC2/1: moto's EC2 and S3, and a Systems Manager that runs the commands, each instance in a folder of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aws_server import RefusalError, in_turn
from instances_server import InstancesServer
from provider_calls import call_to_its_end
from pydantic import ValidationError

from prefect_codepipeline.actions.aws import client, remote_work
from prefect_codepipeline.actions.registry import ActionContext, ActionResult, Earlier
from prefect_codepipeline.actions.work import InputTree
from prefect_codepipeline.errors import ActionAbandoned, ActionFailed, ActionInterrupted
from prefect_codepipeline.model.definition.action_settings import ActionSettings
from prefect_codepipeline.model.definition.aws_settings import AwsSettings
from prefect_codepipeline.tasks.providers.deploy.ec2_deploy import Ec2DeployConfiguration, deploy_to_instances

NODES = ("mi-0a", "mi-0b", "mi-0c")
SCRIPTS = {"TargetDirectory": "/srv/app", "PreScript": "before.sh", "PostScript": "scripts/after.sh"}
SPEC = """
version: 0.1
files: [{source: /page, destination: /srv/app/www}, {source: scripts, destination: /srv/app/bin}]
scripts:
  BeforeDeploy: [{location: before.sh, timeout: 5}]
  AfterDeploy: [{location: scripts/after.sh}]
permissions: []
"""
APPSPEC = """
version: 0.0
os: linux
files: [{source: /, destination: /srv/app}]
hooks:
  ApplicationStop: [{location: before.sh}]
  AfterInstall:
  ValidateService: [{location: scripts/after.sh}]
  BeforeAllowTraffic: [{location: none.sh}]
"""


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_work, "SHORTEST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(remote_work, "PAUSE_PER_SECOND", 0.0)
    monkeypatch.setattr(client, "ATTEMPTS", 1)


@pytest.fixture
def source(tmp_path: Path) -> InputTree:
    for name, text in {
        "before.sh": "#!/bin/sh\necho before >>$TMPDIR/log\n",
        "scripts/after.sh": "#!/bin/sh\n[ ! -e $TMPDIR/broken ] || exit 3\necho after in $PWD >>$TMPDIR/log\n",
        "page": f"{uuid4()}",
        "spec.yml": SPEC,
        "appspec.yml": APPSPEC,
        "windows.yml": "version: 0.0\nos: windows",
        "bad.yml": "version: 0.1\nfiles: [{source: a, destination: b}]",
        "user.yml": "version: 0.1\nscripts: {AfterDeploy: [{location: before.sh, runas: 'a b'}]}",
        "new.yml": "version: 0.2",
        "text.yml": "{",
        "missing.yml": "version: 0.1\nscripts: {AfterDeploy: [{location: none.sh}]}",
    }.items():
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / name).write_text(text)
    return InputTree("Source", tmp_path / "source")


@pytest.fixture
def server(tmp_path: Path, moto_url: str) -> Iterator[InstancesServer]:
    server = InstancesServer(tmp_path / "nodes", moto_url)
    yield server
    server.stop()


@pytest.fixture
def make_context(
    make_aws_context: Any, make_bucket: Any, server: InstancesServer, source: InputTree
) -> Callable[..., ActionContext]:
    location = f"s3://{make_bucket()}/exchange"

    def make(**fields: Any) -> ActionContext:
        urls = {"ssm": server.url, "elbv2": server.url}
        settings = ActionSettings(aws=AwsSettings(endpoint_urls=urls, location=location))
        given = {"input_artifacts": (source,), "settings": settings, **fields}
        context: ActionContext = make_aws_context("Deploy/EC2", **given)
        return context

    return make


def deploy(context: ActionContext, **more: str) -> ActionResult:
    given = {"InstanceTagKey": "Name", "InstanceTagValue": "web", "InstanceType": "SSM_MANAGED_NODE", **more}
    configuration = Ec2DeployConfiguration.model_validate(given)
    return call_to_its_end(deploy_to_instances, configuration, context)


def log(server: InstancesServer, name: str) -> list[str]:
    file = server.folder / name / "log"
    return file.read_text().splitlines() if file.exists() else []


def test_files_and_scripts_reach_every_instance(server, make_context):
    server.add(*NODES)
    told: list[str] = []
    context = make_context(report_progress=lambda **progress: told.append(progress["summary"]))

    result = deploy(context, **SCRIPTS, MaxBatch="2")

    for name in NODES:
        app = server.folder / name / "app"
        assert (app / "page").read_text() == (context.input_artifacts[0].directory / "page").read_text()
        assert log(server, name) == ["before", f"after in {app}"]
    (command,) = server.deployments
    assert (command["MaxConcurrency"], command["MaxErrors"]) == ("2", "0")
    assert command["Comment"] == f"codepipeline {context.action_execution_id} 0"
    looked = server.asked("DescribeInstanceInformation")[0]["Filters"]
    assert looked == [
        {"Key": "tag:Name", "Values": ["web"]},
        {"Key": "ResourceType", "Values": ["ManagedInstance"]},
    ]
    assert result.summary == "deployed to 3 of 3 instances"
    assert result.external_execution_id in server.commands
    assert result.external_execution_url == (
        "https://us-east-1.console.aws.amazon.com/systems-manager/run-command/"
        f"{result.external_execution_id}?region=us-east-1"
    )
    assert told[0] == "looking at what 3 instances have"
    assert "0 of 3 instances; 3 instances begin" in told
    for request in server.asked("SendCommand"):
        assert "testing-secret" not in str(request)


@pytest.mark.parametrize("spec", ["spec.yml", "appspec.yml"])
def test_a_deploy_spec_and_an_appspec(server, make_context, spec, caplog):
    server.add("mi-0a")

    deploy(make_context(), DeploySpec=spec)

    app = server.folder / "mi-0a" / "app"
    first, second = log(server, "mi-0a")
    assert first == "before"
    assert second.startswith("after in ")
    assert str(app) not in second
    if spec == "spec.yml":
        assert sorted(each.relative_to(app).as_posix() for each in app.rglob("*")) == [
            "bin", "bin/after.sh", "www", "www/page",
        ]  # fmt: skip
        assert "permissions has no effect in a deployment by spec.yml" in caplog.text
    else:
        assert (app / "scripts" / "after.sh").exists()
        assert "hooks.BeforeAllowTraffic has no effect" in caplog.text


def test_what_has_the_artifact_is_left_out_and_what_failed_is_first(server, make_context):
    server.add(*NODES)
    (server.folder / "mi-0b" / "broken").touch()
    with pytest.raises(ActionFailed) as failed:
        deploy(make_context(), **SCRIPTS)
    assert str(failed.value) == (
        "deployment to 3 instances with tag 'Name=web' failed: deployed to 1 of 3 instances; 1 failed, first mi-0b: "
        "PostScript: script scripts/after.sh failed with exit code 3; 1 were left as they are; MaxError allows 0"
    )
    assert failed.value.code == "JobFailed"
    assert failed.value.external_execution_id in server.commands
    assert log(server, "mi-0c") == []
    (server.folder / "mi-0b" / "broken").unlink()
    server.add("mi-0a-new")

    result = deploy(make_context(), **SCRIPTS)

    assert server.deployments[-1]["InstanceIds"] == ["mi-0b", "mi-0a-new", "mi-0c"]
    assert result.summary == "deployed to 3 of 4 instances; 1 had this artifact already"
    assert deploy(make_context(), **SCRIPTS).summary == (
        "deployed to 0 of 4 instances; 4 had this artifact already"
    )
    assert len(server.deployments) == 2


def test_some_instances_may_fail_and_those_that_cannot_be_reached_count(server, make_context):
    server.add(*NODES)
    server.add("mi-0d", PingStatus="ConnectionLost")
    (server.folder / "mi-0a" / "broken").touch()

    result = deploy(make_context(), **SCRIPTS, MaxError="50%")

    assert result.summary == (
        "deployed to 2 of 4 instances; 2 failed, first mi-0d: its agent is not online: ConnectionLost"
    )
    assert server.deployments[0]["MaxErrors"] == "1"
    with pytest.raises(ActionFailed, match="2 failed, first mi-0d"):
        deploy(make_context(), **SCRIPTS, MaxError="1")


def test_instances_of_ec2_are_those_that_run_and_have_an_agent(server, make_context, aws):
    ec2, name = aws("ec2"), f"web-{uuid4().hex[:6]}"
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": name}]}]
    made = ec2.run_instances(ImageId="ami-12c6146b", MinCount=3, MaxCount=3, TagSpecifications=tags)[
        "Instances"
    ]
    first, second, third = (each["InstanceId"] for each in made)
    ec2.stop_instances(InstanceIds=[third])
    server.add(first, third)

    result = deploy(make_context(), **SCRIPTS, InstanceType="EC2", InstanceTagValue=name, MaxError="1")

    assert result.summary.startswith(
        f"deployed to 1 of 2 instances; 1 failed, first {second}: Systems Manager does not know it"
    )
    assert [each["InstanceIds"] for each in server.deployments] == [[first]]


def test_each_batch_leaves_its_target_groups_and_returns(server, make_context):
    server.add("mi-0a", "mi-0b")
    server.in_group("mi-0a")
    server.in_group("mi-0b", port=8080)

    deploy(make_context(), **SCRIPTS, TargetGroupNameList="web")

    wanted = ("DeregisterTargets", "SendCommand", "RegisterTargets")
    done = [
        name for name, asked in server.requests if name in wanted and "look" not in asked.get("Comment", "")
    ]
    assert done == ["DeregisterTargets", "SendCommand", "RegisterTargets"] * 2
    assert [each["InstanceIds"] for each in server.deployments] == [["mi-0a"], ["mi-0b"]]
    assert {name: each["Target"]["Port"] for name, each in server.health.items()} == {
        "mi-0a": 80,
        "mi-0b": 8080,
    }


def test_a_batch_waits_for_connections_and_for_health(server, make_context):
    server.add("mi-0a")
    told: list[str] = []
    one = {"Target": {"Id": "mi-0a", "Port": 80}}

    def states(*names: str) -> list[dict[str, Any]]:
        return [
            {"TargetHealthDescriptions": [{**one, "TargetHealth": {"State": name}}] if name else []}
            for name in names
        ]

    # Before it is prepared, for its ports, and for each look.
    server.answers["DescribeTargetHealth"] = in_turn(
        states("healthy", "healthy", "healthy", "draining", "draining", "", "", "", "initial", "healthy")
    )
    server.answers["DeregisterTargets"] = server.answers["RegisterTargets"] = lambda _: {}

    deploy(
        make_context(report_progress=lambda **progress: told.append(progress["summary"])),
        **SCRIPTS,
        TargetGroupNameList="web",
    )

    assert "0 of 1 instances; mi-0a leaves its target groups" in told
    assert "0 of 1 instances; mi-0a begins in target group 'web'" in told
    assert "0 of 1 instances; mi-0a is initial in target group 'web': no reason is given" in told
    assert len(server.asked("DeregisterTargets")) == 1
    assert len(server.deployments) == 1


def test_a_look_in_mid_wait_costs_one_request(server, make_context):
    server.add("mi-0a")
    configuration = {"InstanceTagKey": "Name", "InstanceType": "SSM_MANAGED_NODE", **SCRIPTS}
    kept = {
        "script": "s3://b/s",
        "digest": "d",
        "total": "1",
        "failures": "0",
        "order": "mi-0a",
        "batch": "0",
    }
    command = str(uuid4())
    server.commands[command] = {"CommandId": command, "Status": "InProgress", "CompletedCount": 0}
    earlier = Earlier(datetime.now(timezone.utc), command, state={**kept, "command": command})

    looked = deploy_once(make_context(earlier=earlier, input_artifacts=()), configuration, server)

    assert looked == "0 of 1 instances; 0 of 1 in this batch have ended"
    assert [name for name, _ in server.requests] == ["ListCommands"]


def deploy_once(context: ActionContext, configuration: dict[str, str], server: InstancesServer) -> str:
    from prefect_codepipeline.actions.registry import WorkGoesOn

    server.looks_until_ended = 9
    with pytest.raises(WorkGoesOn) as goes_on:
        deploy_to_instances(Ec2DeployConfiguration.model_validate(configuration), context)
    return goes_on.value.waiting.summary


def test_a_command_whose_answer_is_lost_is_sent_once(server, make_context):
    server.add("mi-0a")
    server.lose_next_answer = True

    result = deploy(make_context(), **SCRIPTS)

    assert len(server.deployments) == 1
    assert log(server, "mi-0a")[0] == "before"
    assert len(log(server, "mi-0a")) == 2
    assert result.summary == "deployed to 1 of 1 instances"


@pytest.mark.parametrize("died", ["before keep", "after keep", "at the end"])
def test_another_process_follows_the_same_commands(server, make_context, died):
    server.add("mi-0a")
    kept: dict[str, str] = {}
    first = make_context()
    started = datetime.now(timezone.utc)

    def keep(*_: str, **state: str) -> None:
        begins = bool(state.get("command"))
        if not (begins and died == "before keep"):
            kept.update(state)
        if begins and died != "at the end":
            first.cancellation.leave()
        if "last" in state:
            first.cancellation.leave()

    first = replace(first, keep=keep)
    if died == "at the end":
        deploy(first, **SCRIPTS)
    else:
        with pytest.raises(ActionInterrupted):
            deploy(first, **SCRIPTS)
    assert server.asked("CancelCommand") == []

    earlier = Earlier(started, state={**kept})
    second = make_context(earlier=earlier, action_execution_id=first.action_execution_id, input_artifacts=())
    result = deploy(second, **SCRIPTS)

    assert result.summary == "deployed to 1 of 1 instances"
    assert len(server.deployments) == 1
    assert len(log(server, "mi-0a")) == 2


def test_an_abandoned_deployment_and_one_that_takes_too_long_are_cancelled(server, make_context):
    server.add("mi-0a", "mi-0b")
    server.in_group("mi-0a", "mi-0b")
    server.looks_until_ended = 10_000
    server.commands = _Ending(server)  # the look at what they have ends at once
    context = make_context()

    def keep(*_: str, **state: str) -> None:
        if state.get("command"):
            context.cancellation.cancel()

    with pytest.raises(ActionAbandoned) as abandoned:
        deploy(replace(context, keep=keep), **SCRIPTS, TargetGroupNameList="web")
    assert "the command was cancelled; scripts that run on instances may run to their end" in str(
        abandoned.value
    )
    assert "mi-0a were put back into the target groups" in str(abandoned.value)
    assert server.health.keys() == {"mi-0a", "mi-0b"}
    assert len(server.asked("CancelCommand")) == 1
    (server.folder / "mi-0a" / "state").rename(server.folder / "mi-0a" / "state-before")

    with pytest.raises(ActionFailed, match=r"ran out of time.*the command was cancelled") as failed:
        deploy(make_context(seconds=1.5), **SCRIPTS)
    assert failed.value.code == "Timeout"


class _Ending(dict[str, dict[str, Any]]):
    """Commands of which those that only look end at once."""

    def __init__(self, server: InstancesServer) -> None:
        super().__init__()
        self._server = server

    def __setitem__(self, key: str, command: dict[str, Any]) -> None:
        if command["Comment"].endswith(" look"):
            command["Status"] = "Success"
        super().__setitem__(key, command)


def test_throttling_and_a_service_that_is_away_are_borne(server, make_context):
    server.add("mi-0a")
    for operation in ("DescribeInstanceInformation", "SendCommand", "ListCommands", "ListCommandInvocations"):
        answer = server.answers[operation]
        faults = iter(
            [RefusalError("ThrottlingException", "slow down"), RefusalError("InternalServerError", "x", 503)]
        )

        def faulty(asked: dict[str, Any], answer: Any = answer, faults: Any = faults) -> dict[str, Any]:
            for fault in faults:
                raise fault
            return dict(answer(asked))

        server.answers[operation] = faulty

    assert deploy(make_context(), **SCRIPTS).summary == "deployed to 1 of 1 instances"
    assert len(log(server, "mi-0a")) == 2


def test_what_fails_on_an_instance_is_said(server, make_context):
    server.add("mi-0a")
    (server.folder / "mi-0a" / "bin" / "aws").write_text("#!/bin/sh\nexit 1\n")

    with pytest.raises(
        ActionFailed, match=r"mi-0a: s3://.*deploy.sh could not be downloaded; allow the role"
    ):
        deploy(make_context(), **SCRIPTS)


def test_a_script_that_takes_too_long(server, make_context, source):
    server.add("mi-0a")
    (source.directory / "before.sh").write_text("#!/bin/sh\nsleep 30\n")
    (source.directory / "spec.yml").write_text(SPEC.replace("timeout: 5", "timeout: 1"))

    with pytest.raises(ActionFailed, match=r"BeforeDeploy: script before.sh took more than 1 seconds"):
        deploy(make_context(), DeploySpec="spec.yml")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, "set DeploySpec to a file of the input artifact, or TargetDirectory"),
        ({**SCRIPTS, "TargetDirectory": "app"}, "TargetDirectory 'app' is not an absolute path"),
        ({**SCRIPTS, "PostScript": "none.sh"}, "PostScript: input artifact 'Source' has no file 'none.sh'"),
        ({**SCRIPTS, "PreScript": "../x"}, "PreScript: input artifact 'Source' has no file '../x'"),
        (
            {**SCRIPTS, "TargetGroupNameList": "none"},
            "not all of the target groups none exist in region us-east-1",
        ),
        ({"DeploySpec": "none.yml"}, "has no file 'none.yml'"),
        ({"DeploySpec": "windows.yml"}, "is for windows; this action deploys to Linux only"),
        (
            {"DeploySpec": "bad.yml"},
            "DeploySpec 'bad.yml': files.0.destination: Value error, 'b' is not an absolute",
        ),
        ({"DeploySpec": "user.yml"}, "'a b' is not the name of a user"),
        ({"DeploySpec": "new.yml"}, "version 0.2 is not supported; use 0.1"),
        ({"DeploySpec": "text.yml"}, "DeploySpec 'text.yml' is not YAML"),
        ({"DeploySpec": "missing.yml"}, "AfterDeploy: input artifact 'Source' has no file 'none.sh'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(server, make_context, more, message):
    server.add("mi-0a")

    with pytest.raises(ActionFailed) as failed:
        deploy(make_context(), **more)

    assert message in str(failed.value)
    assert failed.value.code == "ConfigurationError"
    assert server.asked("SendCommand") == []


def test_instances_that_are_not_there_or_too_many(server, make_context):
    with pytest.raises(
        ActionFailed, match="no running node of Systems Manager with tag 'Name=web' is in region us-"
    ):
        deploy(make_context(), **SCRIPTS)

    server.nodes = {f"mi-{number}": {"InstanceId": f"mi-{number}"} for number in range(501)}
    with pytest.raises(ActionFailed, match="501 instances have the tag, in 11 batches; at most 500"):
        deploy(make_context(), **SCRIPTS)
    assert server.asked("SendCommand") == []


def test_without_access_to_aws_the_setting_for_other_hosts_is_named(make_aws_context, monkeypatch, source):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)

    with pytest.raises(
        ActionFailed, match="deploys to instances of AWS, unless deploy_hosts in the settings names"
    ) as failed:
        deploy(make_aws_context("Deploy/EC2", input_artifacts=(source,)), **SCRIPTS)
    assert failed.value.code == "ConfigurationError"


def test_who_may_not_send_commands_is_reported(server, make_context):
    server.add("mi-0a")
    del server.answers["SendCommand"]

    with pytest.raises(
        ActionFailed, match=r"running a command on 1 instances in region us-east-1: AWS refused"
    ) as failed:
        deploy(make_context(), **SCRIPTS)
    assert failed.value.code == "PermissionError"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"InstanceType": "ECS"}, "'EC2' or 'SSM_MANAGED_NODE'"),
        ({"MaxBatch": "0"}, "pattern"),
        ({"MaxError": "x%"}, "pattern"),
        ({"X": "1"}, "Extra inputs"),
    ],
)
def test_rejects_configuration(change, message):
    with pytest.raises(ValidationError, match=message):
        Ec2DeployConfiguration.model_validate({"InstanceTagKey": "k", "InstanceType": "EC2", **change})
