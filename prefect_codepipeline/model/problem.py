"""A problem of a definition, the suggestion of a similar name, and the error that lists all problems."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from prefect_codepipeline.errors import CodePipelineError

Severity = Literal["error", "warning"]
# A limit, because listing all problems of a hostile definition would take too long.
MOST_PROBLEMS = 1000
_LONGEST_NAME = 200


@dataclass(frozen=True)
class Problem:
    """One problem: its path (`stages[1].actions[0].runOrder`), a message, and the exception that AWS would raise.

    AWS would refuse an `error`. A `warning` will fail or surprise when the pipeline runs. `rule` is the name of the
    rule in docs/validation.md. `line` and `column` count from 1; they are 0 if the file is not known.
    """

    path: str
    message: str
    exception: str = "ValidationException"
    severity: Severity = "error"
    hint: str = ""
    rule: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.path}: {self.message}{hint}" if self.path else f"{self.message}{hint}"


def nearest(name: str, known: Collection[str]) -> str:
    """`did you mean 'x'?`, or an empty string if no known name is similar."""
    if len(name) > _LONGEST_NAME:
        return ""
    found = get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f"did you mean {found[0]!r}?" if found else ""


class InvalidDefinition(CodePipelineError):  # noqa: N818  named as the errors beside it are
    """A definition breaks rules or needs a feature that is not supported; the message lists every problem."""

    def __init__(self, problems: Sequence[Problem], name: str = "the definition") -> None:
        self.problems = list(problems)
        count = f"{len(self.problems)} problem{'s' if len(self.problems) != 1 else ''}"
        lines = "\n".join(
            f"  line {problem.line}: {problem}" if problem.line else f"  {problem}"
            for problem in self.problems
        )
        super().__init__(f"{name} cannot run: {count}\n{lines}")
