"""Values that only AWS knows, as marked names inside strings.

During the evaluation of a template an unknown value is a name between two marks. So a string with an unknown value can
be joined, substituted and compared like any other. At the end it is written as `${name}`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

NO_VALUE = object()  # the value of `AWS::NoValue`: the enclosing part omits it

# Unicode private use characters, which templates do not use; they are removed from names.
_OPEN, _CLOSE = "\uf8f0", "\uf8f1"
_MARKED = re.compile(f"{_OPEN}([^{_OPEN}{_CLOSE}]*){_CLOSE}")
# Functions whose value follows from their arguments.
_FOLLOWING = {"Fn::Base64", "Fn::Join", "Fn::Select", "Fn::Split"}
_MARKS = re.compile(f"[{_OPEN}{_CLOSE}]")


@dataclass(frozen=True)
class Missing:
    """A value that is not in the template: a parameter without a default, or a value that only AWS knows.

    Args:
        name: its name, also in `${name}`.
        what: what it is, for people.
        function: the function that gives the value, with `${name}` for each unknown value in its argument.
        parameter: the declaration of the parameter.
        made_of: the names of the unknown values that it follows from.
    """

    name: str
    what: str
    function: Any = None
    parameter: dict[str, Any] | None = None
    made_of: tuple[str, ...] = ()


def unknown(name: str) -> str:
    """The unknown value of that name."""
    return f"{_OPEN}{bare(name)}{_CLOSE}"


def holds_unknown(value: Any) -> bool:
    """Whether a string, or any string in a list or mapping, contains an unknown value."""
    if isinstance(value, dict):
        return any(holds_unknown(item) for item in value.values())
    if isinstance(value, list):
        return any(holds_unknown(item) for item in value)
    return isinstance(value, str) and _OPEN in value


def is_unknown(value: Any) -> bool:
    """Whether a value is exactly one unknown value."""
    return isinstance(value, str) and _MARKED.fullmatch(value) is not None


def names_in(text: str) -> list[str]:
    """The names of the unknown values in a text."""
    return _MARKED.findall(text)


def unknown_names(value: Any) -> tuple[str, ...]:
    """The names of the unknown values in a text or a list, or in the arguments of a function that follows from them."""
    if isinstance(value, dict):
        ((key, value),) = value.items()
        value = value if key in _FOLLOWING else ()
    items = value if isinstance(value, (list, tuple)) else [value]
    return tuple(name for text in items if isinstance(text, str) for name in names_in(text))


def bare(text: str) -> str:
    """The text without marks and braces, for use as a part of another name."""
    return re.sub(r"[{}]", "", _MARKS.sub("", text))


def with_placeholders(text: str) -> str:
    """The text with `${name}` for each unknown value."""
    return _MARKS.sub("", _MARKED.sub(r"${\1}", text))


def all_with_placeholders(part: Any) -> Any:
    """A part of a template with `${name}` for each unknown value."""
    if isinstance(part, dict):
        return {key: all_with_placeholders(value) for key, value in part.items()}
    if isinstance(part, list):
        return [all_with_placeholders(item) for item in part]
    return with_placeholders(part) if isinstance(part, str) else part


def as_text(value: Any) -> str | None:
    """A scalar as the string that CloudFormation uses, or None for other values."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (str, int, float)) else None
