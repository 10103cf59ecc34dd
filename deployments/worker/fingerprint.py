"""Which code a process runs: a text that changes when the package, or what it is installed with, is changed."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

PACKAGE = Path(__file__).absolute().parent.parent.parent


def fingerprint(*files: Path) -> str:
    """Of the given files, of all of the package when there are none, and of the environment they are installed in.

    An installer renames or replaces something at the top of site-packages, which changes the folder's time; so an
    upgrade of Prefect or a provider installed from elsewhere is seen without looking at their files. Takes 1-2 ms.
    """
    seen = hashlib.sha256(sys.executable.encode())
    for path in (*_site_packages(), *(files or _sources())):
        try:
            status = path.stat()
        except OSError:
            continue
        seen.update(f"{path}:{status.st_mtime_ns}:{status.st_size}\n".encode())
    return seen.hexdigest()[:16]


def _site_packages() -> list[Path]:
    return [Path(entry) for entry in sys.path if entry.endswith("-packages")]


def _sources() -> list[Path]:
    # In a checkout the folders are links, which `Path.rglob` does not follow.
    found = []
    for folder, folders, names in os.walk(PACKAGE, followlinks=True):
        folders[:] = [name for name in folders if name != "__pycache__"]
        found += [Path(folder, name) for name in names if not name.endswith(".pyc")]
    return sorted(found)
