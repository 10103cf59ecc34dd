"""Numbers that users set by variables of the environment."""

from __future__ import annotations

import math
import os

from prefect_codepipeline.errors import CodePipelineError


def number_set(variable: str, default: float) -> float:
    """The number in a variable, or the default if it is not set. Raises `CodePipelineError` if it is no number."""
    text = os.environ.get(variable)
    try:
        value = float(text) if text else default
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise CodePipelineError(f"{variable} is {text!r}; set it to a number, such as {default:g}")
    return value
