"""The part of `make fuzz` that runs with atheris, which measures the coverage of the modules imported here."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["prefect_codepipeline"]):
    from fuzz import attempt

atheris.Setup(sys.argv, attempt)
atheris.Fuzz()
