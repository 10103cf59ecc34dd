"""Which resources beside a definition become blocks, and with which fields. Needs no server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from prefect_codepipeline.deployments.files.application_fields import (
    APPLICATION,
    CONFIG,
    GROUP,
    Application,
    application_name,
    applications_of,
    group_name,
    is_in_aws_only,
    is_known,
)
from prefect_codepipeline.deployments.files.own_types import CUSTOM_TYPE
from prefect_codepipeline.deployments.files.project_fields import project_fields
from prefect_codepipeline.model.names import application_block_names, project_block_names, slug

CONNECTIONS = {"AWS::CodeConnections::Connection", "AWS::CodeStarConnections::Connection"}
WEBHOOK = "AWS::CodePipeline::Webhook"
BlockKind = Literal["git-connection", "codebuild-project", "codedeploy-application"]
_BLOCK_NAME = re.compile(r"[a-z0-9-]{1,49}")
# The repository URLs of each host. Those of self-hosted installations are not known.
_HOSTS = {
    "Bitbucket": "https://bitbucket.org/{FullRepositoryId}.git",
    "GitHub": "https://github.com/{FullRepositoryId}.git",
    "GitLab": "https://gitlab.com/{FullRepositoryId}.git",
}


@dataclass(frozen=True)
class BlockOf:
    """The block for a resource: a Git Connection with `url_template`, or another `kind` of block with `fields`.

    Without either, the resource stays data and `reason` says why. With fields, `reason` lists the omitted settings.
    """

    logical_id: str
    type: str
    name: str = ""
    url_template: str = ""
    connection_arn: str | None = None
    reason: str = ""
    fields: Mapping[str, Any] | None = None
    kind: BlockKind = "git-connection"

    @property
    def noun(self) -> str:
        """What the block is, for messages: connection, project or application."""
        return self.kind.rpartition("-")[2]


def blocks_of(resources: Mapping[str, Mapping[str, Any]]) -> list[BlockOf]:
    """The block of each resource beside a definition, except webhooks and schedules, which need the pipeline,
    and action types, which may exist as deleted ones."""
    applications = {each.logical_id: each for each in applications_of(resources)}
    return [
        _of_application(logical_id, str(resource.get("Type")), applications[logical_id])
        if logical_id in applications
        else _block_of(logical_id, resource)
        for logical_id, resource in resources.items()
        if resource.get("Type") not in (WEBHOOK, CUSTOM_TYPE) and not is_schedule(resource)
    ]


def is_schedule(resource: Mapping[str, Any]) -> bool:
    """Whether a resource is an EventBridge rule with a schedule."""
    is_rule = resource.get("Type") == "AWS::Events::Rule"
    return is_rule and bool(_mapping(resource, "Properties").get("ScheduleExpression"))


def _block_of(logical_id: str, resource: Mapping[str, Any]) -> BlockOf:
    kind = str(resource.get("Type"))
    properties, attributes = _mapping(resource, "Properties"), _mapping(resource, "Attributes")
    if kind in CONNECTIONS:
        return _of_connection(logical_id, kind, properties, str(attributes.get("Ref", "")))
    if kind == "AWS::CodeCommit::Repository":
        return _of_repository(logical_id, kind, str(attributes.get("CloneUrlHttp", "")))
    if kind == "AWS::CodeBuild::Project":
        return _of_project(
            logical_id, kind, properties, str(properties.get("Name") or attributes.get("Ref", ""))
        )
    if kind in (APPLICATION, GROUP, CONFIG):
        return BlockOf(logical_id, kind, reason=_reason_of_codedeploy(logical_id, kind, resource))
    if kind == "AWS::Events::Rule":
        return BlockOf(logical_id, kind, reason="kept as data: sources are polled, as the settings say")
    return BlockOf(logical_id, kind, reason="kept as data: there is no block type for it")


def _of_connection(logical_id: str, kind: str, properties: Mapping[str, Any], ref: str) -> BlockOf:
    host = str(properties.get("ProviderType"))
    if host not in _HOSTS:
        return BlockOf(logical_id, kind, reason=f"kept as data: the URL of {host} repositories is not known")
    if not ref or "${" in ref:
        return BlockOf(
            logical_id,
            kind,
            reason=f"kept as data: import with --parameter {logical_id}=ARN, or =NAME of a block",
        )
    if ref.startswith("arn:"):
        own_name = str(properties.get("ConnectionName", logical_id))
        name = own_name if _BLOCK_NAME.fullmatch(own_name) else slug(own_name)
        return BlockOf(logical_id, kind, name, _HOSTS[host], ref)
    return BlockOf(logical_id, kind, ref, _HOSTS[host])


def _of_repository(logical_id: str, kind: str, url: str) -> BlockOf:
    base, slash, _ = url.rpartition("/")
    if not slash or "${" in base:
        return BlockOf(logical_id, kind, reason="kept as data: import with --parameter AWS::Region=REGION")
    # CodeCommit actions use the block of this name for every repository of the region.
    return BlockOf(logical_id, kind, "codecommit", base + "/{RepositoryName}")


def _of_project(logical_id: str, kind: str, properties: Mapping[str, Any], project_name: str) -> BlockOf:
    if not project_name or "${" in project_name:
        reason = f"kept as data: its name is not known; import with --parameter {logical_id}=NAME"
        return BlockOf(logical_id, kind, reason=reason)
    exact, *others = project_block_names(project_name)
    name = others[0] if _BLOCK_NAME.fullmatch(others[0]) and others[0] != "default" else exact
    fields, left_out = project_fields(properties)
    return BlockOf(
        logical_id, kind, name, reason="; ".join(left_out), fields=fields, kind="codebuild-project"
    )


def _of_application(logical_id: str, kind: str, application: Application) -> BlockOf:
    exact, *others = application_block_names(application.name)
    name = next((each for each in others if _BLOCK_NAME.fullmatch(each)), exact)
    reason = "; ".join(application.left_out)
    return BlockOf(
        logical_id, kind, name, reason=reason, fields=application.fields, kind="codedeploy-application"
    )


def _reason_of_codedeploy(logical_id: str, kind: str, resource: Mapping[str, Any]) -> str:
    """Why a resource of CodeDeploy has no block of its own."""
    if kind == CONFIG:
        return "part of the deployment groups that use it"
    name = application_name(resource)
    if kind == APPLICATION and is_in_aws_only(resource):
        return "kept as data: its deployments are in AWS"
    if not is_known(name):
        return "kept as data: the name of its application is not known; import with --parameter NAME=VALUE"
    if not is_known(group_name(resource)):
        return f"kept as data: its name is not known; import with --parameter {logical_id}=NAME"
    return f"part of application {name!r}"


def _mapping(resource: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = resource.get(key)
    return found if isinstance(found, dict) else {}
