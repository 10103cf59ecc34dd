"""The short form of the deployments in `make chaos`: the process of a deployment to ten hosts is killed at random times."""

from __future__ import annotations

from pathlib import Path

import pytest
from deployment_chaos import deployment_storm

pytestmark = [pytest.mark.live, pytest.mark.long, pytest.mark.usefixtures("prefect_server")]


def test_kills_of_the_worker_lose_or_repeat_or_leave_nothing_on_ten_hosts(tmp_path: Path) -> None:
    assert deployment_storm(tmp_path, kills=3, seed=5).startswith("3 kills in ")
