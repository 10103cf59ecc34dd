"""docs/aws.md: its settings are settings, and its policies allow the calls that are made, and no others."""

from __future__ import annotations

import json
import re
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


def called(room: str, service: str) -> set[str]:
    """The operations of a service that the modules of a room call on its client."""
    names = {xform_name(name): name for name in get_session().get_service_model(service).operation_names}
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
    "Source/AWS/ECR/1": [
        "tasks/providers/ecr_source.py",
        "prefect_codepipeline/actions/aws/ecr_images.py",
    ],
    "Deploy/AWS/Lambda/1": [
        "tasks/providers/lambda_deploy.py",
        "prefect_codepipeline/actions/aws/lambda_alias.py",
    ],
    "Invoke/AWS/StepFunctions/1": ["tasks/providers/step_functions_invoke.py"],
}
_CLIENTS = {
    "ecr": ("ecr", "ecr"),
    "functions": ("lambda", "lambda"),
    "alarms": ("cloudwatch", "cloudwatch"),
    "client": ("stepfunctions", "states"),
}


def test_the_table_of_other_types_has_what_they_call_and_no_more() -> None:
    for kind, modules in _MODULES.items():
        (row,) = re.findall(rf"^\| `{kind}` \| (.*) \|$", PAGE, re.MULTILINE)
        text = "".join((ROOT / module).read_text() for module in modules)
        called = set()
        for name, (service, prefix) in _CLIENTS.items():
            names = {
                xform_name(each): each for each in get_session().get_service_model(service).operation_names
            }
            used = [each for each in re.findall(rf"\b{name}\.(\w+)\(", text) if each in names]
            called |= {f"{prefix}:{names[each]}" for each in used}
        assert set(re.findall(r"`([a-z]+:\w+)`", row)) == called, kind
