"""`codepipeline schema`: the schema with which editors complete and check pipeline files."""

from __future__ import annotations

from prefect_codepipeline.cli.output import print_json


def schema() -> None:
    """Print the JSON Schema of pipeline files, for editors."""
    from prefect_codepipeline.model.validation.schema import pipeline_schema

    print_json(pipeline_schema())
