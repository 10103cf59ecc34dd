"""Disable the transitions that a CloudFormation template declares as disabled.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-properties-codepipeline-pipeline-stagetransition.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from prefect_codepipeline.deployments.create import Deployed
from prefect_codepipeline.engine.operations.transitions import disable_stage_transition

_INVALID_IN_REASONS = re.compile(r"[^a-zA-Z0-9!@ ().*?\-]")


def disable_declared(deployed: Deployed, properties: Mapping[str, Any], by: str) -> list[str]:
    """Disable the transitions of `DisableInboundStageTransitions` if the pipeline is new. Returns the stages.

    For an existing pipeline, users decide, as at AWS, where a stack update with an unchanged property changes nothing.
    """
    if not deployed.created:
        return []
    done = []
    for wanted in properties.get("DisableInboundStageTransitions") or []:
        reason = (
            _INVALID_IN_REASONS.sub(" ", str(wanted.get("Reason", "")))[:300] or "disabled by the template"
        )
        disable_stage_transition(deployed.name, wanted["StageName"], "Inbound", reason, by)
        done.append(wanted["StageName"])
    return done
