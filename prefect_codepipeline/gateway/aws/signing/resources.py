"""What an operation is about, from the members of its request, which may be anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from prefect_codepipeline.gateway.aws.protocol.call import Caller, Members
from prefect_codepipeline.model.wire.arns import Account, resource_in

Kind = Literal["account", "pipeline", "webhook", "action type", "job", "other"]
_LONGEST = 100
_BY_WEBHOOK_NAME = {
    "DeleteWebhook": "name",
    "DeregisterWebhookWithThirdParty": "webhookName",
    "RegisterWebhookWithThirdParty": "webhookName",
}
_BY_PIPELINE_NAME = {"DeletePipeline", "GetPipeline", "GetPipelineState", "StartPipelineExecution"}

_OF_ACCOUNT = {"GetResources", "ListActionTypes", "ListPipelines", "ListRuleTypes", "ListWebhooks"}


@dataclass(frozen=True)
class Resource:
    """What an operation is about.

    Attributes:
        kind: what it is; `other` for what a request does not name rightly.
        arn: as AWS's messages have it.
        pipeline_name: of a pipeline, and of a webhook that is being put.
        webhook_name: of a webhook.
    """

    kind: Kind
    arn: str
    pipeline_name: str | None = None
    webhook_name: str = ""


def resource_of(operation: str, members: Members, caller: Caller) -> Resource:
    """What an operation is about."""
    account = caller.account
    if "resourceArn" in members:
        return _of_arn(_text(members["resourceArn"]), account)
    if name := _BY_WEBHOOK_NAME.get(operation):
        return _webhook(_text(members.get(name)), account)
    if operation == "PutWebhook":
        webhook = _structure(members.get("webhook"))
        return _webhook(_text(webhook.get("name")), account, _text(webhook.get("targetPipeline")))
    if "pipelineName" in members:
        parts = [_text(members[key]) for key in ("pipelineName", "stageName", "actionName") if key in members]
        return Resource("pipeline", account.pipeline("/".join(parts)), parts[0])
    if operation in _BY_PIPELINE_NAME:
        return _pipeline(members.get("name"), account)
    if operation in ("CreatePipeline", "UpdatePipeline"):
        return _pipeline(_structure(members.get("pipeline")).get("name"), account)
    if "jobId" in members:
        return Resource("job", account.pipeline("*"))
    if kind := _action_type(operation, members):
        return Resource("action type", account.action_type(kind))
    return Resource("account" if operation in _OF_ACCOUNT else "other", account.pipeline("*"))


def _pipeline(name: Any, account: Account) -> Resource:
    return Resource("pipeline", account.pipeline(_text(name)), _text(name))


def _webhook(name: str, account: Account, pipeline_name: str | None = None) -> Resource:
    return Resource("webhook", account.webhook(name), pipeline_name, name)


def _of_arn(arn: str, account: Account) -> Resource:
    """The resource of an ARN."""
    name = resource_in(arn)
    if name.startswith("webhook:"):
        return Resource("webhook", arn, None, name.removeprefix("webhook:"))
    if name.startswith("actiontype:"):
        return Resource("action type", arn)
    return Resource("pipeline", arn or account.pipeline("*"), name)


def _action_type(operation: str, members: Members) -> str | None:
    """`Custom/Build/Acme/1` of the members that name an action type."""
    if operation in ("PollForJobs", "PollForThirdPartyJobs"):
        named = _structure(members.get("actionTypeId"))
    elif operation == "UpdateActionType":
        named = _structure(_structure(members.get("actionType")).get("id"))
    elif operation in ("CreateCustomActionType", "DeleteCustomActionType", "GetActionType"):
        named = {"owner": "Custom", **members}
    else:
        return None
    return "/".join(_text(named.get(key)) for key in ("owner", "category", "provider", "version"))


def _structure(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    """The value for a message and for a comparison with patterns: too long a name is no pipeline's."""
    text = value if isinstance(value, str) else ""
    return text if len(text) <= _LONGEST * 3 else f"{text[:_LONGEST]}…"
