"""The half of `make fuzz` that runs below atheris: what is imported here tells it which lines are reached."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["prefect_codepipeline"]):
    from fuzz import attempt

atheris.Setup(sys.argv, attempt)
atheris.Fuzz()
