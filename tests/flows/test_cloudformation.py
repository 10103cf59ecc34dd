"""A pipeline deploys stacks: at moto's server from the change set to its end, and across the death of its process."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from aws_server import AwsServer, RefusalError, in_turn

from prefect_codepipeline.deployments.files.settings import read_settings_beside, save_settings
from prefect_codepipeline.flows.reconcile import reconcile_once
from prefect_codepipeline.prefect_api.client import call
from prefect_codepipeline.prefect_api.leases import server_time

pytestmark = pytest.mark.live

TEMPLATE = {
    "Resources": {"Queue": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "live"}}},
    "Outputs": {"Url": {"Value": {"Ref": "Queue"}}},
}
ID = "arn:aws:cloudformation:eu-west-1:123456789012:stack/far/0f1e"
SETTINGS = """
defaults:
  aws: {credentials: moto, region: eu-west-1}
overrides:
  S2: {aws: {endpoint_urls: {cloudformation: "URL"}}}
"""


@pytest.fixture
def moto() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def slow() -> Iterator[AwsServer]:
    """CloudFormation, whose stack `far` is created for as long as the test wants."""
    server = AwsServer()
    server.answers["CreateStack"] = lambda _: {"StackId": ID}
    state = {"StackId": ID, "StackName": "far", "CreationTime": datetime.now(timezone.utc)}
    missing = RefusalError("ValidationError", "Stack with id far does not exist")
    server.answers["DescribeStacks"] = in_turn(
        [missing, {"Stacks": [{**state, "StackStatus": "CREATE_COMPLETE"}]}]
    )
    server.answers["DescribeStackEvents"] = lambda _: {"StackEvents": [event(server, "CREATE_IN_PROGRESS")]}
    yield server
    server.stop()


def event(server: AwsServer, status: str) -> dict[str, Any]:
    """An event about the stack itself, with the token of its creation."""
    return {
        "StackId": ID,
        "StackName": "far",
        "EventId": status,
        "Timestamp": datetime.now(timezone.utc),
        "LogicalResourceId": "far",
        "PhysicalResourceId": ID,
        "ResourceType": "AWS::CloudFormation::Stack",
        "ResourceStatus": status,
        "ClientRequestToken": server.asked("CreateStack")[0]["ClientRequestToken"],
    }


def deploy(name: str, run_order: int, **configuration: str) -> dict[str, Any]:
    kind = {"category": "Deploy", "owner": "AWS", "provider": "CloudFormation", "version": "1"}
    return {
        "name": name,
        "namespace": name,
        "runOrder": run_order,
        "actionTypeId": kind,
        "inputArtifacts": [{"name": "Src"}],
        "configuration": {"RoleArn": "arn:aws:iam::123456789012:role/cfn", **configuration},
    }


@pytest.mark.long
def test_stacks_are_deployed_and_outlive_the_process_that_began_them(
    world: Any, moto: str, slow: AwsServer, tmp_path: Path
) -> None:
    from aws_credentials import save_credentials

    save_credentials("moto", "testing", moto, "us-east-1")
    template = {"StackName": "near", "ChangeSetName": "next", "TemplatePath": "Src::output.txt"}
    declared = world.declare(
        [
            deploy("Make", 1, ActionMode="CHANGE_SET_REPLACE", **template),
            deploy("Execute", 2, ActionMode="CHANGE_SET_EXECUTE", StackName="near", ChangeSetName="next"),
            deploy("Update", 3, ActionMode="CREATE_UPDATE", StackName="near", TemplatePath="Src::output.txt"),
        ],
        [deploy("Far", 1, ActionMode="CREATE_UPDATE", StackName="far", TemplatePath="Src::output.txt")],
    ).to_wire()
    source = declared["stages"][0]["actions"][0]
    source["outputArtifacts"] = [{"name": "Src"}]
    source["configuration"]["Output"] = json.dumps(TEMPLATE)
    declaration = type(world.declare()).model_validate(declared)
    (tmp_path / "p.settings.yaml").write_text(SETTINGS.replace("URL", slow.url))
    settings = read_settings_beside(tmp_path / "p.json", declaration)
    assert settings
    save_settings(world.name, settings)

    execution_id = world.start(declaration)
    world.wait(
        execution_id,
        lambda known: known.state and known.state.stage("S2").action("Far").kept if slow.requests else None,
    )
    os.kill(world.process_of(execution_id), signal.SIGKILL)
    world.wait(execution_id, lambda known: known.run["state_type"] == "CRASHED")
    slow.answers["DescribeStackEvents"] = lambda _: {
        "StackEvents": [event(slow, "CREATE_COMPLETE"), event(slow, "CREATE_IN_PROGRESS")]
    }
    reconcile_once(server_time() + timedelta(seconds=30))

    known = world.ended(execution_id)
    assert known.status == "Succeeded"
    assert len(slow.asked("CreateStack")) == 1
    far = known.state.stage("S2").action("Far")
    assert far.finished.external_execution_id == ID
    near = known.state.stage("S1")
    assert near.action("Make").finished.summary == "change set 'next' of stack 'near' in eu-west-1: 1 Add"
    assert near.action("Update").finished.output_variables["Url"].endswith("/live")
    made = near.action("Make").started.task_run_id
    (table,) = call("POST", "/artifacts/filter", {"artifacts": {"task_run_id": {"any_": [made]}}})[1]
    assert [row["Resource"] for row in json.loads(table["data"])] == ["Queue"]
    assert table["key"].startswith("changes-")
    assert "planted-secret" not in str(call("POST", "/logs/filter", {"limit": 200})[1])
