"""The pages of the documentation: their code, their commands and their links."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
# Without the change log, which also tells of what is no more.
PAGES = sorted({ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")})
_BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
_SHELLS = ("console", "sh", "")
_ENDS = set("|&;<>()")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks_of(page: Path) -> Iterator[tuple[str, str]]:
    """Each block of code of a page: its language, and its text without the indent."""
    for language, text in _BLOCK.findall(page.read_text(encoding="utf-8")):
        yield language, textwrap.dedent(text)


def prose_of(page: Path) -> str:
    """The text of a page without its blocks of code."""
    return _BLOCK.sub("", page.read_text(encoding="utf-8"))


def spans_of(page: Path) -> list[str]:
    """What stands in backticks in the text of a page, each on one line."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose_of(page))]


def commands_of(page: Path) -> Iterator[list[str]]:
    """Each command in the blocks of a page that a shell would start, as its words."""
    for language, text in blocks_of(page):
        if language not in _SHELLS:
            continue
        lines = text.replace("\\\n", " ").splitlines()
        if language == "console":
            lines = [line[2:] for line in lines if line.startswith("$ ")]
        elif not language:  # a block without a language may also be an output
            lines = [line for line in lines if line.startswith("codepipeline ")]
        for line in lines:
            yield from commands_in(line)


def commands_in(line: str) -> Iterator[list[str]]:
    """The commands of a line: those of a pipe, of a list, and in a substitution."""
    reader = shlex.shlex(line, posix=True, punctuation_chars=True)
    reader.whitespace_split = True
    command: list[str] = []
    is_file = False  # the next word is the file of a redirection
    for word in reader:
        if not set(word) - _ENDS:
            is_file = word in ("<", ">", ">>")
            if not is_file:
                yield command
                command = []
        elif is_file:
            is_file = False
        else:
            command.append(word)
    yield command
