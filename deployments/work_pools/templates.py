"""The base job template of a work pool: which job variables it has, and their defaults.

A pool without a template gets it from its first worker; until then, job variables cannot be checked.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from prefect_codepipeline import __version__
from prefect_codepipeline.errors import ValidationException
from prefect_codepipeline.prefect_api.client import call

# What `make image` makes.
OWN_IMAGE = f"prefect-codepipeline:{__version__}"
# In a container, the worker's own folder does not exist; Prefect passes its path all the same.
_HOME_IN_CONTAINER = {"PREFECT_HOME": "/tmp/prefect"}


def template_for(kind: str, image: str | None = None) -> dict[str, Any]:
    """The template for a work pool of that type; empty if Prefect does not know the type, whose worker brings its own.

    Args:
        kind: the type of the work pool.
        image: of the flow runs of pools of type docker and kubernetes; `OWN_IMAGE` by default.

    Raises:
        ValidationException: an image was given for a type that has none.
    """
    template = _template_of_type(kind)
    variables = (template.get("variables") or {}).get("properties") or {}
    if "image" in variables:
        variables["image"]["default"] = image or OWN_IMAGE
    elif image:
        raise ValidationException(f"work pools of type {kind!r} have no image")
    return template


def _template_of_type(kind: str) -> dict[str, Any]:
    if kind == "codepipeline":
        from prefect_codepipeline.deployments.worker.worker import CodePipelineWorker

        return CodePipelineWorker.get_default_base_job_template()
    if kind == "kubernetes":
        template: dict[str, Any] = json.loads((Path(__file__).parent / "kubernetes.json").read_text())
        return template
    template = _template_of_prefect(kind)
    if kind == "docker" and template:
        variables = template["variables"]["properties"]
        variables["env"]["default"] = _HOME_IN_CONTAINER
        variables["image_pull_policy"]["default"] = "IfNotPresent"
    return template


def known_types() -> list[str]:
    """The types of work pools that `template_for` has a template for."""
    return sorted({"codepipeline", "kubernetes", *_templates_of_prefect()})


def _template_of_prefect(kind: str) -> dict[str, Any]:
    return _templates_of_prefect().get(kind, {})


def _templates_of_prefect() -> dict[str, dict[str, Any]]:
    """The template of each type of work pool that the server knows."""
    _, collections = call("GET", "/collections/views/aggregate-worker-metadata")
    return {
        kind: dict(found["default_base_job_configuration"])
        for workers in collections.values()
        for kind, found in workers.items()
    }
