"""Transitions that a CloudFormation template wants disabled from the beginning.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-properties-codepipeline-pipeline-stagetransition.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from prefect_codepipeline.deployments.create import Deployed
from prefect_codepipeline.engine.operations.transitions import disable_stage_transition

_REFUSED = re.compile(r"[^a-zA-Z0-9!@ ().*?\-]")


def disable_declared(deployed: Deployed, properties: Mapping[str, Any], by: str) -> list[str]:
    """Disable what `DisableInboundStageTransitions` names, when the pipeline was just created; the stages.

    Later it is for people to say, as on AWS, where an update of the stack that does not touch the property changes nothing.
    """
    if not deployed.created:
        return []
    done = []
    for wanted in properties.get("DisableInboundStageTransitions") or []:
        reason = _REFUSED.sub(" ", str(wanted.get("Reason", "")))[:300] or "disabled by the template"
        disable_stage_transition(deployed.name, wanted["StageName"], "Inbound", reason, by)
        done.append(wanted["StageName"])
    return done
