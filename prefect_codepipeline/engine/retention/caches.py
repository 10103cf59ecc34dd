"""The caches of this machine: what was not used for the longest time is removed when they become too large.

Mirrors of repositories, caches of builds, and ZIP archives for job workers. What an action uses right now is not touched.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from prefect_codepipeline.actions.artifacts.cache_folder import cache_root
from prefect_codepipeline.actions.git.mirror import unused_mirror
from prefect_codepipeline.errors import CodePipelineError

GIB_VARIABLE = "PREFECT_CODEPIPELINE_CACHE_GIB"
_DEFAULT_GIB = 20.0


@dataclass(frozen=True)
class Entry:
    """Something in a cache. `remove` returns False if it is in use."""

    name: str
    used: float
    size: int
    remove: Callable[[], bool]


@dataclass(frozen=True)
class Freed:
    """What was removed, and what the caches have now; sizes in bytes."""

    removed: tuple[str, ...]
    bytes: int
    left: int


def most_bytes() -> int:
    """How large the caches may be. Raises `CodePipelineError` if the variable is not a number."""
    text = os.environ.get(GIB_VARIABLE)
    try:
        found = float(text) if text else _DEFAULT_GIB
    except ValueError:
        found = -1.0
    if not 0 <= found < float("inf"):
        raise CodePipelineError(f"{GIB_VARIABLE} is {text!r}; set it to a number of GiB, such as 20")
    return int(found * 1024**3)


def prune_caches(*, dry_run: bool = False) -> Freed:
    """Remove what was used least recently, until the caches of this machine are small enough."""
    entries = sorted(_entries(cache_root()), key=lambda each: each.used)
    left, most = sum(each.size for each in entries), most_bytes()
    removed, freed = [], 0
    for each in entries:
        if left <= most:
            break
        if dry_run or each.remove():
            removed.append(each.name)
            freed += each.size
            left -= each.size
    return Freed(tuple(removed), freed, left)


def _entries(root: Path) -> Iterator[Entry]:
    for lock in root.glob("git/*/lock"):
        mirror = lock.parent
        with suppress(FileNotFoundError):
            used, size = lock.stat().st_mtime, _size_of(mirror)
            if size:
                yield Entry(f"git/{mirror.name}", used, size, lambda mirror=mirror: _remove_mirror(mirror))  # type: ignore[misc]
    for file in (*root.glob("builds/*/*.tar"), *root.glob("artifacts/zips/*.zip")):
        with suppress(FileNotFoundError):
            about = file.stat()
            name = file.relative_to(root).as_posix()
            yield Entry(name, about.st_mtime, about.st_size, lambda file=file: _remove_file(file))  # type: ignore[misc]


def _size_of(folder: Path) -> int:
    total = 0
    for below, _, files in os.walk(folder):
        for name in files:
            with suppress(FileNotFoundError):
                total += Path(below, name).lstat().st_size
    return total


def _remove_mirror(mirror: Path) -> bool:
    with unused_mirror(mirror) as is_unused:
        if is_unused:
            # The lock stays: an action may have opened it, and waits for it.
            for path in mirror.iterdir():
                if path.name != "lock":
                    shutil.rmtree(path, ignore_errors=True)
        return is_unused


def _remove_file(file: Path) -> bool:
    """Who reads it has opened it, and reads on."""
    file.unlink(missing_ok=True)
    file.with_suffix(".key").unlink(missing_ok=True)
    return True
