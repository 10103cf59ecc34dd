"""Take plain data for what it should be, and write down where it is something else."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from prefect_codepipeline.model.buildspec.parts import PHASES
from prefect_codepipeline.model.problem import MOST_PROBLEMS, Problem, nearest
from prefect_codepipeline.model.validation import buildspecs
from prefect_codepipeline.model.validation.rules import Rule

_MOST_PROPOSALS = 20
_SHOWN = 100
_YES = {"yes", "true", "on", "y"}
_NO = {"no", "false", "off", "n", ""}
# Known keys that people write elsewhere.
_ELSEWHERE = {
    "environment_variables": "since version 0.2 it is 'variables' inside of 'env'",
    **{str(phase): "phases stand inside of 'phases'" for phase in PHASES},
}
_IDENTIFIER = re.compile(r"[A-Za-z0-9_]{1,128}")


@dataclass
class Reading:
    """What was found wrong so far, at most 1,000 problems."""

    problems: list[Problem] = field(default_factory=list)
    proposals: int = 0

    def note(self, rule: Rule, path: str, *, hint: str = "", **values: object) -> None:
        """Write down that a rule is broken at a path; `values` fill its message."""
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(rule.at(path, hint=hint, **values))

    def propose(self, name: str, known: Collection[str]) -> str:
        """The nearest known name, as a hint; nothing any more after many proposals, which take long."""
        if self.proposals >= _MOST_PROPOSALS:
            return ""
        self.proposals += 1
        return nearest(name, known)

    def mapping(self, path: str, data: object, known: Collection[str] | None = None) -> Mapping[str, Any]:
        """The mapping, with keys as text; an empty one for nothing, and for what is none.

        Args:
            path: where it stands.
            data: what stands there.
            known: the keys that it may have; the others are warned about. Any when it is None.
        """
        if data is None:
            return {}
        if not isinstance(data, Mapping):
            self.note_shape(path, "a mapping", data)
            return {}
        if known is not None:
            for key in data:
                if key not in known:
                    hint = "" if path else _ELSEWHERE.get(str(key), "")
                    hint = hint or self.propose(str(key), known)
                    self.note(buildspecs.UNKNOWN, below(path, key), hint=hint, key=cut(str(key)))
        return {str(key): value for key, value in data.items()}

    def text(self, path: str, data: object) -> str | None:
        """The text of a scalar; None for nothing, and for what is none."""
        if isinstance(data, (Mapping, list)):
            self.note_shape(path, "of string type", data)
            return None
        return None if data is None else as_text(data)

    def texts(self, path: str, data: object, *, by_commas: bool = False) -> tuple[str, ...]:
        """The texts of a list, or the only one; empty ones are left out.

        Args:
            path: where they stand.
            data: what stands there.
            by_commas: take a single text for a list with commas, as the console writes it.
        """
        if not isinstance(data, list):
            only = self.text(path, data) or ""
            return tuple(filter(None, map(str.strip, only.split(",")))) if by_commas else (only,) * bool(only)
        texts = (self.text(f"{path}[{index}]", item) for index, item in enumerate(data))
        return tuple(text for text in texts if text)

    def text_map(self, path: str, data: object) -> dict[str, str]:
        """A mapping of texts; nothing is the empty text."""
        return {
            key: self.text(below(path, key), value) or "" for key, value in self.mapping(path, data).items()
        }

    def flag(self, path: str, data: object) -> bool:
        """What `yes` and `no`, and JSON's booleans, say; no for nothing."""
        text = (self.text(path, data) or "").strip().lower()
        if text not in _YES | _NO:
            self.note(buildspecs.FLAG, path, what=last(path), found=shown(data))
        return text in _YES

    def note_shape(self, path: str, expected: str, data: object) -> None:
        """Write down that something else was expected at a path."""
        self.note(
            buildspecs.SHAPE, path, what=last(path) or "the buildspec", expected=expected, found=kind_of(data)
        )


def as_text(data: object) -> str:
    """A scalar as YAML's text would have been."""
    if isinstance(data, bool):
        return "true" if data else "false"
    try:
        return str(data)
    except ValueError:  # a number of thousands of digits
        return hex(data) if isinstance(data, int) else ""


def below(path: str, key: object) -> str:
    """The path of a key in the mapping at a path."""
    return f"{path}.{key}" if path else str(key)


def last(path: str) -> str:
    """The last name in a path: `commands[2]` of `phases.build.commands[2]`."""
    return path.rpartition(".")[2]


def kind_of(data: object) -> str:
    """What something is, in the words of CodeBuild's messages."""
    if isinstance(data, Mapping):
        return "subkeys"
    if isinstance(data, list):
        return "a list"
    return "nothing" if data is None else f"the text {shown(data)}"


def shown(data: object) -> str:
    """A value in quotes, cut where it is long."""
    return f"'{cut(as_text(data))}'"


def cut(text: str) -> str:
    """A text's beginning."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def is_identifier(name: str) -> bool:
    """Whether CodeBuild takes a name for an artifact or a build of a batch."""
    return bool(_IDENTIFIER.fullmatch(name))
