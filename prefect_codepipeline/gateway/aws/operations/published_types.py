"""Published action types, which job workers of their publishers serve."""

from __future__ import annotations

from prefect_codepipeline.engine.operations.action_types import find_published_type, update_published_type
from prefect_codepipeline.gateway.aws.protocol.call import Call, Members, Operations
from prefect_codepipeline.model.definition.declaration import ActionTypeId


def get_action_type(call: Call) -> Members:
    """What a published action type is."""
    return {"actionType": find_published_type(ActionTypeId.model_validate(call.members)).declaration}


def update_action_type(call: Call) -> None:
    """Replace what a published action type is."""
    update_published_type(call.members["actionType"])


OPERATIONS: Operations = {
    "GetActionType": get_action_type,
    "UpdateActionType": update_action_type,
}
