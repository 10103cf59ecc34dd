"""URLs of pages in Prefect's UI."""

from __future__ import annotations

from prefect_codepipeline.prefect_api.settings import api_settings


def run_url(execution_id: str) -> str | None:
    """The URL of the flow run in Prefect's UI, or None if the UI's URL is not known."""
    return _url(f"runs/flow-run/{execution_id}")


def deployment_url(deployment_id: str) -> str | None:
    """The URL of the deployment in Prefect's UI, or None if the UI's URL is not known."""
    return _url(f"deployments/deployment/{deployment_id}")


def _url(path: str) -> str | None:
    base = api_settings().ui_url
    return f"{base.rstrip('/')}/{path}" if base else None
