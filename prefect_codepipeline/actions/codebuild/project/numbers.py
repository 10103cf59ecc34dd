"""CODEBUILD_BUILD_NUMBER: the number of builds of a project, including the current one.

The last number is kept in the name of a Prefect Variable. Names are unique, so two workers cannot get the same number.
"""

from __future__ import annotations

import re

from prefect_codepipeline.model.names import slug
from prefect_codepipeline.prefect_api.variables import (
    Variable,
    create_variable,
    delete_variable,
    variables_with_prefix,
)


def next_number(project_name: str) -> int:
    """The number of the build that starts now. Raises `PrefectUnavailable`."""
    prefix = f"codebuild_number_{slug(project_name).replace('-', '_')}_"
    known = _find_numbers(prefix)
    number = max(known, default=0) + 1
    while create_variable(f"{prefix}{number}", project_name, ["prefect-codepipeline"]) is None:
        number += 1
    for old in known.values():
        delete_variable(old)
    return number


def _find_numbers(prefix: str) -> dict[int, Variable]:
    found = {each["name"].removeprefix(prefix): each for each in variables_with_prefix(prefix)}
    return {int(rest): each for rest, each in found.items() if re.fullmatch(r"\d+", rest)}
