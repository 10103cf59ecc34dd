"""Which actions use AWS and with which account, and what their settings leave unused."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.model.definition.action_settings import ActionSettings
from prefect_codepipeline.model.definition.declaration import (
    ActionDeclaration,
    ActionTypeId,
    PipelineDeclaration,
)
from prefect_codepipeline.model.stored.settings import StoredSettings

_SECONDS = 60.0
_SOURCES_AND_BUILDS = {"S3", "ECR", "ECRBuildAndPublish"}


_TO_INSTANCES = ActionTypeId(category="Deploy", owner="AWS", provider="EC2", version="1")


def deploys_to_hosts_of(kind: ActionTypeId, settings: ActionSettings) -> str | None:
    """The name of the DeployHosts block to whose hosts an action deploys, or None."""
    return settings.deploy_hosts if kind == _TO_INSTANCES else None


def uses_aws(kind: ActionTypeId) -> bool:
    """Whether actions of a type do their work in AWS, and not on the worker."""
    return kind.owner == "AWS" and (
        kind.category in ("Deploy", "Invoke") or kind.provider in _SOURCES_AND_BUILDS
    )


def unused_roles(declaration: PipelineDeclaration, settings: StoredSettings) -> Iterator[str]:
    """A sentence about each role of an action in AWS that the settings do not let it assume."""
    for stage in declaration.stages:
        for action in stage.actions:
            if not (action.role_arn and uses_aws(action.action_type_id)):
                continue
            if not settings.for_action(stage.name, action.name).aws.assume_action_role:
                yield (
                    f"roleArn of action {stage.name}/{action.name} is not used; to assume it, set "
                    "'assume_action_role' of 'aws' in the settings"
                )


def blocks_of_settings(declaration: PipelineDeclaration, settings: StoredSettings) -> list[tuple[str, str]]:
    """The blocks that actions use because the settings name them, by type and name: of credentials and of hosts."""
    found: dict[tuple[str, str], None] = {}
    for stage in declaration.stages:
        for action in stage.actions:
            own = settings.for_action(stage.name, action.name)
            if inventory := deploys_to_hosts_of(action.action_type_id, own):
                found["deploy-hosts", inventory] = None
            elif own.aws.credentials and uses_aws(action.action_type_id):
                found["aws-credentials", own.aws.credentials] = None
    return list(found)


def with_values(action: ActionDeclaration, declaration: PipelineDeclaration) -> ActionDeclaration:
    """The action with the default values of the pipeline's variables."""
    defaults = {
        each.name: each.default_value
        for each in declaration.variables or []
        if each.default_value is not None
    }
    configuration = dict(action.configuration)
    for key, text in configuration.items():
        for name, value in defaults.items():
            text = text.replace("#{variables." + name + "}", value)
        configuration[key] = text
    return action.model_copy(update={"configuration": configuration})


def context_of(
    pipeline: str, stage: str, action: ActionDeclaration, settings: StoredSettings
) -> ActionContext:
    """The account, region and endpoint of the action: all that a lookup needs."""
    return ActionContext(
        pipeline_name=pipeline,
        pipeline_execution_id="",
        stage_name=stage,
        action=action,
        action_execution_id="",
        scratch=Path(),
        deadline=time.monotonic() + _SECONDS,
        settings=settings.for_action(stage, action.name),
        logger=logging.getLogger(__name__),
    )
