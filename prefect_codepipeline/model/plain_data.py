"""Convert plain data to the expected types, and record a problem wherever the data is something else."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from prefect_codepipeline.model.problem import MOST_PROBLEMS, Problem, nearest

_MOST_PROPOSALS = 20
_MAX_QUOTED = 100
_INDEX = re.compile(r"\[[0-9]+\]")
_YES = {"yes", "true", "on", "y"}
_NO = {"no", "false", "off", "n", ""}


class Rule(Protocol):
    """A rule that data can break; `validation` has them."""

    def at(self, path: str, *, hint: str = "", **values: object) -> Problem:
        """The problem of breaking the rule at a path."""
        ...


@dataclass(frozen=True)
class Language:
    """The rules about the parts of one kind of file.

    `whole` is what the file is called. `elsewhere` are hints for keys that belong somewhere else, by their paths: `top`, or `list[].key`.
    """

    whole: str
    shape: Rule
    unknown: Rule
    flag: Rule
    elsewhere: Mapping[str, str]


@dataclass
class Reading:
    """The problems found so far in a file, at most 1,000."""

    language: Language
    problems: list[Problem] = field(default_factory=list)
    has_errors: bool = False
    proposals: int = 0

    def note(self, rule: Rule, path: str, *, hint: str = "", **values: object) -> None:
        """Record that a rule is broken at a path; `values` fill its message."""
        problem = rule.at(path, hint=hint, **values)
        is_first_error = problem.severity == "error" and not self.has_errors
        self.has_errors |= is_first_error
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(problem)
        elif is_first_error:  # a file with an error must not look right because of its many warnings
            self.problems[-1] = problem

    def propose(self, name: str, known: Collection[str]) -> str:
        """The nearest known name as a hint; empty after 20 proposals, because each one takes time."""
        if self.proposals >= _MOST_PROPOSALS:
            return ""
        self.proposals += 1
        return nearest(name, known)

    def mapping(self, path: str, data: object, known: Collection[str] | None = None) -> Mapping[str, Any]:
        """The mapping with string keys; empty if the data is missing or not a mapping.

        Args:
            path: the path of the data.
            data: the value at the path.
            known: the allowed keys; other keys give a warning. None allows all keys.
        """
        if data is None:
            return {}
        if not isinstance(data, Mapping):
            self.note_shape(path, "a mapping", data)
            return {}
        if known is not None:
            for key in data:
                if key not in known:
                    hint = self.language.elsewhere.get(below(_INDEX.sub("[]", path), key), "")
                    hint = hint or self.propose(str(key), known)
                    self.note(self.language.unknown, below(path, key), hint=hint, key=cut(str(key)))
        return {str(key): value for key, value in data.items()}

    def text(self, path: str, data: object) -> str | None:
        """The string of a scalar; None if the data is missing or not a scalar."""
        if isinstance(data, (Mapping, list)):
            self.note_shape(path, "of string type", data)
            return None
        return None if data is None else as_text(data)

    def texts(self, path: str, data: object, *, by_commas: bool = False) -> tuple[str, ...]:
        """The strings of a list, or of a single scalar; empty strings are left out.

        Args:
            path: the path of the data.
            data: the value at the path.
            by_commas: split a single string at commas, as AWS's console writes lists.
        """
        if not isinstance(data, list):
            only = self.text(path, data) or ""
            return tuple(filter(None, map(str.strip, only.split(",")))) if by_commas else (only,) * bool(only)
        texts = (self.text(f"{path}[{index}]", item) for index, item in enumerate(data))
        return tuple(text for text in texts if text)

    def text_map(self, path: str, data: object) -> dict[str, str]:
        """A mapping of strings; a missing value is the empty string."""
        return {
            key: self.text(below(path, key), value) or "" for key, value in self.mapping(path, data).items()
        }

    def flag(self, path: str, data: object) -> bool:
        """The boolean of `yes`, `no` or a JSON boolean; False if the data is missing."""
        text = (self.text(path, data) or "").strip().lower()
        if text not in _YES | _NO:
            self.note(self.language.flag, path, what=last(path), found=quote(data))
        return text in _YES

    def note_shape(self, path: str, expected: str, data: object) -> None:
        """Record that the value at a path has the wrong type."""
        self.note(
            self.language.shape,
            path,
            what=last(path) or self.language.whole,
            expected=expected,
            found=kind_of(data),
        )


def as_text(data: object) -> str:
    """A scalar as it is written in YAML."""
    if isinstance(data, bool):
        return "true" if data else "false"
    try:
        return str(data)
    except ValueError:  # Python refuses to convert numbers of thousands of digits
        return hex(data) if isinstance(data, int) else ""


def below(path: str, key: object) -> str:
    """The path of a key in the mapping at a path."""
    return f"{path}.{key}" if path else str(key)


def last(path: str) -> str:
    """The last name in a path: `commands[2]` of `phases.build.commands[2]`."""
    return path.rpartition(".")[2]


def kind_of(data: object) -> str:
    """The kind of a value, in the words of CodeBuild's messages."""
    if isinstance(data, Mapping):
        return "subkeys"
    if isinstance(data, list):
        return "a list"
    return "nothing" if data is None else f"the text {quote(data)}"


def quote(data: object) -> str:
    """A value in quotes, shortened if it is long."""
    return f"'{cut(as_text(data))}'"


def cut(text: str) -> str:
    """The text, shortened if it is long."""
    return text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}…"
