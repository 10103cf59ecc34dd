"""The deployment `pipeline/<name>`: the newest version of a definition, in the form that Prefect starts and displays.

It can be recreated from the definition and the pipeline's schedules at any time. Only schedules that users created in
Prefect's UI are stored nowhere else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from prefect_codepipeline.engine.executions.definitions import (
    newest_version,
    pipeline_names,
    read_definitions,
    settings_of,
    updated_since,
)
from prefect_codepipeline.engine.executions.lookup import TAG, find_runs, pipeline_tag
from prefect_codepipeline.engine.operations.schedules import wanted_schedules
from prefect_codepipeline.engine.operations.stopping import cancel_older
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.stored.definition import StoredDefinition
from prefect_codepipeline.prefect_api.block_documents import count_blocks
from prefect_codepipeline.prefect_api.client import call, call_all, find_named
from prefect_codepipeline.prefect_api.deployments import (
    DEFAULT_WORK_POOL,
    NOTHING_TO_PULL,
    Place,
    find_deployment_of,
    place_of,
    put_deployment,
)
from prefect_codepipeline.prefect_api.together import together

FLOW_NAME = "pipeline"
DEPLOYMENTS_BY_NAME = f"/deployments/name/{FLOW_NAME}"
ENTRYPOINT = "prefect_codepipeline.flows.pipeline.pipeline"
# The tag of a deployment whose pipeline has to be started once, because it was created by the AWS API.
UNSTARTED = "codepipeline-unstarted"
# The tag of a deployment whose pipeline is being deleted; another one begins with it, and names the first version.
DELETING = "codepipeline-deleting"
_DEPLOYMENTS = {"deployments": {"tags": {"all_": [TAG]}}, "flows": {"name": {"any_": [FLOW_NAME]}}}
_logger = logging.getLogger(__name__)


def project(
    declaration: PipelineDeclaration, place: Place | None = None, *, is_unstarted: bool = False
) -> list[str]:
    """Create the deployment `pipeline/<name>`, or update it to the definition; how its place changed, as sentences.

    What the place does not give stays as it is; that of a new deployment comes from the pipeline's settings.
    `is_unstarted` marks it for its first execution.
    """
    place = place or Place()
    there = find_deployment_of(FLOW_NAME, declaration.name)
    if there is None:
        settings = settings_of(declaration.name)
        place = place.or_else(Place(settings.work_pool, settings.work_queue, settings.job_variables))
    # Prefect deletes schedules that are not listed here.
    schedules = wanted_schedules(declaration.name, there["schedules"] if there else [])
    tags = [TAG, pipeline_tag(declaration.name), *([UNSTARTED] if is_unstarted else [])]
    kept = [tag for tag in there["tags"] if not tag.startswith(DELETING)] if there else []
    own = {
        "version": str(declaration.version),
        "entrypoint": ENTRYPOINT,
        "pull_steps": NOTHING_TO_PULL,
        "tags": list(dict.fromkeys([*tags, *kept])),
        "description": _description(declaration),
        "parameter_openapi_schema": parameter_schema(declaration),
        "enforce_parameter_schema": True,
        "schedules": [each.model_dump(mode="json", exclude_unset=True) for each in schedules],
    }
    return put_deployment(FLOW_NAME, declaration.name, place, own, there)


def deployed_versions() -> dict[str, int]:
    """The deployed version of each deployed pipeline, by its name."""
    found = call_all("/deployments/filter", _DEPLOYMENTS)
    return {str(each["name"]): int(each["version"] or 1) for each in found}


def count_deployments() -> int:
    """How many pipelines are deployed."""
    return int(call("POST", "/deployments/count", _DEPLOYMENTS)[1])


def count_of_everything() -> str:
    """A text that changes when a definition or a deployment is created or deleted; two short requests."""
    return f"{count_blocks(StoredDefinition)} {count_deployments()}"


def signs_of_everything() -> str:
    """A text that changes when a pipeline is created, updated or deleted, by whatever process; three short requests."""
    # A pipeline that is deleted and one that is created between two looks leave the counts as they were.
    newest = {**_DEPLOYMENTS, "sort": "CREATED_DESC", "limit": 1}
    parts: list[Callable[[], Any]] = [
        partial(count_blocks, StoredDefinition),
        count_deployments,
        lambda: [each["id"] for each in call("POST", "/deployments/filter", newest)[1]],
    ]
    return " ".join(map(str, together(parts)))


def deployed_definitions(
    known: Mapping[tuple[str, int], StoredDefinition] | None = None,
) -> list[StoredDefinition]:
    """The definitions of all deployed pipelines in their deployed versions, by name, with secrets.

    Args:
        known: definitions that were read before, by name and version. They are not read again: a version never changes.
    """
    versions = deployed_versions()
    there = [found for each in versions.items() if (found := (known or {}).get(each))]
    read = read_definitions(
        {name: version for name, version in versions.items() if (name, version) not in (known or {})}
    )
    return sorted([*there, *read], key=lambda each: each.pipeline_name)


def project_missing() -> list[str]:
    """Recreate deployments that are missing, or older than the newest definition; one sentence for each."""
    versions = deployed_versions()
    done = []
    for name in sorted(set(pipeline_names()) - versions.keys()):
        if _project_newest(name, 1, _last_place(name)):
            done.append(f"pipeline {name!r}: recreated its deployment, which was missing")
    for name in updated_since(versions):
        deployment = find_deployment_of(FLOW_NAME, name)
        if deployment and _project_newest(name, versions[name], place_of(deployment)):
            done.append(f"pipeline {name!r}: recreated its deployment, which was older than its definition")
    return done


def _project_newest(name: str, at_least: int, place: Place) -> bool:
    """False if the work pool does not exist either: then a user has to choose one."""
    work_pool = place.work_pool or settings_of(name).work_pool or DEFAULT_WORK_POOL
    if find_named("/work_pools", work_pool) is None:
        _logger.warning(
            "pipeline %r has no deployment, and its work pool %r does not exist; deploy the pipeline again",
            name,
            work_pool,
        )
        return False
    _, newest = newest_version(name, at_least)
    if newest.version > at_least:
        cancel_older(name, newest.version, newest.created_by or "an unknown user")
    # The process that created it may have died before it started it; the same execution is not started twice.
    project(newest.masked(), place, is_unstarted=newest.version == 1 and bool(newest.created_by))
    return True


def _last_place(pipeline_name: str) -> Place:
    """Where the pipeline's last execution ran."""
    runs = find_runs(pipeline_name, limit=1)
    return Place(runs[0]["work_pool_name"], runs[0]["work_queue_name"]) if runs else Place()


def parameter_schema(declaration: PipelineDeclaration) -> dict[str, Any]:
    """The schema of the pipeline's run form in Prefect: its variables and source actions; other fields are refused."""
    variables = {
        variable.name: {
            "type": "string",
            "title": variable.name,
            "minLength": 1,
            "maxLength": 1000,
            **({"default": variable.default_value} if variable.default_value else {}),
            **({"description": variable.description} if variable.description else {}),
            "position": position,
        }
        for position, variable in enumerate(declaration.variables or [])
    }
    required = [variable.name for variable in declaration.variables or [] if not variable.default_value]
    revisions = {
        name: {
            "type": "string",
            "title": name,
            "description": "A commit, tag or branch.",
            "position": position,
        }
        for position, name in enumerate(source_actions(declaration))
    }
    return {
        "title": "Parameters",
        "type": "object",
        "properties": {
            "variables": _object("variables", "Pipeline variables.", 0, variables, required),
            "source_revisions": _object(
                "source_revisions",
                "Source revision overrides, by action; the default is the head of the branch.",
                1,
                revisions,
                [],
            ),
        },
        "required": ["variables"] if required else [],
        "additionalProperties": False,
    }


def _object(
    title: str, description: str, position: int, properties: dict[str, Any], required: list[str]
) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "title": title,
        "description": description,
        "type": "object",
        "position": position,
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
    return schema if required else {**schema, "default": {}}


def source_actions(declaration: PipelineDeclaration) -> list[str]:
    """The names of the pipeline's source actions."""
    return [
        action.name
        for stage in declaration.stages
        for action in stage.actions
        if action.action_type_id.category == "Source"
    ]


def _description(declaration: PipelineDeclaration) -> str:
    stages = " → ".join(stage.name for stage in declaration.stages)
    return f"CodePipeline pipeline **{declaration.name}**, version {declaration.version}: {stages}"
