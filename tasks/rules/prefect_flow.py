"""Rule/Custom/PrefectFlow/1: a flow run of a Prefect deployment must succeed.

AWS has no such rule. https://docs.prefect.io/v3/how-to-guides/deployments/run-deployments
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.states import Cancelled, Cancelling
from pydantic import field_validator

from prefect_codepipeline.actions.allowed_pools import allowed_pools, not_allowed
from prefect_codepipeline.actions.rule_registry import (
    RuleConfiguration,
    RuleContext,
    RuleResult,
    WaitUntil,
    rule_provider,
)
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.prefect_api.client import call, client, find_named, flow_run, path_segment
from prefect_codepipeline.prefect_api.ui import run_url

WATCHED_SECONDS = 5.0  # within one evaluation, so that a short run ends in the first one
_CHECK_SECONDS = 0.25
_SHORTEST_WAIT, _LONGEST_WAIT = timedelta(seconds=10), timedelta(seconds=60)
_FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


class PrefectFlowConfiguration(RuleConfiguration):
    """`Deployment`: `flow/deployment`. `Parameters`: a JSON object with the parameters of the run."""

    deployment: str
    parameters: str = "{}"

    @field_validator("deployment")
    @classmethod
    def _two_names(cls, deployment: str) -> str:
        flow, slash, name = deployment.partition("/")
        if not (flow and slash and name):
            raise ValueError("it must be 'flow/deployment', as `prefect deployment ls` displays it")
        return deployment

    @field_validator("parameters")
    @classmethod
    def _an_object(cls, parameters: str) -> str:
        try:
            value = json.loads(parameters)
        except ValueError as error:
            raise ValueError(f"it is not JSON: {error}") from None
        if not isinstance(value, dict):
            raise ValueError('it must be a JSON object, such as {"environment": "staging"}')
        return parameters


def cancel_run(memory: Mapping[str, str]) -> None:
    """Cancel the run of a rule whose result is no longer needed, unless the run has ended."""
    run = flow_run(memory["flow_run_id"])
    if run is None or run["state_type"] in _FINAL:
        return
    # No worker has taken a scheduled run yet, so none would turn Cancelling into Cancelled.
    state = Cancelled if run["state_type"] == "SCHEDULED" else Cancelling
    client().set_flow_run_state(UUID(run["id"]), state(message="the rule that started it was abandoned"))


@rule_provider(provider="PrefectFlow", owner="Custom", abandon=cancel_run)
def run_deployment(configuration: PrefectFlowConfiguration, context: RuleContext) -> RuleResult | WaitUntil:
    """Met when the run is Completed. Each rule execution starts one run, which is cancelled if the rule is abandoned."""
    run_id = context.memory.get("flow_run_id") or _start(configuration, context)
    url = run_url(run_id)
    until = time.monotonic() + min(WATCHED_SECONDS, context.remaining_seconds)
    while True:
        run = flow_run(run_id)
        if run is None:
            raise ActionFailed(
                f"flow run {run_id} of deployment {configuration.deployment!r} was deleted while it was watched",
                code="ConfigurationError",
                external_execution_id=run_id,
            )
        state = run["state"] or {}
        if run["state_type"] in _FINAL or time.monotonic() >= until:
            break
        if context.cancellation.wait(_CHECK_SECONDS):
            cancel_run({"flow_run_id": run_id})
            context.check()
    what = f"flow run {run['name']!r} of deployment {configuration.deployment!r} is {run['state_name']}"
    if run["state_type"] not in _FINAL:
        return WaitUntil(context.now + _wait(context), what, {"flow_run_id": run_id}, run_id, url)
    summary = f"{what}: {state['message']}" if state.get("message") else what
    return RuleResult("Succeeded" if run["state_type"] == "COMPLETED" else "Failed", summary, run_id, url)


def _start(configuration: PrefectFlowConfiguration, context: RuleContext) -> str:
    flow, _, deployment = configuration.deployment.partition("/")
    segment = path_segment(flow)
    found = find_named(f"/deployments/name/{segment}", deployment) if segment else None
    if found is None:
        raise ActionFailed(
            f"there is no deployment {configuration.deployment!r}; see: prefect deployment ls",
            code="ConfigurationError",
        )
    pool = found["work_pool_name"]
    if pool and (why := not_allowed(pool, allowed_pools(context.pipeline_name))):
        raise ActionFailed(f"deployment {configuration.deployment!r}: {why}", code="ConfigurationError")
    wanted: dict[str, Any] = {
        "parameters": json.loads(configuration.parameters),
        # After a crash the request is repeated, and Prefect returns the existing run.
        "idempotency_key": f"codepipeline-rule-{context.rule_execution_id}",
        "tags": [f"pipeline:{context.pipeline_name}"],
    }
    status, run = call("POST", f"/deployments/{found['id']}/create_flow_run", wanted, expected=(409, 422))
    if status >= 400:
        raise ActionFailed(
            f"deployment {configuration.deployment!r} refused the parameters {configuration.parameters}: {_detail(run)}",
            code="ConfigurationError",
        )
    context.logger.info("Flow run %r of deployment %r was started", run["name"], configuration.deployment)
    return str(run["id"])


def _wait(context: RuleContext) -> timedelta:
    """The longer the run takes, the less often it is checked."""
    return min(max((context.now - context.started_at) / 10, _SHORTEST_WAIT), _LONGEST_WAIT)


def _detail(answer: Any) -> str:  # Any: any JSON from the API
    return str(answer.get("detail", answer) if isinstance(answer, dict) else answer)[:500]
