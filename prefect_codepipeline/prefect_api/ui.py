"""URLs of pages in Prefect's UI."""

from __future__ import annotations


def run_url(execution_id: str) -> str | None:
    """The URL of the flow run in Prefect's UI, or None if the UI's URL is not known."""
    from prefect.settings import PREFECT_UI_URL

    base = PREFECT_UI_URL.value()
    return f"{base.rstrip('/')}/runs/flow-run/{execution_id}" if base else None
