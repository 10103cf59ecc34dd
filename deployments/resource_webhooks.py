"""Create webhooks for the `AWS::CodePipeline::Webhook` resources beside a definition, once the pipeline exists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from prefect_codepipeline.deployments.files.resource_kinds import WEBHOOK
from prefect_codepipeline.engine.triggers.pipeline_webhooks import find_webhook, put_webhook
from prefect_codepipeline.errors import CodePipelineError
from prefect_codepipeline.model.triggers.webhooks import WebhookDefinition
from prefect_codepipeline.prefect_api.block_documents import field_problems


def make_webhooks(resources: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Create each webhook that does not exist, and return a sentence for each. Existing ones are never changed."""
    return [
        f"{logical_id} ({WEBHOOK}): {_create(logical_id, resource.get('Properties') or {})}"
        for logical_id, resource in resources.items()
        if resource.get("Type") == WEBHOOK
    ]


def _create(logical_id: str, properties: Mapping[str, Any]) -> str:
    wire = _as_put(logical_id, properties)
    if "${" in str(wire) or "{{resolve:" in str(wire):
        return "kept as data: some of its values are not known; create it with: codepipeline webhook add FILE"
    try:
        definition = WebhookDefinition.model_validate(wire)
        if find_webhook(definition.name):
            return f"webhook {definition.name!r} exists"
        put_webhook(definition)
    except ValidationError as error:
        return f"kept as data: {field_problems(error)}"
    except CodePipelineError as error:
        return f"kept as data: {error}"
    return f"created webhook {definition.name!r}; print its URL with: codepipeline webhook list"


def _as_put(logical_id: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    """The resource's properties in PutWebhook's format."""
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
