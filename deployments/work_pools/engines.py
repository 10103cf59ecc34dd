"""Whether containers can be started where the actions of a pipeline run: pods have no container engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prefect_codepipeline.blocks.codebuild_project import CodeBuildProject
from prefect_codepipeline.deployments.checking.blocks_needed import blocks_of_deploy
from prefect_codepipeline.deployments.files.resources import Beside
from prefect_codepipeline.engine.operations.projection import FLOW_NAME
from prefect_codepipeline.errors import ValidationException
from prefect_codepipeline.model.definition.action_settings import ActionSettings
from prefect_codepipeline.model.definition.declaration import ActionDeclaration, PipelineDeclaration
from prefect_codepipeline.model.names import project_block_names
from prefect_codepipeline.model.stored.settings import StoredSettings
from prefect_codepipeline.prefect_api.block_documents import fields_by_name
from prefect_codepipeline.prefect_api.client import find_named
from prefect_codepipeline.prefect_api.deployments import (
    DEFAULT_WORK_POOL,
    Place,
    find_deployment_of,
    place_of,
)

# They run in a container if the settings do not say otherwise; ECRBuildAndPublish always needs an engine.
_IN_CONTAINERS = ("CodeBuild", "Commands", "ECRBuildAndPublish")


def check_engines(
    declaration: PipelineDeclaration, settings: StoredSettings, beside: Beside, place: Place
) -> None:
    """Check that each action of a pipeline on a Kubernetes pool that runs a container names its engine.

    Args:
        declaration: the pipeline.
        settings: which it is deployed with.
        beside: the projects that `deploy` creates.
        place: where it is to run; what it does not say stays as it is.

    Raises:
        ValidationException: actions need an engine that pods do not have; each in a line.
    """
    there = place_of(find_deployment_of(FLOW_NAME, declaration.name))
    pool = place.work_pool or there.work_pool or DEFAULT_WORK_POOL
    builds = list(_builds(declaration, settings, pool))
    with_pods = {name for name in {each.work_pool for each in builds} if _has_pods(name)}
    in_pods = [each for each in builds if each.work_pool in with_pods]
    if not in_pods:
        return
    created = {block.name: block.fields or {} for block in blocks_of_deploy(beside)}
    projects = {**fields_by_name(CodeBuildProject), **created}
    if problems := [each.problem for each in in_pods if each.lacks_engine(projects)]:
        raise ValidationException("\n".join(problems))


@dataclass(frozen=True)
class _Build:
    """An action that may run a container, its settings, and the work pool where it runs: its own or the pipeline's."""

    stage: str
    action: ActionDeclaration
    settings: ActionSettings
    work_pool: str

    @property
    def problem(self) -> str:
        always = self.action.action_type_id.provider == "ECRBuildAndPublish"
        instead = "" if always else ", or set run_on: host to run it in the pod"
        return (
            f"action '{self.stage}/{self.action.name}' runs a container, and the pods of work pool {self.work_pool!r} have "
            f"no container engine: name a DockerHost block as its docker_host{instead}"
        )

    def lacks_engine(self, projects: Mapping[str, Mapping[str, Any]]) -> bool:
        run_on, engine = _engine_of(self.action, self.settings, projects)
        return run_on == "docker" and not engine


def _builds(declaration: PipelineDeclaration, settings: StoredSettings, pool: str) -> Iterator[_Build]:
    for stage in declaration.stages:
        for action in stage.actions:
            kind = action.action_type_id
            if kind.provider in _IN_CONTAINERS and kind.owner == "AWS":
                own = settings.for_action(stage.name, action.name)
                yield _Build(stage.name, action, own, own.work_pool or pool)


def _has_pods(name: str) -> bool:
    pool = find_named("/work_pools", name)
    return pool is not None and pool["type"] == "kubernetes"


def _engine_of(
    action: ActionDeclaration, own: ActionSettings, projects: Mapping[str, Mapping[str, Any]]
) -> tuple[str, str | None]:
    """Where an action runs (docker, host, aws), and the name of its container engine."""
    provider = action.action_type_id.provider
    if provider == "ECRBuildAndPublish":
        return "docker", own.docker_host
    if provider == "CodeBuild":
        names = project_block_names(action.configuration.get("ProjectName", ""))
        project = next((projects[name] for name in names if name in projects), {})
        return project.get("where") or own.run_on, project.get("docker_host") or own.docker_host
    return own.run_on, own.docker_host
