"""`codepipeline webhook`: V1 webhooks, as in PutWebhook, ListWebhooks and DeleteWebhook."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect_codepipeline.cli.output import print_json, print_line
from prefect_codepipeline.cli.session import connect
from prefect_codepipeline.errors import CodePipelineError

if TYPE_CHECKING:
    from prefect_codepipeline.blocks.pipeline_webhook import PipelineWebhook


def put_webhook(file: Path) -> int:
    """Create or change a webhook that starts a pipeline, and print its URL. A change keeps the URL.

    Parameters
    ----------
    file:
        Input of `aws codepipeline put-webhook --cli-input-json`, in JSON or YAML.
    """
    connect()
    from pydantic import ValidationError

    from prefect_codepipeline.deployments.files.definition import read_file
    from prefect_codepipeline.engine.triggers.pipeline_webhooks import put_webhook
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
    print_line(_url(put_webhook(definition)))
    return 0


def list_webhooks(*, json: bool = False) -> int:
    """List the webhooks and their URLs.

    Parameters
    ----------
    json:
        Print JSON in the form of AWS's ListWebhooks response.
    """
    connect()
    from prefect_codepipeline.engine.triggers.pipeline_webhooks import list_webhooks

    found = list_webhooks()
    if json:
        print_json({"webhooks": [{"definition": _masked(each), "url": _url(each)} for each in found]})
        return 0
    for webhook in found:
        definition = webhook.definition
        target = f"{definition['targetPipeline']}/{definition['targetAction']}"
        print_line(
            (definition["name"], "bold"),
            f"  starts {target}, {definition['authentication']}  {_url(webhook)}",
        )
    if not found:
        print_line("there are no webhooks; create one with: codepipeline webhook put FILE")
    return 0


def delete_webhook(name: str) -> int:
    """Delete a webhook. Its URL cannot be restored.

    Parameters
    ----------
    name:
        Name of the webhook.
    """
    connect()
    from prefect_codepipeline.engine.triggers.pipeline_webhooks import delete_webhook

    print_line(f"webhook {name!r} deleted" if delete_webhook(name) else f"there was no webhook {name!r}")
    return 0


def _masked(webhook: PipelineWebhook) -> dict[str, Any]:
    settings = dict(webhook.definition["authenticationConfiguration"])
    if webhook.secret_token is not None:
        settings["SecretToken"] = "****"
    return {**webhook.definition, "authenticationConfiguration": settings}


def _url(webhook: PipelineWebhook) -> str:
    from prefect_codepipeline.engine.approvals.links import load_gateway

    gateway = load_gateway()
    base = gateway.url if gateway and gateway.url else "https://ADDRESS-OF-THE-GATEWAY"
    return f"{base}/webhooks/{webhook.definition['name']}/{webhook.url_token.get_secret_value()}"
