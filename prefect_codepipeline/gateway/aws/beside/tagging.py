"""The Resource Groups Tagging API: the tagged resources of the account, and tags of several resources at once.

https://docs.aws.amazon.com/resourcegroupstagging/latest/APIReference/overview.html
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from prefect_codepipeline.engine.operations.tagging import all_tags, check_keys, remove_tags
from prefect_codepipeline.errors import InvalidNextTokenException, PipelineServiceError
from prefect_codepipeline.gateway.aws.operations.tagged import check_resource, kind_of, put_tags_of
from prefect_codepipeline.gateway.aws.protocol.call import Call, Members, Operations
from prefect_codepipeline.gateway.aws.protocol.json import ApiError
from prefect_codepipeline.gateway.aws.protocol.pages import LARGEST_PAGE, page_of
from prefect_codepipeline.gateway.aws.signing.permissions import is_visible

_SERVICE = "codepipeline"


def get_resources(call: Call) -> Members:
    """The resources that have tags, and pass all filters."""
    members = call.members
    arns = members.get("ResourceARNList")
    if arns and (members.get("ResourceTypeFilters") or members.get("TagFilters")):
        raise _wrong("ResourceARNList can not be given together with ResourceTypeFilters or TagFilters.")
    found = [
        (call.account.resource(name), tags)
        for name, tags in sorted(all_tags().items())
        if _is_of_type(name, members.get("ResourceTypeFilters"))
        and all(_has_tag(tags, each) for each in members.get("TagFilters", []))
    ]
    if arns:
        found = [each for each in found if each[0] in arns]
    page, token = _page(call, [each for each in found if is_visible(call.caller, each[0])])
    return {
        "PaginationToken": token or "",
        "ResourceTagMappingList": [
            {"ResourceARN": arn, "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
            for arn, tags in page
        ],
    }


def tag_resources(call: Call) -> Members:
    """Add tags to several resources; what one refuses does not keep the others from it."""
    tags = call.members["Tags"]
    return _each(call, tags, lambda arn: put_tags_of(arn, call.account, tags))


def untag_resources(call: Call) -> Members:
    """Remove tags from several resources."""
    keys = call.members["TagKeys"]

    def remove(arn: str) -> None:
        check_resource(arn, call.account)
        remove_tags(arn, keys)

    return _each(call, keys, remove)


def _each(call: Call, keys: Collection[str], change: Callable[[str], None]) -> Members:
    try:
        check_keys(keys)
    except PipelineServiceError as error:
        raise _wrong(str(error)) from None
    failed: dict[str, Any] = {}
    for arn in dict.fromkeys(call.members["ResourceARNList"]):
        try:
            change(arn)
        except PipelineServiceError as error:
            failed[arn] = {
                "StatusCode": 400,
                "ErrorCode": "InvalidParameterException",
                "ErrorMessage": str(error),
            }
    return {"FailedResourcesMap": failed}


def _page(call: Call, found: list[tuple[str, Any]]) -> tuple[list[tuple[str, Any]], str | None]:
    size = call.members.get("ResourcesPerPage")
    if size is not None and not 1 <= size <= LARGEST_PAGE:
        raise _wrong(f"ResourcesPerPage must be between 1 and {LARGEST_PAGE}.")
    same = {
        name: each
        for name, each in call.members.items()
        if name not in ("PaginationToken", "ResourcesPerPage")
    }
    # The first page may be asked for with an empty token.
    asked = {**same, "nextToken": call.members.get("PaginationToken"), "maxResults": size}
    try:
        return page_of(
            found, Call(call.operation, asked, call.caller, call.request_id), lambda each: (each[0],)
        )
    except InvalidNextTokenException:
        raise _wrong("The PaginationToken is not valid.") from None


def _is_of_type(resource: str, filters: Collection[str] | None) -> bool:
    if not filters:
        return True
    return not {_SERVICE, f"{_SERVICE}:{kind_of(resource)}"}.isdisjoint(filters)


def _has_tag(tags: Mapping[str, str], wanted: Members) -> bool:
    """Whether one tag filter holds: without a key it holds, without values any value does."""
    key, values = wanted.get("Key"), wanted.get("Values")
    return key is None or (key in tags and (not values or tags[key] in values))


def _wrong(message: str) -> ApiError:
    return ApiError("InvalidParameterException", message)


OPERATIONS: Operations = {
    "GetResources": get_resources,
    "TagResources": tag_resources,
    "UntagResources": untag_resources,
}
