"""Write the files of a commit as a clone would have them, without the `.git` folder.

`git archive` is not used: it obeys export-ignore and export-subst, which a clone does not.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from prefect_codepipeline.actions.git.failures import damaged
from prefect_codepipeline.actions.git.mirror import Mirror
from prefect_codepipeline.actions.git.process import GitError
from prefect_codepipeline.errors import ActionFailed

_LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\n"
_LFS_POINTER_BYTES = 1024


@dataclass(frozen=True)
class Export:
    """The paths of a commit without their content: submodules (empty folders) and LFS pointers."""

    submodules: tuple[str, ...] = ()
    lfs_pointers: tuple[str, ...] = ()


def export_commit(mirror: Mirror, commit_id: str, directory: Path, index: Path) -> Export:
    """Write the tree of a commit into `directory`, with modes and symlinks. No filters and no hooks run.

    Args:
        mirror: a mirror that has the commit.
        commit_id: 40 digits.
        directory: an empty directory.
        index: a file name for git's index, in a folder that no other process uses.

    Raises:
        ActionFailed: the tree has paths that git refuses to write, such as `.git/config`.
        GitError: git failed.
    """
    environment = {"GIT_INDEX_FILE": str(index)}
    try:
        mirror.git("read-tree", commit_id, environment=environment)
        work_tree = f"--work-tree={directory}"
        mirror.git(work_tree, "checkout-index", "--all", "--quiet", environment=environment)
    except GitError as error:
        if damaged(error.text) or "invalid path" not in error.text:
            raise
        raise ActionFailed(
            f"commit {commit_id} of {mirror.access.url!r} contains a path that is not safe to write ({error.text}); "
            "remove it from the repository"
        ) from None
    submodules, files = _entries(mirror, commit_id)
    return Export(tuple(submodules), tuple(_lfs_pointers(directory, files)))


def _entries(mirror: Mirror, commit_id: str) -> tuple[list[str], list[str]]:
    """The paths of submodules and of regular files."""
    submodules: list[str] = []
    files: list[str] = []
    for entry in mirror.git("ls-tree", "-r", "-z", commit_id).split(b"\0")[:-1]:
        properties, _, path = entry.partition(b"\t")
        mode = properties[:6]
        if mode == b"160000":
            submodules.append(os.fsdecode(path))
        elif mode != b"120000":
            files.append(os.fsdecode(path))
    return submodules, files


def _lfs_pointers(directory: Path, files: list[str]) -> Iterator[str]:
    if not any(_uses_lfs(directory / path) for path in files if path.split("/")[-1] == ".gitattributes"):
        return
    for path in files:
        where = directory / path
        if where.stat().st_size < _LFS_POINTER_BYTES and where.read_bytes().startswith(_LFS_POINTER):
            yield path


def _uses_lfs(attributes: Path) -> bool:
    return b"filter=lfs" in attributes.read_bytes()
