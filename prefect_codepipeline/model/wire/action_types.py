"""AWS's own action and rule types, as ListActionTypes and ListRuleTypes show them."""

from __future__ import annotations

from typing import Any

from prefect_codepipeline.model.definition.action_types import ActionType

# The most that AWS's model of the API allows; some types have more.
_MOST_PROPERTIES, _MOST_ARTIFACTS, _LONGEST_DESCRIPTION = 10, 5, 160


def action_type_of(row: ActionType) -> dict[str, Any]:
    """A row of AWS's table as `ActionType`."""
    return {
        "id": _id(row),
        "actionConfigurationProperties": _properties(row),
        "inputArtifactDetails": _details(row.input_artifacts),
        "outputArtifactDetails": _details(row.output_artifacts),
    }


def rule_type_of(row: ActionType) -> dict[str, Any]:
    """A row of AWS's table as `RuleType`."""
    return {
        "id": _id(row),
        "ruleConfigurationProperties": _properties(row),
        "inputArtifactDetails": _details(row.input_artifacts),
    }


def _id(row: ActionType) -> dict[str, str]:
    return {"category": row.category, "owner": row.owner, "provider": row.provider, "version": row.version}


def _properties(row: ActionType) -> list[dict[str, Any]]:
    # Required ones first where not all fit.
    first = sorted(row.configuration, key=lambda key: not key.required)[:_MOST_PROPERTIES]
    return [
        {
            "name": key.key,
            "required": key.required,
            "key": key.required,
            "secret": key.secret,
            "queryable": False,
            "description": key.description[:_LONGEST_DESCRIPTION] or None,
        }
        for key in first
    ]


def _details(counts: tuple[int, int]) -> dict[str, int]:
    least, most = (min(count, _MOST_ARTIFACTS) for count in counts)
    return {"minimumCount": least, "maximumCount": most}
