"""Identify the code of a process: a hash that changes when the package or its environment changes."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

PACKAGE = Path(__file__).absolute().parent.parent.parent


def fingerprint(*files: Path) -> str:
    """The hash of the given files, by default all files of the package, and of the environment.

    An installer changes the modification time of the site-packages folder. So an upgrade of Prefect or of a
    provider package is detected without reading its files. Takes 1-2 ms, without objects for the paths.
    """
    digest = hashlib.sha256(sys.executable.encode())
    for path in (*_site_packages(), *(files or _sources())):
        try:
            status = os.stat(path)
        except OSError:
            continue
        digest.update(f"{path}:{status.st_mtime_ns}:{status.st_size}\n".encode())
    return digest.hexdigest()[:16]


def _site_packages() -> list[str]:
    return [entry for entry in sys.path if entry.endswith("-packages")]


def _sources() -> list[str]:
    # In a checkout the folders are symbolic links, which `Path.rglob` does not follow.
    found = []
    for folder, folders, names in os.walk(PACKAGE, followlinks=True):
        folders[:] = [name for name in folders if name != "__pycache__"]
        found += [f"{folder}{os.sep}{name}" for name in names if not name.endswith(".pyc")]
    return sorted(found)
