"""The JSON Schema of a definition file, with which editors complete and check pipelines.

Draft 7 has the best support in editors: https://json-schema.org/draft-07
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prefect_codepipeline.model.definition.action_types import (
    ActionType,
    ConfigurationKey,
    action_types,
    rule_types,
)
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.validation.fields import pattern_of
from prefect_codepipeline.model.validation.structure import MOST_ACTIONS_OF_A_STAGE, MOST_STAGES

_DESCRIPTIONS = Path(__file__).with_name("field_descriptions.json")
_VARIABLE = r"#\{.+\}"


def pipeline_schema() -> dict[str, Any]:
    """The schema of a pipeline, either at the top level or below the key `pipeline`, as AWS prints it."""
    declared = PipelineDeclaration.model_json_schema(by_alias=True, ref_template="#/definitions/{model}")
    definitions: dict[str, Any] = declared.pop("$defs")
    definitions["PipelineDeclaration"] = declared
    for name, definition in definitions.items():
        _describe(name, definition)
    _tidy(definitions)
    declared["properties"]["stages"] |= {"minItems": 2, "maxItems": MOST_STAGES}
    definitions["StageDeclaration"]["properties"]["actions"]["maxItems"] = MOST_ACTIONS_OF_A_STAGE
    _add_types(definitions, "ActionDeclaration", "actionTypeId", list(action_types().values()))
    _add_types(definitions, "RuleDeclaration", "ruleTypeId", list(rule_types().values()))
    wrapped = {
        "type": "object",
        "required": ["pipeline"],
        "additionalProperties": False,
        "properties": {
            "pipeline": {"$ref": "#/definitions/PipelineDeclaration"},
            "metadata": {
                "type": "object",
                "description": "Metadata that AWS adds when it prints a pipeline; ignored.",
            },
        },
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A pipeline of AWS CodePipeline",
        "if": {"required": ["pipeline"]},
        "then": wrapped,
        "else": {"$ref": "#/definitions/PipelineDeclaration"},
        "definitions": definitions,
    }


def _describe(name: str, definition: dict[str, Any]) -> None:
    descriptions = json.loads(_DESCRIPTIONS.read_text("utf-8"))[name]
    for field, schema in definition["properties"].items():
        schema["description"] = descriptions[field]


def _tidy(schema: Any) -> None:
    """Remove pydantic's additions that editors do not need, and convert patterns to JavaScript syntax."""
    if isinstance(schema, list):
        for item in schema:
            _tidy(item)
    if not isinstance(schema, dict):
        return
    if isinstance(schema.get("title"), str):
        del schema["title"]
    if isinstance(schema.get("pattern"), str):
        schema["pattern"] = f"^(?:{pattern_of(schema['pattern'])})$"
    if schema.get("default", 0) is None:
        del schema["default"]
    _flatten(schema)
    for inner in list(schema.values()):
        _tidy(inner)


def _flatten(schema: dict[str, Any]) -> None:
    """Replace `anyOf` of a schema and null by that schema: an absent field is left out, never null."""
    choices = [choice for choice in schema.get("anyOf", []) if choice != {"type": "null"}]
    if len(choices) != 1:
        return
    del schema["anyOf"]
    if "$ref" in choices[0]:
        schema["allOf"] = choices  # draft 7 ignores all keys beside a `$ref`
    else:
        schema.update(choices[0])


def _add_types(definitions: dict[str, Any], owner: str, field: str, types: list[ActionType]) -> None:
    """Add the requirements of each type to the schema of actions or rules."""
    kinds = definitions["ActionTypeId" if field == "actionTypeId" else "RuleTypeId"]
    kinds["properties"]["provider"]["examples"] = sorted({kind.provider for kind in types})
    kinds["properties"]["version"].setdefault("examples", ["1"])
    definitions[owner]["allOf"] = [_demands(kind, field) for kind in types if not kind.published]


def _demands(kind: ActionType, field: str) -> dict[str, Any]:
    is_it: dict[str, Any] = {"category": {"const": kind.category}, "provider": {"const": kind.provider}}
    named = list(is_it)
    if field == "actionTypeId":
        is_it["owner"] = {"const": kind.owner}
        named.append("owner")
    else:  # AWS's rules may leave it out
        is_it["owner"] = {"not": {"const": "Custom"}}
    required = [key.key for key in kind.configuration if key.required]
    then: dict[str, Any] = {
        "properties": {
            "configuration": {
                "properties": {key.key: _schema_of_key(key) for key in kind.configuration},
                "required": required,
                "additionalProperties": False,
            },
            **dict(_artifacts(kind, field)),
        }
    }
    if required:
        then["required"] = ["configuration"]
    return {
        "if": {"required": [field], "properties": {field: {"required": named, "properties": is_it}}},
        "then": then,
    }


def _artifacts(kind: ActionType, field: str) -> Iterator[tuple[str, dict[str, int]]]:
    least, most = kind.input_artifacts
    yield "inputArtifacts", {"minItems": least, "maxItems": most}
    if field == "actionTypeId":
        least, most = kind.output_artifacts
        yield "outputArtifacts", {"minItems": least, "maxItems": most}


def _schema_of_key(key: ConfigurationKey) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string", "minLength": 1}
    if key.type in ("enum", "boolean"):
        values = [*key.allowed, *(["True", "False"] if key.type == "boolean" else [])]
        # Editors suggest the values of the enumeration; a variable is allowed too.
        schema["anyOf"] = [{"enum": values}, {"pattern": _VARIABLE}]
    if key.type in ("integer", "number"):
        schema["pattern"] = rf"^-?[0-9.]+$|{_VARIABLE}"
    if key.pattern:
        schema["pattern"] = f"^(?:{key.pattern})$|{_VARIABLE}"
    if key.default is not None:
        schema["default"] = key.default
    texts = [key.description, f"required {key.required_when}" if key.required_when else ""]
    if description := "; ".join(filter(None, texts)):
        schema["description"] = description
    return schema
