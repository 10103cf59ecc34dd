"""The blocks that the actions of a pipeline need, and the commands that create them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prefect_codepipeline.deployments.files.resource_kinds import BlockOf, blocks_of
from prefect_codepipeline.deployments.files.resources import Beside
from prefect_codepipeline.model.codedeploy.applications import application_block
from prefect_codepipeline.model.definition.declaration import ActionDeclaration
from prefect_codepipeline.model.definition.variables import find_references
from prefect_codepipeline.model.stored.definition import MASK

# The existing blocks of each type: block type slug, then block name, then fields.
Blocks = Mapping[str, Mapping[str, Mapping[str, Any]]]
_URLS = {
    "CodeStarSourceConnection": "https://github.com/{FullRepositoryId}.git",
    "GitHub": "https://github.com/{Owner}/{Repo}.git",
    "CodeCommit": "https://git-codecommit.us-east-1.amazonaws.com/v1/repos/{RepositoryName}",
}


@dataclass(frozen=True)
class Need:
    """A required block.

    `state` is present, missing, created by deploy, or unknown without a server; `command` creates the block.
    """

    kind: str
    name: str
    state: str
    command: str = ""


def blocks_of_deploy(beside: Beside) -> list[BlockOf]:
    """The blocks that `deploy` creates from the resources of an import."""
    found = blocks_of(beside.resources)
    return [block for block in found if block.url_template or block.fields is not None]


def needs_of(action: ActionDeclaration, blocks: Blocks | None, created: list[BlockOf]) -> Iterator[Need]:
    """The blocks that an action needs.

    Args:
        action: the action.
        blocks: the existing blocks; None without a server.
        created: the blocks that `deploy` creates.
    """
    configuration, provider = action.configuration, action.action_type_id.provider
    if provider == "CodeStarSourceConnection":
        value = configuration.get("ConnectionArn", "")
        if "${" not in value:  # an unknown value is asked for, not a block of that name
            yield _connection((value,), provider, blocks, created)
    elif provider == "CodeCommit":
        yield _connection(("codecommit", "default"), provider, blocks, created)
    elif provider == "GitHub" and configuration.get("OAuthToken") == MASK:
        yield _connection(("github", "default"), provider, blocks, created)
    elif provider == "CodeDeploy":
        yield from _application(configuration, blocks, created)
    for variable in action.environment_variables or []:
        if variable.type == "SECRETS_MANAGER" and not any(find_references(variable.value)):
            command = f"codepipeline secret add {shlex.quote(variable.value)}"
            yield need_by_name("secret", (variable.value,), blocks, command)


def need_of_resource(block: BlockOf, blocks: Blocks | None) -> Need:
    """The state of the block that belongs to a resource."""
    if block.fields is not None:
        application = block.fields.get("application_name")
        existing = application_block(application, (blocks or {}).get(block.kind, {})) if application else None
        return need_by_name(block.kind, (existing or block.name,), blocks)
    need = _by_arn(block.connection_arn, blocks) if block.connection_arn else None
    if need is None or need.state == "missing":
        return need_by_name("git-connection", (block.name,), blocks)
    return need


def need_by_name(kind: str, names: tuple[str, ...], blocks: Blocks | None, command: str = "") -> Need:
    """The first existing block of these names, or a missing one."""
    if blocks is None:
        return Need(kind, " or ".join(names), "unknown")
    existing = blocks.get(kind, {})
    found = next((name for name in names if name in existing), None)
    if found:
        return Need(kind, found, "present")
    return Need(kind, " or ".join(names), "missing", command)


def _connection(names: tuple[str, ...], provider: str, blocks: Blocks | None, created: list[BlockOf]) -> Need:
    is_arn = names[0].startswith("arn:")
    command = ["codepipeline connection add", "github" if is_arn else shlex.quote(names[0])]
    command += ["--url", shlex.quote(_URLS[provider]), *(["--arn", shlex.quote(names[0])] if is_arn else [])]
    command += ["--token"] if provider != "CodeCommit" else ["--username NAME --token"]
    created_names = {block.name for block in created if block.url_template}
    created_arns = {block.connection_arn for block in created}
    if is_arn:
        need = _by_arn(names[0], blocks, " ".join(command))
    else:
        need = need_by_name("git-connection", names, blocks, " ".join(command))
    if need.state == "missing" and (created_names & set(names) or names[0] in created_arns):
        return Need(need.kind, need.name, "created by deploy")
    return need


def _application(
    configuration: Mapping[str, str], blocks: Blocks | None, created: list[BlockOf]
) -> Iterator[Need]:
    """The block of an application, and the keys of its group; without one, AWS is asked for the deployment group."""
    kind, name = "codedeploy-application", configuration.get("ApplicationName", "")
    existing = (blocks or {}).get(kind, {})
    if found := application_block(name, existing):
        yield Need(kind, found, "present")
        fields = existing[found]
    elif own := [block for block in created if block.fields and block.fields.get("application_name") == name]:
        yield Need(kind, own[0].name, "unknown" if blocks is None else "created by deploy")
        fields = own[0].fields or {}
    else:
        return
    for group in fields.get("deployment_groups") or []:
        if group.get("name") == configuration.get("DeploymentGroupName"):
            yield from _keys(group.get("ssh") or {}, blocks)


def _keys(ssh: Mapping[str, Any], blocks: Blocks | None) -> Iterator[Need]:
    """The secrets with which hosts are logged in to."""
    for field in ("private_key_secret", "passphrase_secret"):
        if name := ssh.get(field):
            command = f"codepipeline secret add {shlex.quote(name)} --value-stdin"
            yield need_by_name("secret", (name,), blocks, command)


def _by_arn(arn: str, blocks: Blocks | None, command: str = "") -> Need:
    if blocks is None:
        return Need("git-connection", arn, "unknown")
    for name, data in blocks.get("git-connection", {}).items():
        if data.get("connection_arn") == arn:
            return Need("git-connection", name, "present")
    return Need("git-connection", arn, "missing", command)
