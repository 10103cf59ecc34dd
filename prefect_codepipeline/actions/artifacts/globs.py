"""Which files of a tree an artifact takes: the globs of `outputArtifacts[].files` and of a buildspec.

Java's `glob:` language, as CodeBuild has it, with two additions of AWS's own documents: `**/` also stands for
no directory at all, and a pattern that names a directory (`build`, `apps/*/dist`, or one that ends in `/`) takes
everything below it. `dir/*` does not: it is the files of that directory alone.

https://docs.aws.amazon.com/codebuild/latest/userguide/build-spec-ref.html#build-spec.artifacts.files
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from prefect_codepipeline.errors import ActionFailed

# In their order: an escape, `**/`, `**`, a set of characters, anything else.
_TOKEN = re.compile(r"\\.|\*\*/|\*\*|\[!?[^\]/]+\]|.", re.DOTALL)


class Glob(NamedTuple):
    """A pattern as the user wrote it, and the relative POSIX paths it matches: of files, and of whole directories."""

    text: str
    files: re.Pattern[str]
    directories: re.Pattern[str] | None

    def takes(self, path: str) -> bool:
        """Whether it takes a file, by its relative POSIX path."""
        if self.files.fullmatch(path):
            return True
        directories = self.directories
        ends = (match.end() for match in re.finditer("/", path))
        return bool(directories and any(directories.fullmatch(path[:end]) for end in (0, *ends)))


def compile_glob(text: str) -> Glob:
    """Read one pattern.

    Raises:
        ActionFailed: with code `ConfigurationError`, it leaves the tree or is not a glob.
    """
    pattern = re.sub(r"/+", "/", text)
    pattern = re.sub(r"^(\./)+", "", pattern)
    if pattern.startswith("/") or ".." in pattern.split("/"):
        raise ActionFailed(
            f"artifact files {text!r}: a pattern is relative to the working directory and stays inside it",
            code="ConfigurationError",
        )
    try:
        regex = re.compile(_translate(pattern), re.DOTALL)
        names_directory = re.search(r"[*?\[]", pattern.rstrip("/").rpartition("/")[2]) is None
        if pattern in ("", "."):
            return Glob(text, regex, re.compile(""))
        if pattern.endswith("/"):
            return Glob(text, regex, regex)
        return Glob(text, regex, re.compile(f"(?:{regex.pattern})/", re.DOTALL) if names_directory else None)
    except re.error as error:
        raise ActionFailed(
            f"artifact files {text!r} is not a pattern: {error}", code="ConfigurationError"
        ) from None


def select_files(directory: Path, patterns: Sequence[str]) -> list[str]:
    """The files and symbolic links below `directory` that a pattern takes, sorted, relative, POSIX.

    Links are taken as links and never followed; files whose names begin with a dot are files like any other.

    Raises:
        ActionFailed: with code `ConfigurationError` for a bad pattern; with `JobFailed` when nothing matches.
    """
    globs = [compile_glob(text) for text in patterns]
    selected = sorted(_walk(directory, "", globs))
    if not selected:
        raise ActionFailed(
            f"no matching artifact paths found: {', '.join(map(repr, patterns))} match nothing in the working "
            "directory after the commands; compare the patterns with what the commands leave there"
        )
    return selected


def _walk(directory: Path, prefix: str, globs: Sequence[Glob], taken: bool = False) -> Iterator[str]:
    taken = taken or any(glob.directories and glob.directories.fullmatch(prefix) for glob in globs)
    with os.scandir(directory / prefix) as entries:
        for entry in entries:
            path = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(directory, f"{path}/", globs, taken)
            elif taken or any(glob.files.fullmatch(path) for glob in globs):
                yield path


def _translate(pattern: str) -> str:
    """The regular expression of a glob. Raises `re.error` for what is not closed or ends in a backslash."""
    parts: list[str] = []
    in_braces = False
    for token in _TOKEN.findall(pattern):
        if token == "{" and in_braces:
            raise re.error("braces do not nest")
        if token in "{}":
            in_braces = token == "{"
        parts.append("|" if token == "," and in_braces else _translate_token(token))
    if in_braces:
        raise re.error("a brace is not closed")
    return "".join(parts)


def _translate_token(token: str) -> str:
    wildcards = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]", "{": "(?:", "}": ")"}
    if token in wildcards:
        return wildcards[token]
    if token in ("[", "\\"):
        raise re.error("a bracket is not closed" if token == "[" else "a backslash has nothing to escape")
    if token.startswith("["):
        return _translate_brackets(token[1:-1])
    return re.escape(token[-1])


def _translate_brackets(members: str) -> str:
    # A hyphen is a range between two members, itself in the first and the last place; all else is literal.
    listed = members.removeprefix("!")
    last = len(listed) - 1
    inside = "".join(
        "-" if char == "-" and 0 < place < last else re.escape(char) for place, char in enumerate(listed)
    )
    return f"(?!/)[{'^' if listed != members else ''}{inside}]"
