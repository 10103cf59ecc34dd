"""The boto3 clients of an action: the account, region and endpoint that its settings name."""

from __future__ import annotations

from typing import Any

from prefect_codepipeline.actions.aws.client import aws_client
from prefect_codepipeline.actions.registry import ActionContext


def client_of(context: ActionContext, service: str, region: str | None = None) -> Any:
    """The client of an action for a service; `region` is by default the action's own.

    Raises:
        ActionFailed: with code `ConfigurationError`, boto3 is not installed, or the settings cannot be used.
    """
    return aws_client(service, region or context.action.region)
