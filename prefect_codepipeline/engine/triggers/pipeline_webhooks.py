"""PutWebhook, ListWebhooks and DeleteWebhook.

https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_PutWebhook.html
"""

from __future__ import annotations

import secrets

from pydantic import SecretStr

from prefect_codepipeline.blocks.pipeline_webhook import PipelineWebhook
from prefect_codepipeline.engine.approvals.links import load_gateway
from prefect_codepipeline.engine.executions.definitions import newest_version
from prefect_codepipeline.engine.operations.tagging import drop_tags
from prefect_codepipeline.engine.triggers.webhook_filters import check_filters
from prefect_codepipeline.engine.triggers.webhook_states import drop_state
from prefect_codepipeline.errors import (
    InvalidWebhookAuthenticationParametersException,
    LimitExceededException,
    ValidationException,
)
from prefect_codepipeline.model.definition.declaration import ActionDeclaration, PipelineDeclaration
from prefect_codepipeline.model.names import slug
from prefect_codepipeline.model.stored.definition import MASK
from prefect_codepipeline.model.triggers.webhooks import WebhookDefinition, check_authentication
from prefect_codepipeline.model.wire.arns import Account
from prefect_codepipeline.prefect_api.block_documents import (
    block_of,
    count_blocks,
    create_block,
    delete_block,
    find_block,
    list_documents,
    save_block,
)

MOST_WEBHOOKS = 300


def put_webhook(definition: WebhookDefinition) -> PipelineWebhook:
    """Create a webhook, or change the one of that name, which keeps its URL, and its secret if that is given as `****`.

    Raises:
        PipelineNotFoundException: there is no such pipeline.
        ValidationException: the target action is not a source action of the pipeline.
        InvalidWebhookAuthenticationParametersException: the settings do not match the type of authentication.
        InvalidWebhookFilterPatternException: a filter cannot be evaluated.
        LimitExceededException: there are 300 webhooks.
    """
    known = find_webhook(definition.name)
    definition = _with_kept_secret(definition, known)
    check_authentication(definition)
    _, pipeline = newest_version(definition.target_pipeline)
    action = target_action(pipeline.masked(), definition)
    check_filters(definition.filters, action.configuration)
    if known:
        block = PipelineWebhook.of(definition, known.url_token)
        save_block(block, slug(definition.name))
        return block
    if count_blocks(PipelineWebhook) >= MOST_WEBHOOKS:
        raise LimitExceededException(
            f"webhook {definition.name!r} was not created: there are {MOST_WEBHOOKS} webhooks, which is the limit; "
            "delete one that is not used"
        )
    block = PipelineWebhook.of(definition, SecretStr(secrets.token_urlsafe(24)))
    if create_block(block, slug(definition.name)) is None:
        return put_webhook(definition)  # another process has created it just now; its URL stays
    return block


def _with_kept_secret(definition: WebhookDefinition, known: PipelineWebhook | None) -> WebhookDefinition:
    settings = definition.authentication_configuration
    if settings.secret_token != MASK:
        return definition
    if known is None or known.secret_token is None:
        raise InvalidWebhookAuthenticationParametersException(
            f'webhook {definition.name!r}: "{MASK}" stands for a secret that is stored, and none is; give the secret'
        )
    kept = settings.model_copy(update={"secret_token": known.secret_token.get_secret_value()})
    return definition.model_copy(update={"authentication_configuration": kept})


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
    """Delete a webhook, its URL and its tags for good; False if there was none, which is not an error."""
    known = find_webhook(name)
    if known is None:
        return False
    drop_tags(Account().webhook(name))
    drop_state(known.url_token)
    return delete_block(PipelineWebhook, slug(name))


def webhook_url(webhook: PipelineWebhook) -> str:
    """The URL of a webhook; with a placeholder if the gateway's own URL is not known."""
    gateway = load_gateway()
    base = gateway.url if gateway and gateway.url else "https://ADDRESS-OF-THE-GATEWAY"
    return f"{base}/webhooks/{webhook.definition['name']}/{webhook.url_token.get_secret_value()}"
