"""Tags of pipelines, webhooks and custom action types."""

from __future__ import annotations

from prefect_codepipeline.engine.operations.tagging import remove_tags, tags_of
from prefect_codepipeline.gateway.aws.operations.tagged import check_resource, put_tags_of
from prefect_codepipeline.gateway.aws.protocol.call import Call, Members, Operations
from prefect_codepipeline.gateway.aws.protocol.pages import page_of
from prefect_codepipeline.model.wire.tag_lists import tag_list, tags_in


def tag_resource(call: Call) -> Members:
    """Add tags, and change the values of those that are there."""
    put_tags_of(call.members["resourceArn"], call.account, tags_in(call.members["tags"]))
    return {}


def untag_resource(call: Call) -> Members:
    """Remove tags; one that is not there is no error."""
    arn = call.members["resourceArn"]
    check_resource(arn, call.account)
    remove_tags(arn, call.members["tagKeys"])
    return {}


def list_tags_for_resource(call: Call) -> Members:
    """The tags of a resource, by key."""
    arn = call.members["resourceArn"]
    check_resource(arn, call.account)
    page, token = page_of(tag_list(tags_of(arn)), call, lambda tag: (tag["key"],))
    return {"tags": page, "nextToken": token}


OPERATIONS: Operations = {
    "ListTagsForResource": list_tags_for_resource,
    "TagResource": tag_resource,
    "UntagResource": untag_resource,
}
