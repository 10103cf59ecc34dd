"""Print lines and JSON without importing the libraries for the server."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from prefect_codepipeline.model.printable import printable

Style = Literal["bold", "dim", "red", "yellow", "green"]

_CODES: dict[Style, int] = {"bold": 1, "dim": 2, "red": 31, "yellow": 33, "green": 32}


def print_json(value: Any) -> None:
    """Print JSON for programs: never wrapped or coloured."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


def print_json_line(value: Any) -> None:
    """Print JSON on one line, for programs that read lines."""
    sys.stdout.write(json.dumps(value, default=str) + "\n")


def print_line(*parts: str | tuple[str, Style]) -> None:
    """Print a line, with styles on a terminal. Characters that are not visible are replaced."""
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    texts = [(part, None) if isinstance(part, str) else part for part in parts]
    line = "".join(
        f"\x1b[{_CODES[style]}m{without_control(text)}\x1b[0m"
        if style and coloured
        else without_control(text)
        for text, style in texts
    )
    sys.stdout.write(f"{line}\n")


def answer(as_json: bool, value: dict[str, Any], *lines: str | tuple[str, Style]) -> None:
    """Print what a command has done: for programs the value as JSON, else the lines, which may have a style."""
    if as_json:
        print_json(value)
        return
    for line in lines:
        print_line(line)


def print_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table with heads in bold; no text is cut off."""
    lines = [list(heads), *(list(map(without_control, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for number, line in enumerate(lines):
        text = "  ".join(part.ljust(width) for part, width in zip(line, widths, strict=True)).rstrip()
        print_line((text, "bold") if number == 0 else text)


def counted(count: int, what: str) -> str:
    """`1 error`, `2 errors`."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def without_control(text: str) -> str:
    """The text for a terminal; characters that are not visible are replaced."""
    # A carriage return would overwrite the line.
    return printable(text.replace("\r", "\0"), kept="\n\t", instead="\N{REPLACEMENT CHARACTER}")
