"""`codepipeline schema`: the schemas with which editors complete and check files."""

from __future__ import annotations

from typing import Literal

from prefect_codepipeline.cli.output import print_json


def schema(kind: Literal["pipeline", "appspec"] = "pipeline") -> None:
    """Print the JSON Schema of pipeline files or of AppSpecs, for editors.

    Parameters
    ----------
    kind:
        The kind of the files.
    """
    from prefect_codepipeline.model.appspec.schema import appspec_schema
    from prefect_codepipeline.model.validation.schema import pipeline_schema

    print_json(appspec_schema() if kind == "appspec" else pipeline_schema())
