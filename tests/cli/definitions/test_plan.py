"""What `codepipeline plan` says about the place of an action."""

from __future__ import annotations

from typing import Any

import pytest

from prefect_codepipeline.cli.definitions.plan import _place
from prefect_codepipeline.model.definition.action_settings import ActionSettings
from prefect_codepipeline.model.definition.declaration import ActionDeclaration


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
