"""What Prefect itself removes: its `db_vacuum` can delete flow runs, and with each its record, whatever needs it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pydantic import TypeAdapter

from prefect_codepipeline.prefect_api.client import call

_period = TypeAdapter(timedelta)


def vacuum_warning() -> str | None:
    """Why the settings of the Prefect server contradict retention, and what to do; None if they do not, or are unknown."""
    status, settings = call("GET", "/admin/settings", expected=(401, 403, 404, 405))
    return warning_about(settings) if status == 200 and isinstance(settings, Mapping) else None


def warning_about(settings: Mapping[str, Any]) -> str | None:
    """The same, from the settings as Prefect's API returns them."""
    vacuum = settings.get("server", {}).get("services", {}).get("db_vacuum", {})
    enabled = vacuum.get("enabled")
    deletes = enabled if isinstance(enabled, bool) else "flow_runs" in (enabled or ())
    if not deletes:
        return None
    days = _period.validate_python(vacuum.get("retention_period") or 0) / timedelta(days=1)
    return (
        f"Prefect's db_vacuum deletes flow runs {days:g} days after their end, also those that a rollback or a retry needs; "
        "what is kept is for the block Retention to say: set PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED=events on the "
        "server, and restart it"
    )
