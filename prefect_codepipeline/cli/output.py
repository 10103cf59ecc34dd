"""What a verb prints that needs neither a server nor the libraries that come with one."""

from __future__ import annotations

import json
import os
import re
import sys
from typing import Any, Literal

Style = Literal["bold", "dim", "red", "yellow", "green"]

_CODES: dict[Style, int] = {"bold": 1, "dim": 2, "red": 31, "yellow": 33, "green": 32}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def print_json(value: Any) -> None:
    """Print JSON for programs, never wrapped or coloured."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


def print_line(*parts: str | tuple[str, Style]) -> None:
    """Print a line, its parts in their style on a terminal. What a file holds cannot steer the terminal."""
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    texts = [(part, None) if isinstance(part, str) else part for part in parts]
    line = "".join(
        f"\x1b[{_CODES[style]}m{_harmless(text)}\x1b[0m" if style and coloured else _harmless(text)
        for text, style in texts
    )
    sys.stdout.write(f"{line}\n")


def _harmless(text: str) -> str:
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)
