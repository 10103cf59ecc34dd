"""`codepipeline export`: print a deployed pipeline or a definition for AWS."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Literal

from prefect_codepipeline.cli.session import connect


def export(name: str, *, format: Literal["json", "yaml", "cloudformation"] = "json") -> int:
    """Print a pipeline in a format that AWS accepts.

    Parameters
    ----------
    name:
        Name of a deployed pipeline, or a definition file. A template includes NAME.resources.yaml beside the file.
    format:
        Input for `aws codepipeline create-pipeline` in JSON or YAML, or a CloudFormation template.
    """
    from prefect_codepipeline.deployments.cloudformation.export import as_template
    from prefect_codepipeline.deployments.cloudformation.not_used import with_originals
    from prefect_codepipeline.deployments.files.definition import pipeline_in, read_file
    from prefect_codepipeline.deployments.files.resources import Beside, as_yaml, read_beside

    path = Path(name)
    if path.is_file():
        wire, beside = pipeline_in(read_file(path)).wire, read_beside(path)
        wire = with_originals(wire, beside.placeholders)
    else:
        wire, beside = _deployed(name), Beside()
    if format == "json":
        text = json.dumps({"pipeline": wire}, indent=2, ensure_ascii=False) + "\n"
    elif format == "yaml":
        text = as_yaml({"pipeline": wire})
    else:
        logical_id = str(beside.imported.get("logicalId") or "Pipeline")
        text = as_yaml(as_template(wire, logical_id, beside.properties, beside.resources, beside.missing))
    sys.stdout.write(text)
    return 0


def _deployed(name: str) -> dict[str, Any]:
    """The newest version as AWS's GetPipeline returns it, with secrets masked."""
    connect()
    from prefect_codepipeline.deployments.create import find_deployment
    from prefect_codepipeline.engine.executions.definitions import newest_version

    known = int(find_deployment(name)["version"] or 1)
    return newest_version(name, known)[1].declaration
