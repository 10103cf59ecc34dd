"""The revision of a task definition that an action registers, and finds again by a tag.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RegisterTaskDefinition.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any

from prefect_codepipeline.actions.aws.account import client_of
from prefect_codepipeline.actions.aws.client import translated
from prefect_codepipeline.actions.aws.console import console_url
from prefect_codepipeline.actions.aws.remote_work import Work, started
from prefect_codepipeline.actions.registry import ActionContext

TAG = "codepipeline:action-execution-id"
_STEP = "task-definition"
# Tags of AWS itself, such as those of a stack, cannot be given.
_TAGS_OF_AWS = "aws:"
# So many of the newest revisions are looked at to find one again.
_NEWEST_REVISIONS = 50
_CLOCKS_DIFFER = timedelta(minutes=5)


def registered(
    context: ActionContext, ecs: Any, arguments: Callable[[], Mapping[str, Any]], family: Callable[[], str]
) -> Work:
    """The revision of the action, registered once in its life.

    Args:
        context: of the action.
        ecs: its client.
        arguments: of `RegisterTaskDefinition`, called only to register.
        family: of the task definition, called only to find what was registered.
    """
    return started(
        context, _STEP, lambda: _register(context, arguments()), lambda: _find(context, ecs, family())
    )


def describe(ecs: Any, name: str) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """A task definition by its ARN, and its tags."""
    with translated(f"looking up task definition {name!r}"):
        answer = ecs.describe_task_definition(taskDefinition=name, include=["TAGS"])
    return dict(answer["taskDefinition"]), list(answer.get("tags") or ())


def arguments_of(
    ecs: Any, definition: Mapping[str, Any], tags: Iterable[Mapping[str, str]]
) -> dict[str, Any]:
    """The arguments that register a revision with the content of this one."""
    given = {
        key: value for key, value in definition.items() if key in accepted_keys(ecs) and value is not None
    }
    return {**given, "tags": [dict(tag) for tag in tags if not tag["key"].startswith(_TAGS_OF_AWS)]}


def accepted_keys(ecs: Any) -> set[str]:
    """The keys of a task definition that can be given, by the installed boto3."""
    operation = ecs.meta.service_model.operation_model("RegisterTaskDefinition")
    return set(operation.input_shape.members)


def family_of(arn: str) -> str:
    """`web` of `arn:aws:ecs:eu-west-1:111122223333:task-definition/web:7`."""
    return short_name(arn).partition(":")[0]


def short_name(arn: str) -> str:
    """`web:7` of `arn:aws:ecs:eu-west-1:111122223333:task-definition/web:7`."""
    return arn.rpartition("/")[2]


def _register(context: ActionContext, arguments: Mapping[str, Any]) -> Work:
    # No token exists: the request is not repeated, the revision is looked for first.
    ecs = client_of(context, "ecs", attempts=0)
    own = {"key": TAG, "value": context.action_execution_id}
    family, region = arguments.get("family"), ecs.meta.region_name
    with translated(f"registering a revision of task definition {family!r} in region {region}"):
        answer = ecs.register_task_definition(**{**arguments, "tags": [*arguments.get("tags", ()), own]})
    return _work(answer["taskDefinition"]["taskDefinitionArn"])


def _find(context: ActionContext, ecs: Any, family: str) -> Work | None:
    since = context.earlier.started_at - _CLOCKS_DIFFER if context.earlier else None
    with translated(f"looking for a revision of task definition {family!r}"):
        pages = ecs.get_paginator("list_task_definitions").paginate(
            familyPrefix=family, sort="DESC", PaginationConfig={"MaxItems": _NEWEST_REVISIONS}
        )
        arns = [arn for page in pages for arn in page["taskDefinitionArns"]]
    for arn in arns:
        definition, tags = describe(ecs, arn)
        if {"key": TAG, "value": context.action_execution_id} in tags:
            return _work(arn)
        if since and "registeredAt" in definition and definition["registeredAt"] < since:
            return None
    return None


def _work(arn: str) -> Work:
    family, _, revision = short_name(arn).partition(":")
    return Work(arn, console_url(arn, f"ecs/v2/task-definitions/{family}/{revision}?region={{region}}"))
