"""What actions on stack sets have in their configuration: parameters, targets and preferences.

https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-StackSets.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, field_validator

from prefect_codepipeline.actions.artifacts.input_files import read_input_file
from prefect_codepipeline.actions.registry import ActionConfiguration
from prefect_codepipeline.actions.work import InputTree
from prefect_codepipeline.errors import wrong_configuration

_MOST_JSON_BYTES = 1_048_576
_FIELDS = ("ParameterKey", "ParameterValue", "UsePreviousValue", "ResolvedValue")
_NEXT_FIELD = rf"(?=(?:{'|'.join(_FIELDS)})=)"
_ACCOUNT = re.compile(r"\d{12}")
_UNIT = re.compile(r"ou-[a-z0-9]{4,32}-[a-z0-9]{8,32}|r-[a-z0-9]{4,32}")


class StackSetOperationConfiguration(ActionConfiguration):
    """The keys that both action types have."""

    stack_set_name: str
    deployment_targets: str | None = None
    regions: tuple[str, ...] = ()
    failure_tolerance_percentage: int | None = Field(None, ge=0, le=100)
    max_concurrent_percentage: int | None = Field(None, ge=0, le=100)
    region_concurrency_type: Literal["Parallel", "Sequential"] = "Sequential"
    concurrency_mode: Literal["STRICT_FAILURE_TOLERANCE", "SOFT_FAILURE_TOLERANCE"] | None = None
    call_as: Literal["SELF", "DELEGATED_ADMIN"] = "SELF"

    @field_validator("regions", mode="before")
    @classmethod
    def _from_list(cls, value: Any) -> Any:
        """`us-east-1,eu-west-1`: every value of a configuration is a text."""
        return _listed(value) if isinstance(value, str) else value

    def preferences(self) -> dict[str, Any]:
        """How an operation goes through accounts and regions, as an argument of CloudFormation's operations."""
        given: dict[str, Any] = {
            "RegionConcurrencyType": self.region_concurrency_type.upper(),
            "FailureTolerancePercentage": self.failure_tolerance_percentage,
            "MaxConcurrentPercentage": self.max_concurrent_percentage,
            "ConcurrencyMode": self.concurrency_mode,
        }
        if self.region_concurrency_type == "Sequential" and self.regions:
            given["RegionOrder"] = list(self.regions)
        return {"OperationPreferences": {name: value for name, value in given.items() if value is not None}}


@dataclass(frozen=True)
class Targets:
    """Accounts or organizational units, in regions."""

    accounts: tuple[str, ...]
    units: tuple[str, ...]
    regions: tuple[str, ...]

    def arguments(self) -> dict[str, Any]:
        """As arguments of CloudFormation's operations."""
        if self.units:
            return {
                "DeploymentTargets": {"OrganizationalUnitIds": list(self.units)},
                "Regions": list(self.regions),
            }
        return {"Accounts": list(self.accounts), "Regions": list(self.regions)}

    def without(self, there: set[tuple[str, str]]) -> Targets | None:
        """The targets in which an instance is missing, or None; `there` has account or unit, and region.

        An operation takes accounts and regions, not pairs of them, so some pairs of the result may be there.
        """
        missing = [
            (target, region)
            for target in self.accounts + self.units
            for region in self.regions
            if (target, region) not in there
        ]
        if not missing:
            return None
        targets, regions = ({pair[index] for pair in missing} for index in (0, 1))
        return Targets(
            tuple(each for each in self.accounts if each in targets),
            tuple(each for each in self.units if each in targets),
            tuple(each for each in self.regions if each in regions),
        )


def read_targets(
    trees: Sequence[InputTree], configuration: StackSetOperationConfiguration, model: str | None = None
) -> Targets:
    """The targets that `DeploymentTargets` and `Regions` name; `model` is the action's PermissionModel, if it has one.

    Raises:
        ActionFailed: with code `ConfigurationError`, a file is missing or wrong, or something is no account or unit.
    """
    text, key = configuration.deployment_targets or "", "DeploymentTargets"
    found = _read_texts(trees, text, key) if "::" in text else _listed(text)
    accounts = tuple(each for each in found if _ACCOUNT.fullmatch(each))
    units = tuple(each for each in found if _UNIT.fullmatch(each))
    if wrong := next((each for each in found if each not in accounts + units), None):
        raise wrong_configuration(
            f"{key}: {wrong!r} is not the id of an account (12 digits), of an organizational unit (ou-…) or of a root (r-…)"
        )
    if not found or (accounts and units):
        raise wrong_configuration(f"{key} {text!r} must have either accounts or organizational units")
    if (model == "SERVICE_MANAGED" and accounts) or (model == "SELF_MANAGED" and units):
        needed = "organizational units" if accounts else "accounts"
        raise wrong_configuration(f"{key} {text!r}: PermissionModel {model} needs {needed}")
    return Targets(accounts, units, configuration.regions)


def read_parameters(trees: Sequence[InputTree], text: str | None, key: str) -> list[dict[str, Any]]:
    """Parameters from shorthand, `ParameterKey=Name,ParameterValue=shop …`, or from a JSON file of an artifact.

    Args:
        trees: the input artifacts of the action.
        text: the value of the configuration key.
        key: the configuration key, for messages.

    Raises:
        ActionFailed: with code `ConfigurationError`, it is not of this form.
    """
    text = (text or "").strip()
    if not text:
        return []
    if any(f"{field}=" in text for field in _FIELDS):
        entries = [
            dict(_field(part, key) for part in re.split(rf",\s*{_NEXT_FIELD}", entry))
            for entry in re.split(rf"\s+{_NEXT_FIELD}", text)
        ]
    else:
        entries = _read_json(trees, text, key)
    return [_parameter(entry, key) for entry in entries]


def _field(text: str, key: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise wrong_configuration(
            f"{key}: {text!r} is not of the form ParameterKey=Name,ParameterValue=value"
        )
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        value = value[1:-1]
    return name, value.replace("\\,", ",")


def _parameter(entry: Any, key: str) -> dict[str, Any]:
    shown = json.dumps(entry)
    if not isinstance(entry, dict) or not entry.get("ParameterKey") or entry.keys() - set(_FIELDS):
        raise wrong_configuration(
            f"{key}: {shown} is no parameter; it has ParameterKey, and {', '.join(_FIELDS[1:])}"
        )
    found = dict(entry)
    if "UsePreviousValue" in found:
        found["UsePreviousValue"] = str(found["UsePreviousValue"]).lower() == "true"
    if "ParameterValue" not in found and not found.get("UsePreviousValue"):
        raise wrong_configuration(f"{key}: parameter {found['ParameterKey']!r} has no ParameterValue")
    value = found.get("ParameterValue", "")
    if isinstance(value, (dict, list)) or value is None:
        raise wrong_configuration(
            f"{key}: the value of {found['ParameterKey']!r} is not a text: {json.dumps(value)}"
        )
    if "ParameterValue" in found:
        found["ParameterValue"] = value if isinstance(value, str) else json.dumps(value)
    return found


def _read_texts(trees: Sequence[InputTree], reference: str, key: str) -> tuple[str, ...]:
    found = _read_json(trees, reference, key)
    if any(not isinstance(each, str) for each in found):
        raise wrong_configuration(f"{key} {reference!r}: the file must have texts in its list, in quotes")
    return tuple(found)


def _read_json(trees: Sequence[InputTree], reference: str, key: str) -> list[Any]:
    content = read_input_file(trees, reference, key, _MOST_JSON_BYTES)
    try:
        found = json.loads(content)
    except ValueError as error:
        raise wrong_configuration(f"{key} {reference!r} is not JSON: {error}") from None
    if not isinstance(found, list):
        raise wrong_configuration(f"{key} {reference!r} is not a JSON list")
    return found


def _listed(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.replace(",", " ").split()))
