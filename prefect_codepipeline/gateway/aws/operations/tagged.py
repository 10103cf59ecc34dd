"""The resources that can have tags: which one an ARN names, and whether it exists."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from prefect_codepipeline.engine.executions.definitions import first_created
from prefect_codepipeline.engine.jobs.action_types import find_type
from prefect_codepipeline.engine.operations.tagging import drop_tags, put_tags
from prefect_codepipeline.engine.triggers.pipeline_webhooks import find_webhook
from prefect_codepipeline.errors import InvalidArnException, ResourceNotFoundException
from prefect_codepipeline.model.definition.declaration import ActionTypeId
from prefect_codepipeline.model.wire.arns import Account

_NAME = r"[A-Za-z0-9.@\-_]{1,100}"
_PIPELINE = re.compile(_NAME)
_WEBHOOK = re.compile(rf"webhook:(?P<name>{_NAME})")
_TYPE = re.compile(
    r"actiontype:(?P<owner>Custom|ThirdParty)/(?P<category>Source|Build|Deploy|Test|Invoke|Approval|Compute)"
    r"/(?P<provider>[0-9A-Za-z_\-]{1,35})/(?P<version>[0-9A-Za-z_\-]{1,9})"
)


def check_resource(arn: str, account: Account) -> None:
    """Check that a resource exists.

    Raises:
        InvalidArnException: the ARN is not one of a pipeline, a webhook or an action type.
        ResourceNotFoundException: there is no such resource in this account and region.
    """
    parts = arn.split(":", 5)
    name = parts[5] if len(parts) == 6 and parts[0] == "arn" else ""
    kind = kind_of(name)
    if not kind:
        raise InvalidArnException(f"Invalid ARN: {arn}")
    if arn != account.resource(name) or not _FINDERS[kind](name):
        raise ResourceNotFoundException(
            f"The account with id '{parts[4]}' does not include {_described(name)}"
        )


def put_tags_of(arn: str, account: Account, tags: Mapping[str, str]) -> None:
    """Add tags to a resource that exists. Raises as `check_resource` and `put_tags`."""
    check_resource(arn, account)
    put_tags(arn, tags)
    try:
        check_resource(arn, account)
    except ResourceNotFoundException:  # deleted meanwhile; the next of its name must not have these tags
        drop_tags(arn)
        raise


def kind_of(resource: str) -> str:
    """Whether a resource is a `pipeline`, a `webhook` or an `actiontype`; empty if it can be none of these."""
    for kind, pattern in (("pipeline", _PIPELINE), ("webhook", _WEBHOOK), ("actiontype", _TYPE)):
        if pattern.fullmatch(resource):
            return kind
    return ""


def _described(resource: str) -> str:
    kind = kind_of(resource)
    name = resource.partition(":")[2] or resource
    noun = {"pipeline": "a pipeline", "webhook": "a webhook", "actiontype": "an action type"}[kind]
    return f"{noun} with the name '{name}'"


def _has_pipeline(resource: str) -> bool:
    return first_created(resource) is not None


def _has_webhook(resource: str) -> bool:
    found = _WEBHOOK.fullmatch(resource)
    return found is not None and find_webhook(found["name"]) is not None


def _has_type(resource: str) -> bool:
    found = _TYPE.fullmatch(resource)
    return found is not None and find_type(ActionTypeId.model_validate(found.groupdict())) is not None


_FINDERS: dict[str, Callable[[str], bool]] = {
    "pipeline": _has_pipeline,
    "webhook": _has_webhook,
    "actiontype": _has_type,
}
