"""Folders and files that may hold secrets or sources: only their owner may read them. What exists keeps its mode."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def make_private(folder: Path, shared: Path | None = None) -> None:
    """Create a folder and its missing parents, with mode 0700.

    Args:
        folder: may exist.
        shared: a folder whose mode the user may have chosen; folders below it are created with its mode.
    """
    if folder.is_dir():
        return
    make_private(folder.parent, shared)
    is_below = shared is not None and shared in folder.parents
    folder.mkdir(stat.S_IMODE(folder.parent.stat().st_mode) if is_below else 0o700, exist_ok=True)


def private_opener(path: str, flags: int) -> int:
    """For `open`: a new file gets mode 0600."""
    return os.open(path, flags, 0o600)
