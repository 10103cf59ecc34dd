"""Everything that is wrong with a definition, at once, each problem with its place.

Messages are AWS's own where AWS has one. docs/validation.md lists every rule.
https://docs.aws.amazon.com/codepipeline/latest/userguide/reference-pipeline-structure.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from pydantic import ValidationError

from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.problem import MOST_PROBLEMS, Problem, Severity, nearest
from prefect_codepipeline.model.validation import buildspecs  # noqa: F401  its rules are listed with the others
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

# In the order in which AWS looks at a definition, which is the order in which problems are listed.
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
    declaration: PipelineDeclaration, *, region: str | None = None, stored: PipelineDeclaration | None = None
) -> list[Problem]:
    """Every rule between fields that the definition breaks, and warnings about what will surprise.

    At most 1,000 of them.

    Args:
        declaration: what `CreatePipeline` or `UpdatePipeline` would be given.
        region: the pipeline's own; rules that need it are left out when it is None.
        stored: the declaration that an update replaces; None for a new pipeline.
    """
    pipeline = Pipeline(declaration, region, stored)
    found = (problem for look in _CHECKS for problem in look(pipeline))
    return list(islice(found, MOST_PROBLEMS))


def declare_or_problems(
    wire: Any, look: Callable[[PipelineDeclaration], list[Problem]] = validate
) -> tuple[PipelineDeclaration | None, list[Problem]]:
    """The declaration of wire data, or None with everything that is wrong: in its fields and between them.

    Args:
        wire: a pipeline as AWS's API spells it.
        look: finds what is wrong between fields. Not called for a declaration that could be made.
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
    """Whether a field at, above or (inside one action) below that place is wrong, so that this is its echo.

    Args:
        path: the place.
        wrong: the places of wrong fields.
        above: all places above those.
    """
    return (
        path in wrong
        or (".actions[" in path and path in above)
        or any(parent in wrong for parent in _parents(path))
    )


def _parents(path: str) -> Iterator[str]:
    """`a[0].b` lies in `a[0]` and in `a`."""
    return (path[: match.start()] for match in re.finditer(r"[.\[]", path))
