"""Prefect's own clean-up: `codepipeline setup` warns when it deletes what retention keeps."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.settings.context import get_current_settings
from prefect.settings.models.server.services import ServerServicesDBVacuumSettings

from prefect_codepipeline.engine.retention.vacuum import vacuum_warning, warning_about


def settings(enabled: Any) -> dict[str, Any]:
    """As Prefect's API returns them."""
    vacuum = ServerServicesDBVacuumSettings(enabled=enabled)
    return {"server": {"services": {"db_vacuum": vacuum.model_dump(mode="json")}}}


@pytest.mark.parametrize("enabled", [None, False, "events", "events,orphans"])
def test_no_warning_when_flow_runs_are_left_alone(enabled):
    assert warning_about(settings(enabled)) is None


@pytest.mark.parametrize("enabled", [True, "flow_runs", "events,flow_runs"])
def test_a_warning_when_flow_runs_are_deleted(enabled):
    assert str(warning_about(settings(enabled))).startswith(
        "Prefect's db_vacuum deletes flow runs 90 days after their end"
    )


def test_the_settings_are_where_prefect_has_them():
    dumped = get_current_settings().model_dump(mode="json")
    assert "flow_runs" not in (dumped["server"]["services"]["db_vacuum"]["enabled"] or ())
    assert warning_about(dumped) is None


@pytest.mark.live
def test_a_server_is_asked(prefect_server: str) -> None:
    assert vacuum_warning() is None
