"""The time that actions have, by their types."""

from __future__ import annotations

import re

import pytest

from prefect_codepipeline.actions.registry import providers
from prefect_codepipeline.model.definition.action_types import ActionType, action_types
from prefect_codepipeline.model.definition.declaration import ActionTypeId
from prefect_codepipeline.model.definition.timeouts import timeout_in_minutes

UNITS = {"m": 1, "h": 60, " days": 24 * 60}


def kind(text: str) -> ActionTypeId:
    category, owner, provider, version = text.split("/")
    return ActionTypeId.model_validate(
        {"category": category, "owner": owner, "provider": provider, "version": version}
    )


@pytest.mark.parametrize(
    ("action_type", "minutes"),
    [
        ("Deploy/AWS/CloudFormation/1", 3 * 24 * 60),
        ("Deploy/AWS/CodeDeploy/1", 5 * 24 * 60),
        ("Deploy/AWS/CodeDeployToECS/1", 5 * 24 * 60),
        ("Invoke/AWS/Lambda/1", 24 * 60),
        ("Deploy/AWS/S3/1", 90),
        ("Approval/AWS/Manual/1", 7 * 24 * 60),
        ("Build/AWS/CodeBuild/1", 36 * 60),
        ("Test/AWS/CodeBuild/1", 8 * 60),
        ("Test/AWS/DeviceFarm/1", 8 * 60),
        ("Build/Custom/Mine/7", 24 * 60),
        ("Test/Custom/Mine/1", 24 * 60),
        ("Invoke/AWS/StepFunctions/1", 7 * 24 * 60),
        ("Compute/AWS/Commands/1", 55),
        ("Deploy/AWS/ECS/1", 60),
        ("Source/AWS/CodeStarSourceConnection/1", 60),
        ("Deploy/ThirdParty/XebiaLabs/1", 60),
    ],
)
def test_an_action_has_the_time_of_its_type(action_type: str, minutes: int) -> None:
    assert timeout_in_minutes(kind(action_type)) == minutes


@pytest.mark.parametrize("known", action_types().values(), ids=str)
def test_the_table_of_action_types_says_the_same(known: ActionType) -> None:
    said = re.match(r"(\d+)(m|h| days)\b", known.timeout)
    if said is None:
        assert "unverified" in known.timeout
    elif known.owner == "Custom" or "Custom" not in known.timeout:
        assert timeout_in_minutes(kind(str(known))) == int(said[1]) * UNITS[said[2]]


@pytest.mark.parametrize("action_type", [kind for kind in providers() if kind.owner != "Custom"], ids=str)
def test_every_provider_of_aws_has_that_time(action_type: ActionTypeId) -> None:
    assert providers()[action_type].timeout_in_minutes == timeout_in_minutes(action_type)
