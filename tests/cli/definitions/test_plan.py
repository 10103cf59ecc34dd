"""What `plan` and `deploy` say about actions that use AWS."""

from __future__ import annotations

from typing import Any

import pytest

from prefect_codepipeline.cli.definitions.plan import _place
from prefect_codepipeline.deployments.checking.accounts import unused_roles
from prefect_codepipeline.model.definition.action_settings import ActionSettings
from prefect_codepipeline.model.definition.declaration import ActionDeclaration, PipelineDeclaration
from prefect_codepipeline.model.stored.settings import StoredSettings


@pytest.mark.parametrize(
    ("kind", "region", "settings", "place"),
    [
        ("Deploy/AWS/CloudFormation", "us-east-1", {}, "in AWS, in region us-east-1"),
        ("Deploy/AWS/CloudFormation", None, {"aws": {"region": "eu-west-1"}}, "in AWS, in region eu-west-1"),
        ("Deploy/AWS/CloudFormation", None, {}, "in AWS, in the worker's region"),
        ("Compute/AWS/Commands", None, {"run_on": "host"}, "on the worker's host"),
        ("Compute/AWS/Commands", "us-east-1", {"image": "x"}, "in a container of x, not in us-east-1"),
    ],
)
def test_the_region_of_an_action_counts_only_in_aws(
    kind: str, region: str | None, settings: dict[str, Any], place: str
) -> None:
    category, owner, provider = kind.split("/")
    action = ActionDeclaration.model_validate(
        {
            "name": "A",
            "region": region,
            "actionTypeId": {"category": category, "owner": owner, "provider": provider, "version": "1"},
        }
    )

    assert _place(action, ActionSettings.model_validate(settings)) == place


def test_a_role_that_the_settings_leave_unused_is_said() -> None:
    role = "arn:aws:iam::111122223333:role/deploy"

    def action(name: str, provider: str, category: str = "Deploy") -> dict[str, Any]:
        kind = {"category": category, "owner": "AWS", "provider": provider, "version": "1"}
        return {"name": name, "actionTypeId": kind, "roleArn": role}

    declaration = PipelineDeclaration.model_validate(
        {
            "name": "shop",
            "roleArn": role,
            "artifactStore": {"type": "S3", "location": "bucket"},
            "stages": [
                {"name": "Source", "actions": [action("Code", "CodeCommit", "Source")]},
                {"name": "Test", "actions": [action("Stack", "CloudFormation")]},
                {"name": "Prod", "actions": [action("Stack", "CloudFormation")]},
            ],
        }
    )
    settings = StoredSettings.model_validate({"overrides": {"Prod": {"aws": {"assume_action_role": True}}}})

    (sentence,) = unused_roles(declaration, settings)
    assert sentence.startswith(
        "roleArn of action Test/Stack is not used; to assume it, set 'assume_action_role'"
    )
