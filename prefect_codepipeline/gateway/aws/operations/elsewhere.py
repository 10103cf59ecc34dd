"""What a request for another region than the gateway's is answered: an account that has nothing there.

Tools that look for what an account has ask in all regions.
"""

from __future__ import annotations

from prefect_codepipeline.gateway.aws.operations import operations
from prefect_codepipeline.gateway.aws.protocol.call import Call, Members
from prefect_codepipeline.gateway.aws.protocol.json import ApiError
from prefect_codepipeline.gateway.aws.protocol.service_model import CODEPIPELINE, service_model
from prefect_codepipeline.gateway.aws.signing.permissions import refusal
from prefect_codepipeline.gateway.aws.signing.resources import Resource, resource_of

_EMPTY: dict[str, Members] = {
    "ListPipelines": {"pipelines": []},
    "ListWebhooks": {"webhooks": []},
    "GetResources": {"ResourceTagMappingList": []},
}
# AWS's own types are in all regions.
_OF_AWS = {"ListActionTypes": "actionOwnerFilter", "ListRuleTypes": "ruleOwnerFilter"}
# To delete what is not there is no error.
_DELETES = {"DeletePipeline", "DeleteCustomActionType", "DeleteWebhook"}
_IS_NOT_THERE = {
    "PipelineNotFoundException": "Account '{account}' does not have a pipeline with name '{name}'",
    "WebhookNotFoundException": "The webhook '{name}' was not found",
    "JobNotFoundException": "The job was not found",
    "ActionTypeNotFoundException": "ActionType {name} is not available",
    "ResourceNotFoundException": "The account with id '{account}' does not include the resource '{arn}'",
}


def answer_elsewhere(call: Call, service: str = CODEPIPELINE) -> Members | None:
    """The answer of an account that has no pipelines, webhooks, action types, jobs and tags.

    Raises:
        ApiError: what the request names is not there, or it would create something.
    """
    if call.operation in _EMPTY:
        return _EMPTY[call.operation]
    if call.operation in _DELETES:
        return {}
    if call.operation in _OF_AWS:
        return _of_aws(call)
    arns = call.members.get("ResourceARNList")
    if arns:
        return {"FailedResourcesMap": {arn: _failure() for arn in arns}}
    resource = resource_of(call.operation, call.members, call.caller)
    model = service_model(service).operation_model(call.operation)
    listed = {shape.name for shape in model.error_shapes}
    if found := next((name for name in _IS_NOT_THERE if name in listed), None):
        raise ApiError(found, _message(found, call, resource))
    raise _only_at_home(call, service, resource)


def _of_aws(call: Call) -> Members | None:
    """Its own types, of which the operation gives as many as the request allows."""
    filtered = _OF_AWS[call.operation]
    if call.members.get(filtered, "AWS") != "AWS":
        return {"actionTypes": []}
    members = {**call.members, filtered: "AWS"}
    return operations()[call.operation](Call(call.operation, members, call.caller, call.request_id))


def _failure() -> Members:
    return {
        "StatusCode": 400,
        "ErrorCode": "InvalidParameterException",
        "ErrorMessage": "The resource is not in this account and region",
    }


def _message(exception: str, call: Call, resource: Resource) -> str:
    name = resource.pipeline_name or resource.arn.rpartition(":")[2]
    if exception == "ActionTypeNotFoundException":
        owner, category, provider, version = name.split("/")
        name = f"(Category: '{category}', Owner: '{owner}', Provider: '{provider}', Version: '{version}')"
    return _IS_NOT_THERE[exception].format(account=call.account.id, name=name, arn=resource.arn)


def _only_at_home(call: Call, service: str, resource: Resource) -> ApiError:
    refused = refusal(call.caller, f"{service}:{call.operation}", resource.arn)
    return ApiError(refused.code, f"{refused.message}: this gateway has pipelines in another region")
