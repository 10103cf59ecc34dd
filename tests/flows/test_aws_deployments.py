"""Deployments in ECS, CodeDeploy and Elastic Beanstalk outlive the process that began them, and start only once."""

from __future__ import annotations

import copy
import json
import os
import signal
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from aws_server import AwsServer

from prefect_codepipeline.deployments.files.settings import read_settings_beside, save_settings
from prefect_codepipeline.flows.reconcile import reconcile_once
from prefect_codepipeline.prefect_api.leases import server_time

pytestmark = pytest.mark.live

ARN = "arn:aws:ecs:eu-west-1:123456789012"
IMAGES = [{"name": "app", "imageUri": "registry/web:2"}]
TASK_DEFINITION = {"family": "blue", "containerDefinitions": [{"name": "app", "image": "registry/web:2"}]}
SETTINGS = """
defaults:
  aws: {region: eu-west-1, endpoint_url: "URL", endpoint_urls: {s3: "MOTO"}}
"""
STARTS = ("RegisterTaskDefinition", "UpdateService", "CreateDeployment", "CreateApplicationVersion", "UpdateEnvironment")  # fmt: skip


class Services(AwsServer):
    """The three services; what they deploy ends when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.is_done = False
        self.answers |= {
            "DescribeServices": lambda _: {"services": [self.service()]},
            "DescribeTaskDefinition": lambda _: {
                "taskDefinition": {
                    **TASK_DEFINITION,
                    "family": "web",
                    "registeredAt": datetime.now(timezone.utc),
                }
            },
            "ListTaskDefinitions": lambda _: {"taskDefinitionArns": []},
            "RegisterTaskDefinition": lambda request: {
                "taskDefinition": {"taskDefinitionArn": f"{ARN}:task-definition/{request['family']}:2"}
            },
            "UpdateService": lambda _: {"service": self.service()},
            "ListDeployments": lambda _: {"deployments": []},
            "CreateDeployment": lambda _: {"deploymentId": "d-1"},
            "GetDeployment": lambda _: {
                "deploymentInfo": {
                    "deploymentId": "d-1",
                    "status": "Succeeded" if self.is_done else "InProgress",
                }
            },
            "CreateStorageLocation": lambda _: {"S3Bucket": "bundles"},
            "DescribeApplicationVersions": lambda _: {"ApplicationVersions": []},
            "CreateApplicationVersion": lambda _: {},
            "UpdateEnvironment": lambda _: self.environment(),
            "DescribeEnvironments": lambda _: {"Environments": [self.environment()]},
            "DescribeEvents": lambda _: {"Events": []},
        }

    def service(self) -> dict[str, Any]:
        is_new = bool(self.asked("UpdateService"))
        deployment = {
            "id": "ecs-svc/2" if is_new else "ecs-svc/1",
            "status": "PRIMARY",
            "taskDefinition": f"{ARN}:task-definition/web:{2 if is_new else 1}",
            "desiredCount": 1,
            "runningCount": 1 if self.is_done else 0,
            "createdAt": datetime.now(timezone.utc),
            "rolloutState": "COMPLETED" if self.is_done else "IN_PROGRESS",
        }
        return {
            "serviceName": "web",
            "serviceArn": f"{ARN}:service/shop/web",
            "clusterArn": f"{ARN}:cluster/shop",
            "status": "ACTIVE",
            "taskDefinition": deployment["taskDefinition"],
            "deployments": [deployment],
        }

    def environment(self) -> dict[str, Any]:
        updates = self.asked("UpdateEnvironment")
        return {
            "EnvironmentName": "prod",
            "EnvironmentId": "e-1",
            "VersionLabel": updates[0]["VersionLabel"] if updates else "v1",
            "Status": "Ready" if self.is_done or not updates else "Updating",
            "Health": "Green",
        }


@pytest.fixture
def services() -> Iterator[Services]:
    server = Services()
    yield server
    server.stop()


def deploy(provider: str, source: str, **configuration: str) -> dict[str, Any]:
    kind = {"category": "Deploy", "owner": "AWS", "provider": provider, "version": "1"}
    inputs = [{"name": source}]
    return {"name": provider, "actionTypeId": kind, "inputArtifacts": inputs, "configuration": configuration}


def test_deployments_outlive_the_process_that_began_them_and_start_once(
    world: Any, moto_url: str, services: Services, tmp_path: Path
) -> None:
    import boto3

    boto3.client("s3", endpoint_url=moto_url, region_name="us-east-1").create_bucket(Bucket="bundles")
    shop = {"ApplicationName": "shop"}
    templates = {"TaskDefinitionTemplateArtifact": "Blue", "AppSpecTemplateArtifact": "Blue"}
    paths = {"TaskDefinitionTemplatePath": "output.txt", "AppSpecTemplatePath": "output.txt"}
    declared = world.declare(
        [
            deploy("ECS", "Images", ClusterName="shop", ServiceName="web", FileName="output.txt"),
            deploy("CodeDeployToECS", "Blue", DeploymentGroupName="blue", **shop, **templates, **paths),
            deploy("ElasticBeanstalk", "Images", EnvironmentName="prod", **shop),
        ]
    ).to_wire()
    (source,) = declared["stages"][0]["actions"]
    declared["stages"][0]["actions"] = [
        giving(source, "Images", IMAGES),
        giving(source, "Blue", TASK_DEFINITION),
    ]
    declaration = type(world.declare()).model_validate(declared)
    (tmp_path / "p.settings.yaml").write_text(SETTINGS.replace("URL", services.url).replace("MOTO", moto_url))
    settings = read_settings_beside(tmp_path / "p.json", declaration)
    assert settings
    save_settings(world.name, settings)

    execution_id = world.start(declaration)
    world.wait(execution_id, lambda known: kept(known) == {"ecs-svc/2", "d-1", label(services)})
    os.kill(world.process_of(execution_id), signal.SIGKILL)
    world.wait(execution_id, lambda known: known.run["state_type"] == "CRASHED")
    services.is_done = True
    reconcile_once(server_time() + timedelta(seconds=30))

    known = world.ended(execution_id)
    assert known.status == "Succeeded"
    assert {name: len(services.asked(name)) for name in STARTS} == {
        **dict.fromkeys(STARTS, 1),
        "RegisterTaskDefinition": 2,
    }
    finished = [action.finished.external_execution_id for action in actions(known)]
    assert set(finished) == {"ecs-svc/2", "d-1", label(services)}


def giving(source: dict[str, Any], name: str, content: Any) -> dict[str, Any]:
    """A source action whose artifact has this file."""
    action = copy.deepcopy({**source, "name": name, "outputArtifacts": [{"name": name}]})
    action.pop("namespace", None)
    action["configuration"]["Output"] = json.dumps(content)
    return action


def actions(known: Any) -> list[Any]:
    stage = known.state.stage("S1") if known.state else None
    names = ("ECS", "CodeDeployToECS", "ElasticBeanstalk") if stage else ()
    return [action for action in (stage.action(name) for name in names) if action]


def kept(known: Any) -> set[str | None]:
    """The ids of the deployments that have been started."""
    states = [action.kept.state for action in actions(known) if action.kept]
    return {state.get("deployment") or state.get("update") for state in states}


def label(services: Services) -> str:
    updates = services.asked("UpdateEnvironment")
    return str(updates[0]["VersionLabel"]) if updates else "none yet"
