"""Which actions use AWS, and what their settings leave unused."""

from __future__ import annotations

from collections.abc import Iterator

from prefect_codepipeline.model.definition.declaration import ActionTypeId, PipelineDeclaration
from prefect_codepipeline.model.stored.settings import StoredSettings

_SOURCES_AND_BUILDS = {"S3", "ECR", "ECRBuildAndPublish"}


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


def credentials_of(declaration: PipelineDeclaration, settings: StoredSettings) -> list[str]:
    """The names of the AwsCredentials blocks that actions in AWS use."""
    names = (
        settings.for_action(stage.name, action.name).aws.credentials
        for stage in declaration.stages
        for action in stage.actions
        if uses_aws(action.action_type_id)
    )
    return list(dict.fromkeys(filter(None, names)))
