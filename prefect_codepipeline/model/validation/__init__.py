"""Find all problems of a definition at once, each with its path.

Messages are AWS's own if AWS has one. docs/validation.md lists every rule.
https://docs.aws.amazon.com/codepipeline/latest/userguide/reference-pipeline-structure.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from pydantic import ValidationError

from prefect_codepipeline.model.definition.action_types import FindType, find_no_own
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.problem import MOST_PROBLEMS, Problem, Severity, nearest
from prefect_codepipeline.model.validation import appspecs, buildspecs  # noqa: F401  they register their rules
from prefect_codepipeline.model.validation.actions import check_action_types, check_counts, check_fields
from prefect_codepipeline.model.validation.artifacts import check_artifacts
from prefect_codepipeline.model.validation.conditions import check_conditions, check_rules
from prefect_codepipeline.model.validation.configuration import check_configurations
from prefect_codepipeline.model.validation.fields import problems_of
from prefect_codepipeline.model.validation.lenient import declare_anyway
from prefect_codepipeline.model.validation.rules import RULES, Check, Pipeline, Rule
from prefect_codepipeline.model.validation.structure import (
    check_names,
    check_sources,
    check_stages,
    check_stores,
)
from prefect_codepipeline.model.validation.surprises import (
    check_artifact_uses,
    check_blockers,
    check_configuration_surprises,
    check_distance_to_limits,
    check_starts,
)
from prefect_codepipeline.model.validation.triggers import check_triggers
from prefect_codepipeline.model.validation.variables import check_namespaces, check_references
from prefect_codepipeline.model.validation.versions import check_pipeline_type

__all__ = [
    "RULES",
    "Problem",
    "Rule",
    "Severity",
    "declare_or_problems",
    "nearest",
    "problems_of",
    "validate",
]

# In the order in which AWS checks a definition; problems are listed in this order.
_CHECKS: tuple[Check, ...] = (
    check_stores,
    check_stages,
    check_sources,
    check_names,
    check_pipeline_type,
    check_action_types,
    check_fields,
    check_configurations,
    check_counts,
    check_artifacts,
    check_namespaces,
    check_references,
    check_triggers,
    check_conditions,
    check_rules,
    check_artifact_uses,
    check_starts,
    check_configuration_surprises,
    check_blockers,
    check_distance_to_limits,
)


def validate(
    declaration: PipelineDeclaration,
    *,
    region: str | None = None,
    stored: PipelineDeclaration | None = None,
    find_own: FindType = find_no_own,
) -> list[Problem]:
    """Check all rules that concern several fields, and warn about surprising behaviour.

    Returns at most 1,000 problems.

    Args:
        declaration: the input of `CreatePipeline` or `UpdatePipeline`.
        region: the region of the pipeline; if None, rules that need it are not checked.
        stored: the declaration that an update replaces; None for a new pipeline.
        find_own: finds the action types that job workers serve.
    """
    pipeline = Pipeline(declaration, region, stored, find_own)
    found = (problem for look in _CHECKS for problem in look(pipeline))
    return list(islice(found, MOST_PROBLEMS))


def declare_or_problems(
    wire: Any, look: Callable[[PipelineDeclaration], list[Problem]] = validate
) -> tuple[PipelineDeclaration | None, list[Problem]]:
    """The declaration from JSON data, or None with all problems: of single fields and of several fields together.

    Args:
        wire: a pipeline in the spelling of AWS's API.
        look: checks several fields together. Called only if a field is wrong.
    """
    try:
        return PipelineDeclaration.model_validate(wire), []
    except ValidationError as error:
        of_fields = problems_of(error, PipelineDeclaration)
    wrong = {problem.path for problem in of_fields}
    above = {parent for path in wrong for parent in _parents(path)}
    between = look(declare_anyway(wire))
    return None, [*of_fields, *(found for found in between if not _is_explained(found.path, wrong, above))]


def _is_explained(path: str, wrong: set[str], above: set[str]) -> bool:
    """Whether a wrong field at, above or (inside one action) below a path already explains a problem at the path.

    Args:
        path: the path of the problem.
        wrong: the paths of wrong fields.
        above: all parent paths of those.
    """
    return (
        path in wrong
        or (".actions[" in path and path in above)
        or any(parent in wrong for parent in _parents(path))
    )


def _parents(path: str) -> Iterator[str]:
    """The parents of a path: `a[0]` and `a` for `a[0].b`."""
    return (path[: match.start()] for match in re.finditer(r"[.\[]", path))
