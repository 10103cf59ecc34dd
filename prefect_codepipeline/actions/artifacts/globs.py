"""Which files of a tree an artifact takes: the globs of `outputArtifacts[].files` and of a buildspec.

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

# In order of precedence: an escape, `**/`, `**`, a set of characters, any other character.
_TOKEN = re.compile(r"\\.|\*\*/|\*\*|\[!?[^\]/]+\]|.", re.DOTALL)


class Glob(NamedTuple):
    """A pattern as the user wrote it, and the regular expressions of the files and the whole directories it matches."""

    text: str
    files: re.Pattern[str]
    directories: re.Pattern[str] | None

    def takes(self, path: str) -> bool:
        """Whether the pattern takes the file with this relative POSIX path."""
        if self.files.fullmatch(path):
            return True
        directories = self.directories
        ends = (match.end() for match in re.finditer("/", path))
        return bool(directories and any(directories.fullmatch(path[:end]) for end in (0, *ends)))


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

    Links are taken as links and never followed. Files whose names start with a dot are taken too.

    Raises:
        ActionFailed: with code `ConfigurationError` for an invalid pattern; with `JobFailed` if nothing matches.
    """
    globs = [compile_glob(text) for text in patterns]
    selected = sorted(_walk(directory, "", globs))
    if not selected:
        raise ActionFailed(
            f"no matching artifact paths found: {', '.join(map(repr, patterns))} match nothing in the working "
            "directory after the commands; compare the patterns with the files that the commands write"
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
    """The regular expression of a glob. Raises `re.error` for an unclosed bracket or brace, or a backslash at the end."""
    parts: list[str] = []
    in_braces = False
    for token in _TOKEN.findall(pattern):
        if token == "{" and in_braces:
            raise re.error("braces cannot be nested")
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
    # A hyphen between two members is a range; as the first or last member it is literal, like everything else.
    listed = members.removeprefix("!")
    last = len(listed) - 1
    inside = "".join(
        "-" if char == "-" and 0 < place < last else re.escape(char) for place, char in enumerate(listed)
    )
    return f"(?!/)[{'^' if listed != members else ''}{inside}]"
