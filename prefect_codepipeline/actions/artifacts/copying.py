"""Copy files to any place that fsspec knows: a folder, SFTP, Google's or Azure's stores."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import fsspec

from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.errors import ActionFailed

# Stores of objects transfer so many at once.
_AT_ONCE = 50
_FOLDERS = ("file", "local")


@dataclass(frozen=True)
class Upload:
    """A file, and the key that it gets: its path below the place."""

    path: Path
    key: str


def copy_all(place: str, uploads: Sequence[Upload], context: ActionContext) -> None:
    """Copy every file below a folder or a URL; what is there already is replaced, and nothing is deleted.

    Args:
        place: an absolute path, or a URL of fsspec. Credentials come from fsspec's configuration.
        uploads: the files; their keys lead below the place.
        context: of the action.

    Raises:
        ActionFailed: a file could not be copied; with code `ConfigurationError`, the place cannot be used.
        ActionAbandoned: the execution was cancelled.
    """
    shown = without_password(place)
    try:
        filesystem, root = fsspec.url_to_fs(place)
    except (ImportError, ValueError, OSError, TypeError) as error:
        raise ActionFailed(
            f"{shown!r} cannot be used as the place of a bucket: {error}; correct 'buckets' of 'aws' in the pipeline's "
            "settings, or install what fsspec needs for it",
            code="ConfigurationError",
        ) from error
    is_folder = not {filesystem.protocol, *filesystem.protocol}.isdisjoint(_FOLDERS)
    if is_folder and not Path(place.removeprefix("file://")).is_absolute():
        raise ActionFailed(
            f"{shown!r} is not an absolute path; correct 'buckets' of 'aws' in the pipeline's settings",
            code="ConfigurationError",
        )
    for start in range(0, len(uploads), _AT_ONCE):
        context.check()
        some = uploads[start : start + _AT_ONCE]
        targets = [f"{root.rstrip('/')}/{each.key}" for each in some]
        try:
            for folder in sorted({target.rpartition("/")[0] for target in targets}):
                filesystem.makedirs(folder, exist_ok=True)
            if is_folder:
                for each, target in zip(some, targets, strict=True):
                    _replace(each.path, target)
            else:
                filesystem.put([str(each.path) for each in some], targets)
        except Exception as error:  # the libraries below fsspec have exceptions of their own
            raise ActionFailed(
                f"copying {some[0].key!r} and the files after it to {shown}: {type(error).__name__}: {error}"
            ) from error
        done = start + len(some)
        context.report_progress(f"{done} of {len(uploads)} files", 100 * done // len(uploads))


def without_password(place: str) -> str:
    """The place without the password that its URL may have."""
    parts = urlsplit(place)
    if parts.password is None:
        return place
    return urlunsplit(parts._replace(netloc=f"{parts.username}:***@{parts.netloc.rpartition('@')[2]}"))


def _replace(source: Path, target: str) -> None:
    """So that a web server never sees half a file."""
    part = f"{target}.part-{uuid4().hex}"
    try:
        shutil.copyfile(source, part)
        os.replace(part, target)
    finally:
        Path(part).unlink(missing_ok=True)
