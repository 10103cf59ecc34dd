"""A deployment that a person starts: this process looks at it until it has ended."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

from prefect_codepipeline.actions.deploying.rollout.deployment import redeploy
from prefect_codepipeline.actions.deploying.rollout.target import Target
from prefect_codepipeline.actions.registry import ActionResult, Earlier, WorkGoesOn
from prefect_codepipeline.model.stored.deployment import StoredDeployment
from prefect_codepipeline.prefect_api.leases import holding_lease


def redeploy_to_its_end(target: Target, good: StoredDeployment) -> ActionResult:
    """Deploy the revision of an earlier deployment, and wait for the end.

    While this process lives, no other deployment of the group begins; if it is killed, the next one takes over.

    Raises:
        ActionFailed: the deployment failed.
        ActionAbandoned: it was stopped by the token of the context.
    """
    began = datetime.now(timezone.utc)
    with holding_lease(target.context.action_execution_id, 1):
        while True:
            try:
                return redeploy(target, good)
            except WorkGoesOn as work:
                until = work.waiting.until or began
            target.context.cancellation.wait((until - datetime.now(timezone.utc)).total_seconds())
            earlier = Earlier(began, external_id=target.deployment_id)
            target = replace(target, context=replace(target.context, earlier=earlier))
