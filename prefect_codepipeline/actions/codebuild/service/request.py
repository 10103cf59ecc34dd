"""The request that starts a build in CodeBuild: the project, and the overrides of the action."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from prefect_codepipeline.actions.artifacts.zip_trees import zip_tree
from prefect_codepipeline.actions.aws.client import transferring, translated
from prefect_codepipeline.actions.codebuild.service.clients import Clients
from prefect_codepipeline.actions.codebuild.service.place import Place
from prefect_codepipeline.actions.codebuild.wanted_build import WantedBuild
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.actions.work import InputTree
from prefect_codepipeline.blocks.codebuild_project import CodeBuildProject
from prefect_codepipeline.errors import ActionFailed

_COMMIT = re.compile(r"[0-9a-f]{40}")
_LEAST_MINUTES = 5  # AWS accepts no shorter timeout


def build_request(
    clients: Clients, build: WantedBuild, context: ActionContext, place: Place | None
) -> dict[str, Any]:
    """The arguments of `StartBuild` or `StartBuildBatch`."""
    project = clients.project
    name = project.aws_project_name or build.project_name
    known = _project_in_aws(clients, name)
    variables = {each.name: each for each in (*project.environment_variables, *build.variables)}
    timeout = "buildTimeoutInMinutesOverride" if build.batch else "timeoutInMinutesOverride"
    request = {
        "projectName": name,
        # If a worker restarts the action within five minutes, AWS returns the build that runs already.
        "idempotencyToken": context.action_execution_id,
        "environmentVariablesOverride": [each.model_dump() for each in variables.values()],
        "buildspecOverride": build.buildspec or project.buildspec,
        **_overrides(project, timeout),
        **(_artifacts(clients, build, context, place) if place else _own_source(known, build, context)),
    }
    if build.batch and build.combine_artifacts:
        request["buildBatchConfigOverride"] = {**known.get("buildBatchConfig", {}), "combineArtifacts": True}
    return {key: value for key, value in request.items() if value not in (None, [])}


def _project_in_aws(clients: Clients, name: str) -> Mapping[str, Any]:
    with translated(f"looking up CodeBuild project {name!r}"):
        found = clients.codebuild.batch_get_projects(names=[name])["projects"]
    if not found:
        raise ActionFailed(
            f"there is no CodeBuild project {name!r} in {clients.codebuild.meta.region_name}; correct ProjectName, "
            "or aws_project_name or aws_region in the CodeBuildProject block",
            code="ConfigurationError",
        )
    return dict(found[0])


def _overrides(project: CodeBuildProject, timeout: str) -> dict[str, Any]:
    """Overrides for the fields that the block sets; for the other fields the project in AWS has its own values."""
    said = project.model_dump(exclude_defaults=True)
    overrides = {
        "imageOverride": said.get("image"),
        "computeTypeOverride": said.get("compute_type"),
        "privilegedModeOverride": said.get("privileged"),
    }
    if "timeout_in_minutes" in said:
        overrides[timeout] = max(project.timeout_in_minutes, _LEAST_MINUTES)
    if "queued_timeout_in_minutes" in said:
        overrides["queuedTimeoutInMinutesOverride"] = max(project.queued_timeout_in_minutes, _LEAST_MINUTES)
    return overrides


def _own_source(known: Mapping[str, Any], build: WantedBuild, context: ActionContext) -> dict[str, Any]:
    if known.get("source", {}).get("type") == "CODEPIPELINE":
        raise ActionFailed(
            f"CodeBuild project {known.get('name')!r} takes its source from CodePipeline; set aws_location of the "
            "CodeBuildProject block to 's3://bucket/prefix', where the artifacts can be exchanged",
            code="ConfigurationError",
        )
    if build.outputs:
        context.logger.warning(
            "Output artifacts %s are left out: the CodeBuildProject block has no aws_location to fetch them from",
            ", ".join(map(repr, build.outputs)),
        )
    revision = build.inputs[0].revision_id if build.inputs else None
    return {"sourceVersion": revision if revision and _COMMIT.fullmatch(revision) else None}


def _artifacts(clients: Clients, build: WantedBuild, context: ActionContext, place: Place) -> dict[str, Any]:
    for tree in build.inputs:
        context.check()
        _upload(clients, tree, context, place)
    locations = [f"{place.bucket}/{place.key('in', tree.name)}" for tree in build.inputs]
    secondary = [
        {"type": "S3", "location": location, "sourceIdentifier": tree.name}
        for tree, location in zip(build.inputs[1:], locations[1:], strict=True)
    ]
    outputs = [_output(place, name) for name in build.outputs]
    alone = len(outputs) == 1
    return {
        "sourceTypeOverride": "S3" if locations else None,
        "sourceLocationOverride": locations[0] if locations else None,
        "secondarySourcesOverride": secondary,
        "artifactsOverride": outputs[0] if alone else {"type": "NO_ARTIFACTS"},
        "secondaryArtifactsOverride": []
        if alone
        else [
            {**each, "artifactIdentifier": name} for each, name in zip(outputs, build.outputs, strict=True)
        ],
    }


def _output(place: Place, name: str) -> dict[str, str]:
    return {
        "type": "S3",
        "location": place.bucket,
        "path": f"{place.prefix}out",
        "namespaceType": "NONE",
        "name": f"{name}.zip",
        "packaging": "ZIP",
    }


def _upload(clients: Clients, tree: InputTree, context: ActionContext, place: Place) -> None:
    archive = context.scratch / f"input-{tree.name}.zip"
    key = place.key("in", tree.name)
    try:
        zip_tree(tree.directory, archive)
        with transferring(f"uploading input artifact {tree.name!r} to s3://{place.bucket}/{key}"):
            clients.s3.upload_file(str(archive), place.bucket, key)
    finally:
        archive.unlink(missing_ok=True)
