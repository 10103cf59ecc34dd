"""Who asks rules as the engine does."""

from __future__ import annotations

from pathlib import Path

import pytest
from rule_asker import Asker


@pytest.fixture
def asker(tmp_path: Path) -> Asker:
    return Asker(tmp_path)
