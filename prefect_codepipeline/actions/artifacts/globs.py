"""Select the files of an artifact: the globs of `outputArtifacts[].files` and of a buildspec.

The language is Java's `glob:`, as in CodeBuild, with two additions from AWS's documentation: `**/` also matches
no directory at all, and a pattern that names a directory (`build`, `apps/*/dist`, or one that ends in `/`) takes
everything below it. `dir/*` takes only the files of that directory.

https://docs.aws.amazon.com/codebuild/latest/userguide/build-spec-ref.html#build-spec.artifacts.files
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.definition import globs


class Glob(NamedTuple):
    """A pattern as the user wrote it, and the globs of the files and of the whole directories that it matches."""

    text: str
    files: globs.Glob
    directories: globs.Glob | None

    def takes(self, path: str) -> bool:
        """Whether the pattern takes the file with this relative POSIX path."""
        if self.files.matches(path):
            return True
        directories = self.directories
        ends = (match.end() for match in re.finditer("/", path))
        return bool(directories and any(directories.matches(path[:end]) for end in (0, *ends)))


def compile_glob(text: str) -> Glob:
    """Read one pattern.

    Raises:
        ActionFailed: with code `ConfigurationError`, it points outside the tree or is not a glob.
    """
    pattern = re.sub(r"/+", "/", text)
    pattern = re.sub(r"^(\./)+", "", pattern)
    if pattern.startswith("/") or ".." in pattern.split("/"):
        raise ActionFailed(
            f"artifact files {text!r}: a pattern must be relative to the working directory and stay inside it",
            code="ConfigurationError",
        )
    try:
        files = _compile(pattern)
        if pattern in ("", "."):
            return Glob(text, files, _compile(""))
        if pattern.endswith("/"):
            return Glob(text, files, files)
        names_directory = re.search(r"[*?\[]", pattern.rpartition("/")[2]) is None
        return Glob(text, files, _compile(f"{pattern}/") if names_directory else None)
    except globs.GlobError as error:
        raise ActionFailed(
            f"artifact files {text!r} is not a pattern: {error}", code="ConfigurationError"
        ) from None


def _compile(pattern: str) -> globs.Glob:
    return globs.compile_glob(pattern, no_folder_anywhere=True)


def select_files(directory: Path, patterns: Sequence[str]) -> list[str]:
    """The files and symbolic links below `directory` that a pattern takes, sorted, relative, POSIX.

    Links are taken as links and never followed. Files whose names start with a dot are taken too.

    Raises:
        ActionFailed: with code `ConfigurationError` for an invalid pattern; with `JobFailed` if nothing matches.
    """
    wanted = [compile_glob(text) for text in patterns]
    selected = sorted(_walk(directory, "", wanted))
    if not selected:
        raise ActionFailed(
            f"no matching artifact paths found: {', '.join(map(repr, patterns))} match nothing in the working "
            "directory after the commands; compare the patterns with the files that the commands write"
        )
    return selected


def _walk(directory: Path, prefix: str, wanted: Sequence[Glob], taken: bool = False) -> Iterator[str]:
    taken = taken or any(glob.directories and glob.directories.matches(prefix) for glob in wanted)
    with os.scandir(directory / prefix) as entries:
        for entry in entries:
            path = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(directory, f"{path}/", wanted, taken)
            elif taken or any(glob.files.matches(path) for glob in wanted):
                yield path
