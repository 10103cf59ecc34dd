"""Values that only AWS knows, as marked names inside of texts.

While a template is evaluated an unknown value is a text between two marks, so that a text which holds one can be
joined, substituted and compared like any other; at the end it is shown as `${name}`.
"""

from __future__ import annotations

import re
from typing import Any

NO_VALUE = object()  # what `AWS::NoValue` stands for: the part around it leaves it out

# Of Unicode's private use: in no template on purpose, and taken out of those that have them.
_OPEN, _CLOSE = "\uf8f0", "\uf8f1"
_MARKED = re.compile(f"{_OPEN}([^{_OPEN}{_CLOSE}]*){_CLOSE}")
_MARKS = re.compile(f"[{_OPEN}{_CLOSE}]")


def unknown(name: str) -> str:
    """The unknown value of that name."""
    return f"{_OPEN}{bare(name)}{_CLOSE}"


def holds_unknown(value: Any) -> bool:
    """Whether a text, or anything in a list or mapping, is not wholly known."""
    if isinstance(value, dict):
        return any(holds_unknown(item) for item in value.values())
    if isinstance(value, list):
        return any(holds_unknown(item) for item in value)
    return isinstance(value, str) and _OPEN in value


def is_unknown(value: Any) -> bool:
    """Whether a value is one unknown and nothing else."""
    return isinstance(value, str) and _MARKED.fullmatch(value) is not None


def names_in(text: str) -> list[str]:
    """The names of the unknown values in a text."""
    return _MARKED.findall(text)


def bare(text: str) -> str:
    """The text with names for unknown values, as a part of another name."""
    return _MARKS.sub("", text)


def shown(text: str) -> str:
    """The text with `${name}` for each unknown value."""
    return _MARKS.sub("", _MARKED.sub(r"${\1}", text))


def as_text(value: Any) -> str | None:
    """A single value as CloudFormation spells it; None for nothing, and for what is no single value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (str, int, float)) else None
