"""What a key may do: a table of all operations, and the pipelines of the key.

https://docs.aws.amazon.com/codepipeline/latest/userguide/permissions-reference.html
"""

from __future__ import annotations

from collections.abc import Mapping

from prefect_codepipeline.engine.triggers.pipeline_webhooks import find_webhook
from prefect_codepipeline.gateway.aws.protocol.call import Caller, Members
from prefect_codepipeline.gateway.aws.protocol.json import ApiError
from prefect_codepipeline.gateway.aws.signing.resources import Resource, resource_of
from prefect_codepipeline.model.stored.api_key import Permission

# What each operation needs.
NEEDS: Mapping[str, Permission] = {
    **dict.fromkeys(
        (
            "GetActionType",
            "GetPipeline",
            "GetPipelineExecution",
            "GetPipelineState",
            "ListActionExecutions",
            "ListActionTypes",
            "ListDeployActionExecutionTargets",
            "ListPipelineExecutions",
            "ListPipelines",
            "ListRuleExecutions",
            "ListRuleTypes",
            "ListTagsForResource",
            "ListWebhooks",
            "GetResources",  # of the tagging API
            "GetCallerIdentity",  # of STS, which AWS allows everybody
        ),
        "read",
    ),
    "PutApprovalResult": "approve",
    **dict.fromkeys(
        (
            "DisableStageTransition",
            "EnableStageTransition",
            "OverrideStageCondition",
            "PutActionRevision",
            "RetryStageExecution",
            "RollbackStage",
            "StartPipelineExecution",
            "StopPipelineExecution",
        ),
        "operate",
    ),
    **dict.fromkeys(
        (
            "AcknowledgeJob",
            "AcknowledgeThirdPartyJob",
            "GetJobDetails",
            "GetThirdPartyJobDetails",
            "PollForJobs",
            "PollForThirdPartyJobs",
            "PutJobFailureResult",
            "PutJobSuccessResult",
            "PutThirdPartyJobFailureResult",
            "PutThirdPartyJobSuccessResult",
        ),
        "work",
    ),
    **dict.fromkeys(
        (
            "CreateCustomActionType",
            "CreatePipeline",
            "DeleteCustomActionType",
            "DeletePipeline",
            "DeleteWebhook",
            "DeregisterWebhookWithThirdParty",
            "PutWebhook",
            "RegisterWebhookWithThirdParty",
            "TagResource",
            "UntagResource",
            "UpdateActionType",
            "UpdatePipeline",
            "TagResources",  # of the tagging API
            "UntagResources",  # of the tagging API
        ),
        "admin",
    ),
}
# What each key may do: not all that stands before it, since `work` does jobs and nothing else.
_ALLOWED: Mapping[Permission, frozenset[Permission]] = {
    "read": frozenset({"read"}),
    "approve": frozenset({"read", "approve"}),
    "operate": frozenset({"read", "approve", "operate"}),
    "work": frozenset({"work"}),
    "admin": frozenset({"read", "approve", "operate", "work", "admin"}),
}
_FOR_EVERYBODY = {"GetCallerIdentity"}


def authorize(caller: Caller, operation: str, members: Members, service: str = "codepipeline") -> None:
    """Raises `ApiError`: the key may not do that, or not with that pipeline.

    Args:
        caller: who asks.
        operation: any operation of the services that are here; others are refused to all.
        members: of the request; they need not satisfy the API model.
        service: what stands before the operation in AWS's names of permissions.
    """
    if operation in _FOR_EVERYBODY:
        return  # as in AWS, where no policy can forbid it
    resource = resource_of(operation, members, caller)
    if NEEDS.get(operation) not in _ALLOWED[caller.may] or not _is_own(caller, operation, resource):
        raise refusal(caller, f"{service}:{operation}", resource.arn)


def refusal(caller: Caller, permission: str, arn: str) -> ApiError:
    """The error for what a key may not do."""
    return ApiError(
        "AccessDeniedException",
        f"User: {caller.arn} is not authorized to perform: {permission} on resource: {arn}",
    )


def is_visible(caller: Caller, arn: str) -> bool:
    """Whether a list of tagged resources may show this one to the caller."""
    if caller.sees_all:
        return True
    found = resource_of("ListTagsForResource", {"resourceArn": arn}, caller)
    return found.pipeline_name is not None and caller.sees(found.pipeline_name)


def _is_own(caller: Caller, operation: str, resource: Resource) -> bool:
    """Whether a key for some pipelines may touch the resource: their own, and what belongs to no pipeline to look at."""
    if caller.sees_all:
        return True
    if resource.kind == "webhook":
        known = find_webhook(resource.webhook_name)
        targets = [resource.pipeline_name, str(known.definition["targetPipeline"]) if known else None]
        return all(caller.sees(target) for target in targets if target is not None)
    if resource.pipeline_name is not None:
        return caller.sees(resource.pipeline_name)
    return resource.kind in ("account", "job") or (
        resource.kind == "action type" and NEEDS[operation] != "admin"
    )
