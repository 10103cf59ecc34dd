"""`codepipeline webhook`: V1 webhooks, as in PutWebhook, ListWebhooks and DeleteWebhook."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from prefect_codepipeline.cli.output import answer, print_json, print_line
from prefect_codepipeline.cli.parameters import AsJson
from prefect_codepipeline.cli.session import connect
from prefect_codepipeline.errors import CodePipelineError, MissingBlock
from prefect_codepipeline.model.problem import nearest

if TYPE_CHECKING:
    from prefect_codepipeline.blocks.pipeline_webhook import PipelineWebhook

WebhookName = Annotated[str, Parameter(help="Name of the webhook.")]


def add_webhook(file: Path, *, json: AsJson = False) -> int:
    """Add or replace a webhook that starts a pipeline, and print its URL. A change keeps the URL.

    Parameters
    ----------
    file:
        Input of `aws codepipeline put-webhook --cli-input-json`, in JSON or YAML.
    """
    connect()
    from pydantic import ValidationError

    from prefect_codepipeline.deployments.files.definition import read_file
    from prefect_codepipeline.engine.triggers.pipeline_webhooks import put_webhook, webhook_url
    from prefect_codepipeline.model.triggers.webhooks import WebhookDefinition
    from prefect_codepipeline.prefect_api.block_documents import field_problems

    content: Any = read_file(file).content
    try:
        definition = WebhookDefinition.model_validate(
            content.get("webhook", content) if isinstance(content, dict) else content
        )
    except ValidationError as error:
        # Without the input: it contains the secret.
        raise CodePipelineError(f"{file}: {field_problems(error)}") from None
    webhook = put_webhook(definition)
    answer(json, _as_json(webhook), webhook_url(webhook))
    return 0


def list_webhooks(*, json: AsJson = False) -> int:
    """List the webhooks and their URLs; the JSON has the form of AWS's ListWebhooks response."""
    connect()
    from prefect_codepipeline.engine.triggers.pipeline_webhooks import list_webhooks, webhook_url

    found = list_webhooks()
    if json:
        print_json({"webhooks": [_as_json(each) for each in found]})
        return 0
    for webhook in found:
        definition = webhook.definition
        target = f"{definition['targetPipeline']}/{definition['targetAction']}"
        print_line(
            (definition["name"], "bold"),
            f"  starts {target}, {definition['authentication']}  {webhook_url(webhook)}",
        )
    if not found:
        print_line("there are no webhooks; create one with: codepipeline webhook add FILE")
    return 0


def show_webhook(name: WebhookName, *, json: AsJson = False) -> int:
    """Show a webhook: what it starts, its filters and its URL, without its secret."""
    connect()
    from prefect_codepipeline.engine.triggers.pipeline_webhooks import find_webhook, webhook_url

    webhook = find_webhook(name)
    if webhook is None:
        raise _missing(name)
    definition = webhook.masked()
    target = f"{definition['targetPipeline']}/{definition['targetAction']}"
    filters = [
        f"  filter {each['jsonPath']}: {each.get('matchEquals', '')}" for each in definition["filters"]
    ]
    answer(
        json,
        _as_json(webhook),
        f"{definition['name']} starts {target}",
        f"  authentication: {definition['authentication']}",
        *filters,
        f"  URL: {webhook_url(webhook)}",
    )
    return 0


def remove_webhook(name: WebhookName, *, json: AsJson = False) -> int:
    """Remove a webhook. Its URL cannot be restored."""
    connect()
    from prefect_codepipeline.engine.triggers.pipeline_webhooks import delete_webhook

    if not delete_webhook(name):
        raise _missing(name)
    answer(json, {"name": name, "removed": True}, f"webhook {name!r} removed")
    return 0


def _missing(name: str) -> MissingBlock:
    from prefect_codepipeline.engine.triggers.pipeline_webhooks import list_webhooks

    known = [str(each.definition["name"]) for each in list_webhooks()]
    hint = nearest(name, known) or "see: codepipeline webhook list"
    return MissingBlock(f"webhook {name!r} does not exist; {hint}")


def _as_json(webhook: PipelineWebhook) -> dict[str, Any]:
    from prefect_codepipeline.engine.triggers.pipeline_webhooks import webhook_url

    return {"definition": webhook.masked(), "url": webhook_url(webhook)}
