"""Make webhooks of the `AWS::CodePipeline::Webhook` resources beside a definition, once its pipeline is there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from prefect_codepipeline.deployments.files.resource_kinds import WEBHOOK
from prefect_codepipeline.engine.triggers.pipeline_webhooks import find_webhook, put_webhook
from prefect_codepipeline.errors import CodePipelineError
from prefect_codepipeline.model.triggers.webhooks import WebhookDefinition


def make_webhooks(resources: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Make each webhook that is not there yet; a sentence for each. One that is there is never changed."""
    return [
        f"{logical_id} ({WEBHOOK}): {_make(logical_id, resource.get('Properties') or {})}"
        for logical_id, resource in resources.items()
        if resource.get("Type") == WEBHOOK
    ]


def _make(logical_id: str, properties: Mapping[str, Any]) -> str:
    wire = _as_put(logical_id, properties)
    if "${" in str(wire) or "{{resolve:" in str(wire):
        return (
            "kept as data: the template does not say all of it; make it with: codepipeline webhook put FILE"
        )
    try:
        definition = WebhookDefinition.model_validate(wire)
        if find_webhook(definition.name):
            return f"webhook {definition.name!r} is there"
        put_webhook(definition)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors(include_input=False)
        )
        return f"kept as data: {wrong}"
    except CodePipelineError as error:
        return f"kept as data: {error}"
    return f"made webhook {definition.name!r}; its address: codepipeline webhook list"


def _as_put(logical_id: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    """The resource's properties as PutWebhook spells them."""
    settings = properties.get("AuthenticationConfiguration") or {}
    kept = {name: settings[name] for name in ("SecretToken", "AllowedIPRange") if settings.get(name)}
    filters = [
        {
            key: each[name]
            for name, key in (("JsonPath", "jsonPath"), ("MatchEquals", "matchEquals"))
            if name in each
        }
        for each in properties.get("Filters") or []
    ]
    return {
        "name": properties.get("Name", logical_id),
        "targetPipeline": properties.get("TargetPipeline", ""),
        "targetAction": properties.get("TargetAction", ""),
        "filters": filters,
        "authentication": properties.get("Authentication", ""),
        "authenticationConfiguration": kept,
    }
