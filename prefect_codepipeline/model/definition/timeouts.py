"""The maximum duration of each action type.

https://docs.aws.amazon.com/codepipeline/latest/userguide/limits.html
"""

from __future__ import annotations

from prefect_codepipeline.model.definition.declaration import ActionTypeId

_HOUR, _DAY = 60, 24 * 60
_OF_PROVIDERS = {
    ("Approval", "Manual"): 7 * _DAY,
    ("Build", "CodeBuild"): 36 * _HOUR,
    ("Compute", "Commands"): 55,
    ("Deploy", "CloudFormation"): 3 * _DAY,
    ("Deploy", "CodeDeploy"): 5 * _DAY,
    ("Deploy", "CodeDeployToECS"): 5 * _DAY,
    # Its strategies may wait for two days; AWS does not document its limit.
    ("Deploy", "Lambda"): 2 * _DAY + _HOUR,
    ("Deploy", "S3"): 90,
    ("Invoke", "Lambda"): _DAY,
    ("Invoke", "StepFunctions"): 7 * _DAY,
}


def timeout_in_minutes(action_type: ActionTypeId) -> int:
    """The timeout of an action of that type; only an approval can set its own timeout."""
    if action_type.owner == "Custom":
        return _DAY
    if action_type.category == "Test":
        return 8 * _HOUR
    return _OF_PROVIDERS.get((action_type.category, action_type.provider), _HOUR)
