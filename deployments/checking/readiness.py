"""What a pipeline lacks before an execution can succeed, each with the command that mends it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from prefect_codepipeline.deployments.checking.needed import NeededValue, import_command
from prefect_codepipeline.deployments.checking.plan import Plan
from prefect_codepipeline.deployments.files.resources import Beside
from prefect_codepipeline.model.problem import Problem


@dataclass(frozen=True)
class Lack:
    """One thing that is missing, and the command that mends it; empty if there is none."""

    what: str
    command: str = ""

    def __str__(self) -> str:
        return f"{self.what}: {self.command}" if self.command else self.what


def lacks_of(
    planned: Plan, needed: list[NeededValue], errors: list[Problem], definition: Path, beside: Beside
) -> Iterator[Lack]:
    """Everything that a pipeline lacks, what must be mended first before the rest."""
    if needed:
        names = [value.name for value in needed]
        noun = "the value of" if len(names) == 1 else "the values of"
        yield Lack(f"{noun} {', '.join(names)}", import_command(definition, beside, names))
    kinds = sorted(
        {problem.message.partition(" is not available")[0] for problem in errors if _is_later(problem)}
    )
    yield from (Lack(f"{kind}, which this version does not have") for kind in kinds)
    if others := [problem for problem in errors if not _is_later(problem)]:
        count = "error" if len(others) == 1 else f"{len(others)} errors"
        yield Lack(f"a definition without the {count} above", f"codepipeline validate {_quoted(definition)}")
    for variable in planned.variables:
        if variable.source == "missing":
            option = shlex.quote(f"{variable.name}=VALUE")
            yield Lack(
                f"variable {variable.name}",
                f"codepipeline start {shlex.quote(planned.name)} --variable {option}",
            )
    missing = dict.fromkeys(need for need in planned.all_needs() if need.state == "missing")
    yield from (Lack(f"block {need.kind}/{need.name}", need.command) for need in missing)


def _is_later(problem: Problem) -> bool:
    return problem.rule == "not-available"


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
