"""PutWebhook, ListWebhooks and DeleteWebhook.

https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_PutWebhook.html
"""

from __future__ import annotations

import secrets

from pydantic import SecretStr

from prefect_codepipeline.blocks.pipeline_webhook import PipelineWebhook
from prefect_codepipeline.engine.executions.definitions import newest_version
from prefect_codepipeline.engine.triggers.webhook_filters import check_filters
from prefect_codepipeline.errors import ValidationException
from prefect_codepipeline.model.definition.declaration import ActionDeclaration, PipelineDeclaration
from prefect_codepipeline.model.names import slug
from prefect_codepipeline.model.triggers.webhooks import WebhookDefinition, check_authentication
from prefect_codepipeline.prefect_api.block_documents import (
    block_of,
    delete_block,
    find_block,
    list_documents,
    save_block,
)


def put_webhook(definition: WebhookDefinition) -> PipelineWebhook:
    """Create a webhook, or change the one of that name, which keeps its URL.

    Raises:
        PipelineNotFoundException: there is no such pipeline.
        ValidationException: the target action is not a source action of the pipeline.
        InvalidWebhookAuthenticationParametersException: the settings do not match the type of authentication.
        InvalidWebhookFilterPatternException: a filter cannot be evaluated.
    """
    check_authentication(definition)
    _, pipeline = newest_version(definition.target_pipeline)
    action = target_action(pipeline.masked(), definition)
    check_filters(definition.filters, action.configuration)
    known = find_webhook(definition.name)
    token = known.url_token if known else SecretStr(secrets.token_urlsafe(24))
    block = PipelineWebhook.of(definition, token)
    save_block(block, slug(definition.name))
    return block


def target_action(pipeline: PipelineDeclaration, definition: WebhookDefinition) -> ActionDeclaration:
    """The source action that a webhook is for. Raises `ValidationException`."""
    actions = [action for stage in pipeline.stages for action in stage.actions]
    for action in actions:
        if action.name == definition.target_action and action.action_type_id.category == "Source":
            return action
    names = ", ".join(each.name for each in actions if each.action_type_id.category == "Source")
    raise ValidationException(
        f"webhook {definition.name!r}: pipeline {pipeline.name!r} has no source action {definition.target_action!r} "
        f"(it has: {names})"
    )


def find_webhook(name: str) -> PipelineWebhook | None:
    """The webhook of that name. Raises `PrefectUnavailable`."""
    return find_block(PipelineWebhook, slug(name))


def list_webhooks() -> list[PipelineWebhook]:
    """All webhooks, by name."""
    documents = list_documents(PipelineWebhook, with_secrets=True)
    found = [block_of(PipelineWebhook, document) for document in documents]
    return sorted(found, key=lambda webhook: str(webhook.definition["name"]))


def delete_webhook(name: str) -> bool:
    """Delete a webhook and its URL for good; False if there was none, which is not an error."""
    return delete_block(PipelineWebhook, slug(name))
