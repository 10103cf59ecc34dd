"""URLs of pages in Prefect's UI."""

from __future__ import annotations

from prefect_codepipeline.prefect_api.settings import api_settings


def run_url(execution_id: str) -> str | None:
    """The URL of the flow run in Prefect's UI, or None if the UI's URL is not known."""
    base = api_settings().ui_url
    return f"{base.rstrip('/')}/runs/flow-run/{execution_id}" if base else None
