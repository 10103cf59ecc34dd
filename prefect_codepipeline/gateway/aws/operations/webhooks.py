"""Webhooks that start pipelines."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from prefect_codepipeline.blocks.pipeline_webhook import PipelineWebhook
from prefect_codepipeline.engine.operations.tagging import (
    all_tags,
    check_tags,
    put_tags,
    tags_of,
)
from prefect_codepipeline.engine.triggers import pipeline_webhooks
from prefect_codepipeline.engine.triggers.pipeline_webhooks import find_webhook, webhook_url
from prefect_codepipeline.engine.triggers.webhook_states import WebhookState, all_states, state_key, state_of
from prefect_codepipeline.errors import (
    PipelineNotFoundException,
    ValidationException,
    WebhookNotFoundException,
)
from prefect_codepipeline.gateway.aws.operations.wording import no_pipeline_included
from prefect_codepipeline.gateway.aws.protocol.call import Call, Members, Operations
from prefect_codepipeline.gateway.aws.protocol.pages import page_of
from prefect_codepipeline.model.names import is_path_part
from prefect_codepipeline.model.triggers.webhooks import WebhookDefinition
from prefect_codepipeline.model.wire.arns import resource_in
from prefect_codepipeline.model.wire.tag_lists import tag_list, tags_in

_logger = logging.getLogger("codepipeline.gateway")


def put_webhook(call: Call) -> Members:
    """Create a webhook, or change the one of that name, which keeps its URL."""
    wire = call.members["webhook"]
    tags = tags_in(call.members.get("tags", []))
    if not is_path_part(wire["name"]):
        raise ValidationException(
            f"A webhook cannot have the name '{wire['name']}': its name is part of its URL."
        )
    definition = WebhookDefinition.model_validate(wire)
    arn = call.account.webhook(definition.name)
    check_tags(arn, tags)
    try:
        webhook = pipeline_webhooks.put_webhook(definition)
    except PipelineNotFoundException:
        raise no_pipeline_included(call.account, definition.target_pipeline) from None
    put_tags(arn, tags)
    return {"webhook": _item(call, webhook, state_of(webhook.url_token), tags_of(arn))}


def list_webhooks(call: Call) -> Members:
    """All webhooks that the caller may see, by name."""
    known = pipeline_webhooks.list_webhooks()
    own = (each for each in known if call.caller.sees(each.definition["targetPipeline"]))
    page, token = page_of(own, call, lambda each: (each.definition["name"],))
    tags, states = (all_tags(), all_states()) if page else ({}, {})
    items = [
        _item(
            call,
            webhook,
            states.get(state_key(webhook.url_token), WebhookState()),
            tags.get(resource_in(call.account.webhook(webhook.definition["name"])), {}),
        )
        for webhook in page
    ]
    return {"webhooks": items, "NextToken": token}


def delete_webhook(call: Call) -> Members:
    """Delete a webhook; one that is not there is no error."""
    pipeline_webhooks.delete_webhook(call.members["name"])
    return {}


def register_webhook(call: Call) -> Members:
    """Say in the log what to enter at the git host: this gateway has no access to its settings."""
    name = _known(call)
    _logger.info(
        "webhook %s: enter at the git host the URL that `codepipeline webhook show %s` prints, content type "
        "application/json, and the secret of the webhook",
        name,
        name,
    )
    return {}


def deregister_webhook(call: Call) -> Members:
    """Say in the log what to remove at the git host."""
    name = _known(call)
    _logger.info(
        "webhook %s: remove at the git host the webhook with the URL that `codepipeline webhook show %s` prints",
        name,
        name,
    )
    return {}


def _known(call: Call) -> str:
    name = str(call.members.get("webhookName", ""))
    if find_webhook(name) is None:
        raise WebhookNotFoundException(
            f"The account with id '{call.account.id}' does not include a webhook with the name '{name}'"
        )
    return name


def _item(call: Call, webhook: PipelineWebhook, state: WebhookState, tags: Mapping[str, str]) -> Members:
    return {
        "definition": webhook.masked(),
        "url": webhook_url(webhook),
        "arn": call.account.webhook(webhook.definition["name"]),
        "lastTriggered": state.triggered_at,
        "errorCode": state.error_code,
        "errorMessage": state.error,
        "tags": tag_list(tags),
    }


OPERATIONS: Operations = {
    "DeleteWebhook": delete_webhook,
    "DeregisterWebhookWithThirdParty": deregister_webhook,
    "ListWebhooks": list_webhooks,
    "PutWebhook": put_webhook,
    "RegisterWebhookWithThirdParty": register_webhook,
}
