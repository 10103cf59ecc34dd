"""Work in AWS outlives the process that began it, and starts only once: of each action type that waits for such work.

CodeBuild, CloudFormation and S3 are elsewhere; EKS, ECRBuildAndPublish and InspectorScan work in the worker itself.
"""

from __future__ import annotations

import copy
import json
import os
import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from waiting_services import FARM, MACHINE, STATES, TASK_DEFINITION, WaitingServices, command

from prefect_codepipeline.deployments.files.settings import read_settings_beside, save_settings
from prefect_codepipeline.flows.reconcile import reconcile_once
from prefect_codepipeline.prefect_api.leases import server_time

pytestmark = pytest.mark.live

SETTINGS = """
defaults:
  aws: {region: eu-west-1, endpoint_url: "URL", endpoint_urls: {s3: "MOTO"}, location: "s3://bundles/ci"}
"""
FILE = "output.txt"
SECONDS = 60  # until all of them wait
SOURCES = {
    "Images": [{"name": "app", "imageUri": "registry/web:2"}],
    "Blue": TASK_DEFINITION,
    "Template": {"Resources": {"Queue": {"Type": "AWS::SQS::Queue"}}},
    "Bundle": {"version": 0.0, "os": "linux"},
}
SHOP = {"ApplicationName": "shop"}
INSTANCES = {"DeploymentTargets": "111122223333", "Regions": "eu-west-1"}
BLUE = {
    "TaskDefinitionTemplateArtifact": "Blue",
    "AppSpecTemplateArtifact": "Blue",
    "TaskDefinitionTemplatePath": FILE,
    "AppSpecTemplatePath": FILE,
}
# Each type with its input artifact and configuration.
ACTIONS: dict[str, tuple[str, dict[str, str]]] = {
    "Deploy/ECS": ("Images", {"ClusterName": "shop", "ServiceName": "web", "FileName": FILE}),
    "Deploy/CodeDeployToECS": ("Blue", {"DeploymentGroupName": "blue", **SHOP, **BLUE}),
    "Deploy/CodeDeploy": ("Bundle", {"DeploymentGroupName": "fleet", **SHOP}),
    "Deploy/ElasticBeanstalk": ("Images", {"EnvironmentName": "prod", **SHOP}),
    "Deploy/CloudFormationStackSet": (
        "Template",
        {"StackSetName": "base", "TemplatePath": f"Template::{FILE}"},
    ),
    "Deploy/CloudFormationStackInstances": ("Template", {"StackSetName": "more", **INSTANCES}),
    "Deploy/Lambda": ("Images", {"FunctionName": "web", "FunctionAlias": "live"}),
    "Deploy/AppConfig": (
        "Images",
        {
            "Application": "app1234",
            "Environment": "env1234",
            "ConfigurationProfile": "prof123",
            "InputArtifactConfigurationPath": FILE,
        },
    ),
    "Deploy/ServiceCatalog": (
        "Template",
        {
            "ProductId": "prod-1",
            "TemplateFilePath": FILE,
            "ProductVersionName": "v2",
            "ProductType": "CLOUD_FORMATION_TEMPLATE",
        },
    ),
    "Deploy/EC2": (
        "Images",
        {
            "InstanceTagKey": "role",
            "InstanceTagValue": "web",
            "InstanceType": "SSM_MANAGED_NODE",
            "TargetDirectory": "/srv/app",
            "PostScript": FILE,
        },
    ),
    "Test/DeviceFarm": (
        "Images",
        {
            "AppType": "Web",
            "ProjectId": "P1",
            "App": "web",
            "AppiumVersion": "1.9.1",
            "DevicePoolArn": f"{FARM}:devicepool:top",
            "TestType": "BUILTIN_FUZZ",
        },
    ),
    "Invoke/StepFunctions": ("Images", {"StateMachineArn": MACHINE}),
}
# What the actions start, with how many of it all of them need; and a part of the request that only one of them has.
STARTS = {
    "Deploy/ECS": [("RegisterTaskDefinition", "'web'"), ("UpdateService", "web:2")],
    "Deploy/CodeDeployToECS": [("RegisterTaskDefinition", "'blue'"), ("CreateDeployment", "'blue'")],
    "Deploy/CodeDeploy": [("CreateDeployment", "'fleet'")],
    "Deploy/ElasticBeanstalk": [("CreateApplicationVersion", ""), ("UpdateEnvironment", "")],
    "Deploy/CloudFormationStackSet": [("UpdateStackSet", "'base'")],
    "Deploy/CloudFormationStackInstances": [("CreateStackInstances", "'more'")],
    "Deploy/Lambda": [("UpdateFunctionCode", ""), ("PublishVersion", ""), ("UpdateAlias", "")],
    "Deploy/AppConfig": [("CreateHostedConfigurationVersion", ""), ("StartDeployment", "")],
    "Deploy/ServiceCatalog": [("CreateProvisioningArtifact", "")],
    "Deploy/EC2": [("SendCommand", " look'"), ("SendCommand", " 0'")],
    "Test/DeviceFarm": [("ScheduleRun", "")],
    "Invoke/StepFunctions": [("StartExecution", "")],
}
# What AWS has called the work: it is the external id of the action.
IDS = {
    "Deploy/ECS": "ecs-svc/2",
    "Deploy/CodeDeployToECS": "d-blue",
    "Deploy/CodeDeploy": "d-fleet",
    "Deploy/ElasticBeanstalk": "codepipeline-{id}",
    "Deploy/CloudFormationStackSet": "{id}",
    "Deploy/CloudFormationStackInstances": "{id}",
    "Deploy/Lambda": "web:2",
    "Deploy/AppConfig": "7",
    "Deploy/ServiceCatalog": "pa-1",
    "Deploy/EC2": command(2),
    "Test/DeviceFarm": f"{FARM}:run:P1/R1",
    "Invoke/StepFunctions": f"{STATES}:execution:check:{{id}}",
}


@pytest.fixture
def services() -> Iterator[WaitingServices]:
    server = WaitingServices()
    yield server
    server.stop()


@pytest.mark.long
def test_work_in_aws_outlives_the_process_that_began_it_and_starts_once(
    world: Any, moto_url: str, services: WaitingServices, tmp_path: Path
) -> None:
    import boto3

    boto3.client("s3", endpoint_url=moto_url, region_name="us-east-1").create_bucket(Bucket="bundles")
    declared = world.declare([declare(kind) for kind in ACTIONS]).to_wire()
    (source,) = declared["stages"][0]["actions"]
    declared["stages"][0]["actions"] = [giving(source, name) for name in SOURCES]
    declaration = type(world.declare()).model_validate(declared)
    (tmp_path / "p.settings.yaml").write_text(SETTINGS.replace("URL", services.url).replace("MOTO", moto_url))
    settings = read_settings_beside(tmp_path / "p.json", declaration)
    assert settings
    save_settings(world.name, settings)

    execution_id = world.start(declaration)
    last = {kind: starts for kind, (*_, starts) in STARTS.items()}
    last["Deploy/Lambda"] = STARTS["Deploy/Lambda"][0]  # the version is published when the code is there
    world.wait(execution_id, lambda known: all(count(services, *each) for each in last.values()), SECONDS)
    world.wait(execution_id, lambda known: not missing(known), SECONDS)
    os.kill(world.process_of(execution_id), signal.SIGKILL)
    world.wait(execution_id, lambda known: known.run["state_type"] == "CRASHED")
    services.is_done = True
    reconcile_once(server_time() + timedelta(seconds=30))

    known = world.ended(execution_id)
    outcomes = {kind: outcome(known, kind) for kind in ACTIONS}
    starts = {kind: [count(services, *each) for each in STARTS[kind]] for kind in ACTIONS}
    assert outcomes == {kind: ("Succeeded", IDS[kind]) for kind in ACTIONS}
    assert starts == {kind: [1] * len(STARTS[kind]) for kind in ACTIONS}
    assert known.status == "Succeeded"


def declare(kind: str) -> dict[str, Any]:
    category, provider = kind.split("/")
    type_id = {"category": category, "owner": "AWS", "provider": provider, "version": "1"}
    source, configuration = ACTIONS[kind]
    inputs = [{"name": source}]
    return {
        "name": provider,
        "actionTypeId": type_id,
        "inputArtifacts": inputs,
        "configuration": configuration,
    }


def giving(source: dict[str, Any], name: str) -> dict[str, Any]:
    """A source action whose artifact has one file."""
    action = copy.deepcopy({**source, "name": name, "outputArtifacts": [{"name": name}]})
    action.pop("namespace", None)
    file = "appspec.yml" if name == "Bundle" else FILE
    action["configuration"] |= {"Output": json.dumps(SOURCES[name]), "OutputName": file}
    return action


def count(services: WaitingServices, operation: str, part: str) -> int:
    return sum(part in str(each) for each in services.asked(operation))


def action_of(known: Any, kind: str) -> Any:
    return known.state.stage("S1").action(kind.partition("/")[2])


def missing(known: Any) -> list[str]:
    """The types whose action does not wait for its work yet."""
    return [kind for kind in ACTIONS if not (action_of(known, kind).kept and action_of(known, kind).waits)]


def outcome(known: Any, kind: str) -> tuple[str, str]:
    """The end of an action, and its external id, in which `{id}` is that of the action execution."""
    finished = action_of(known, kind).finished
    if finished is None:
        return ("InProgress", "")
    external = str(finished.external_execution_id)
    why = finished.error_details.message if finished.error_details else ""
    return (why or finished.status, external.replace(finished.action_execution_id, "{id}"))
