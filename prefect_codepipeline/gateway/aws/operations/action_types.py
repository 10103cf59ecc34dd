"""Custom action types: create, delete and list them, and list the rule types."""

from __future__ import annotations

from prefect_codepipeline.engine.jobs.action_types import list_types
from prefect_codepipeline.engine.operations.action_types import create_type, delete_type
from prefect_codepipeline.engine.operations.tagging import check_tags, put_tags, tags_of
from prefect_codepipeline.gateway.aws.protocol.call import Call, Members, Operations
from prefect_codepipeline.gateway.aws.protocol.pages import page_of
from prefect_codepipeline.model.definition.action_types import action_types, rule_types
from prefect_codepipeline.model.definition.declaration import ActionTypeId
from prefect_codepipeline.model.definition.own_types import CustomActionType, check_type
from prefect_codepipeline.model.stored.action_type import StoredActionType
from prefect_codepipeline.model.wire.action_types import action_type_of, rule_type_of
from prefect_codepipeline.model.wire.tag_lists import tag_list, tags_in

# There are more types than this, so that clients follow the pages before it matters.
_PAGE = 25


def create_custom_action_type(call: Call) -> Members:
    """Create a custom action type; creating the same again changes nothing."""
    members = dict(call.members)
    tags = tags_in(members.pop("tags", []))
    wanted = CustomActionType.model_validate(members)
    check_type(wanted)
    stored = StoredActionType.of(wanted)
    arn = call.account.action_type(stored.arn_kind)
    check_tags(arn, tags)
    created = create_type(stored)
    put_tags(arn, tags)
    return {"actionType": created.to_wire(), "tags": tag_list(tags_of(arn))}


def delete_custom_action_type(call: Call) -> None:
    """Delete a custom action type; one that is not there is no error."""
    delete_type(ActionTypeId.model_validate({**call.members, "owner": "Custom"}))


def list_action_types(call: Call) -> Members:
    """AWS's action types, and those that job workers serve here."""
    owner = call.members.get("actionOwnerFilter")
    own = {str(each.id): each.to_wire() for each in list_types()} if _is_here(call) else {}
    # AWS lists custom types only where they were created.
    of_aws = {name: action_type_of(row) for name, row in action_types().items() if row.owner != "Custom"}
    found = [each for each in {**of_aws, **own}.values() if owner in (None, each["id"]["owner"])]
    page, token = page_of(sorted(found, key=_place), call, _place, _PAGE)
    return {"actionTypes": page, "nextToken": token}


def list_rule_types(call: Call) -> Members:
    """The types of rules, which are the same in all regions."""
    return {"ruleTypes": [rule_type_of(row) for row in rule_types().values()]}


def _is_here(call: Call) -> bool:
    return call.members.get("regionFilter") in (None, call.account.region)


def _place(wire: Members) -> tuple[str, ...]:
    kind = wire["id"]
    return kind["owner"], kind["category"], kind["provider"], kind["version"]


OPERATIONS: Operations = {
    "CreateCustomActionType": create_custom_action_type,
    "DeleteCustomActionType": delete_custom_action_type,
    "ListActionTypes": list_action_types,
    "ListRuleTypes": list_rule_types,
}
