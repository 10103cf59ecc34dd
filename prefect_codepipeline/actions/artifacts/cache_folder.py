"""Where this machine keeps what makes it faster: mirrors, caches of builds, archives. All of it may be removed."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path

_VARIABLE = "PREFECT_CODEPIPELINE_CACHE"


def cache_root() -> Path:
    """The folder of all caches of this user."""
    return Path(os.environ.get(_VARIABLE) or user_cache_path("prefect-codepipeline"))
