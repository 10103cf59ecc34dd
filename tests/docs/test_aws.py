"""docs/aws.md: its settings are settings, and its policies allow the calls that are made, and no others."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import yaml
from botocore import xform_name
from botocore.session import get_session

from prefect_codepipeline.model.definition.aws_settings import AwsSettings
from prefect_codepipeline.model.stored.settings import StoredSettings

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "aws.md").read_text()


def code(language: str) -> str:
    (block,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(block)


def allowed(service: str) -> set[str]:
    """The operations of a service that the page's policy allows."""
    found: set[str] = set()
    for statement in json.loads(code("json"))["Statement"]:
        actions = statement["Action"]
        found |= {actions} if isinstance(actions, str) else set(actions)
    return {name.partition(":")[2] for name in found if name.startswith(f"{service}:")}


@cache
def operations(service: str) -> dict[str, str]:
    """The operations of a service, by the names that a client calls them by."""
    return {xform_name(name): name for name in get_session().get_service_model(service).operation_names}


def called(room: str, service: str) -> set[str]:
    """The operations of a service that the modules of a room call on its client."""
    names = operations(service)
    text = "\n".join(path.read_text() for path in (ROOT / "prefect_codepipeline" / room).glob("*.py"))
    used = [*re.findall(r"client\.(\w+)", text), *re.findall(r'get_paginator\("(\w+)"', text)]
    return {names[name] for name in used if name in names}


def test_the_settings_of_the_page_are_settings() -> None:
    settings = StoredSettings.model_validate(yaml.safe_load(code("yaml")))

    prod = settings.for_action("Prod", "Lambda").aws
    assert (prod.profile, prod.credentials, prod.region) == ("shop-prod", None, "eu-west-1")
    assert prod.assume_action_role
    assert prod.endpoint_urls == {"s3": "http://minio.internal:9000"}


def test_the_table_has_every_field() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)

    assert listed == list(AwsSettings.model_fields)


def test_the_policy_allows_what_is_called_and_no_more() -> None:
    calls = called("actions/cloudformation", "cloudformation")

    assert len(calls) > 8
    assert allowed("cloudformation") - {"SetStackPolicy"} == calls  # the policy is an argument of CreateStack
    assert allowed("s3") == {"PutObject", "AbortMultipartUpload", "GetObject"}


# By what a client is called in the modules of each type; S3 names its permissions otherwise than its operations.
_MODULES = {
    "Source/AWS/ECR/1": ["prefect_codepipeline/actions/aws/ecr_images.py"],
    "Deploy/AWS/Lambda/1": [
        "tasks/providers/deploy/lambda_deploy.py",
        "prefect_codepipeline/actions/aws/lambda_alias.py",
        "prefect_codepipeline/actions/aws/alarms.py",
    ],
    "Deploy/AWS/CloudFormationStackSet/1": [
        "tasks/providers/deploy/stack_set_deploy.py",
        "prefect_codepipeline/actions/cloudformation/stack_sets.py",
    ],
    "Deploy/AWS/CloudFormationStackInstances/1": [
        "tasks/providers/deploy/stack_instances_deploy.py",
        "prefect_codepipeline/actions/cloudformation/stack_sets.py",
    ],
    "Deploy/AWS/AppConfig/1": ["tasks/providers/deploy/app_config_deploy.py"],
    "Deploy/AWS/ServiceCatalog/1": ["tasks/providers/deploy/service_catalog_deploy.py"],
    "Deploy/AWS/ECS/1": [
        "tasks/providers/deploy/ecs_deploy.py",
        "prefect_codepipeline/actions/ecs/services.py",
        "prefect_codepipeline/actions/ecs/task_definitions.py",
    ],
    "Deploy/AWS/CodeDeploy/1": [
        "tasks/providers/deploy/codedeploy_deploy.py",
        "prefect_codepipeline/actions/codedeploy_service/deployments.py",
    ],
    "Deploy/AWS/CodeDeployToECS/1": [
        "tasks/providers/deploy/codedeploy_to_ecs.py",
        "prefect_codepipeline/actions/codedeploy_service/deployments.py",
        "prefect_codepipeline/actions/ecs/task_definitions.py",
    ],
    "Deploy/AWS/ElasticBeanstalk/1": ["tasks/providers/deploy/elastic_beanstalk_deploy.py"],
    "Build/AWS/ECRBuildAndPublish/1": ["prefect_codepipeline/actions/images/repository.py"],
    "Deploy/AWS/EC2/1": [
        "prefect_codepipeline/actions/instances/fleet.py",
        "prefect_codepipeline/actions/aws/target_groups.py",
    ],
    "Deploy/AWS/EKS/1": ["prefect_codepipeline/actions/kubernetes/cluster.py"],
    "Invoke/AWS/StepFunctions/1": ["tasks/providers/invoke/step_functions_invoke.py"],
    "Test/AWS/DeviceFarm/1": [
        "tasks/providers/build/device_farm_test.py",
        "prefect_codepipeline/actions/device_farm/results.py",
        "prefect_codepipeline/actions/device_farm/runs.py",
        "prefect_codepipeline/actions/device_farm/uploads.py",
    ],
    "Invoke/AWS/InspectorScan/1": ["tasks/providers/invoke/inspector_scan_invoke.py"],
}
_CLIENTS = {
    "ecr": ("ecr", "ecr"),
    "ec2": ("ec2", "ec2"),
    "eks": ("eks", "eks"),
    "elb": ("elbv2", "elasticloadbalancing"),
    "functions": ("lambda", "lambda"),
    "alarms": ("cloudwatch", "cloudwatch"),
    "client": ("stepfunctions", "states"),
    "cloudformation": ("cloudformation", "cloudformation"),
    "appconfig": ("appconfig", "appconfig"),
    "catalog": ("servicecatalog", "servicecatalog"),
    "ecs": ("ecs", "ecs"),
    "codedeploy": ("codedeploy", "codedeploy"),
    "beanstalk": ("elasticbeanstalk", "elasticbeanstalk"),
    "ssm": ("ssm", "ssm"),
    "device_farm": ("devicefarm", "devicefarm"),
    "inspector": ("inspector-scan", "inspector-scan"),
}


def test_the_table_of_other_types_has_what_they_call_and_no_more() -> None:
    for kind, modules in _MODULES.items():
        (row,) = re.findall(rf"^\| `{kind}` \| (.*) \|$", PAGE, re.MULTILINE)
        text = "".join((ROOT / module).read_text() for module in modules)
        called = set()
        for name, (service, prefix) in _CLIENTS.items():
            names = operations(service)
            calls = rf'(?:\b{name}\.(?:get_paginator\(")?|\blisted\(")(\w+)'
            used = [each for each in re.findall(calls, text) if each in names]
            called |= {f"{prefix}:{names[each]}" for each in used}
        assert set(re.findall(r"`([a-z0-9-]+:\w+)`", row)) == called, kind
