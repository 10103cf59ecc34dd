from __future__ import annotations

from pathlib import Path

import pytest
from deployed_host import DeployedHost


@pytest.fixture
def host(tmp_path: Path) -> DeployedHost:
    return DeployedHost(tmp_path)
