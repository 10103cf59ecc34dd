"""Create the action types of the `AWS::CodePipeline::CustomActionType` resources beside a definition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from prefect_codepipeline.deployments.files.own_types import CUSTOM_TYPE, type_in
from prefect_codepipeline.deployments.resource_tags import put_declared_tags
from prefect_codepipeline.engine.jobs.action_types import find_type
from prefect_codepipeline.engine.operations.action_types import create_type
from prefect_codepipeline.errors import CodePipelineError
from prefect_codepipeline.model.stored.action_type import StoredActionType
from prefect_codepipeline.model.wire.arns import Account
from prefect_codepipeline.prefect_api.block_documents import field_problems


def make_types(resources: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Create each action type that does not exist, and return a sentence for each. A version never changes."""
    return [
        f"{logical_id} ({CUSTOM_TYPE}): {_create(resource.get('Properties') or {})}"
        for logical_id, resource in resources.items()
        if resource.get("Type") == CUSTOM_TYPE
    ]


def _create(properties: Mapping[str, Any]) -> str:
    try:
        wanted = StoredActionType.of(type_in(properties))
        if find_type(wanted.id) == wanted:
            return f"action type {wanted.id} exists"
        create_type(wanted)
    except ValidationError as error:
        return f"kept as data: {field_problems(error)}"
    except CodePipelineError as error:
        return f"kept as data: {error}"
    left_out = put_declared_tags(Account().action_type(wanted.arn_kind), properties)
    return f"created action type {wanted.id}" + (f"; {left_out}" if left_out else "")
