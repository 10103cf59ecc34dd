"""Write unknown values as references that CloudFormation resolves: to resources, functions and parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from typing import Any

from prefect_codepipeline.deployments.cloudformation.known_values import PSEUDO_PARAMETERS
from prefect_codepipeline.deployments.files.resources import MissingValue
from prefect_codepipeline.model.definition.placeholders import name_in_placeholder

_NAME = re.compile(r"\$\{([^{}]*)\}")
_LONGEST_ID = 255
_TAKE_LISTS = {"Fn::Join", "Fn::Select"}


class References:
    """The references of one template.

    `parameters` are the declarations of the parameters that were referred to so far.

    Args:
        missing: the unknown values by name.
        resources: the logical ids of the template's resources.
    """

    def __init__(self, missing: Mapping[str, MissingValue], resources: Set[str]) -> None:
        self._missing = missing
        self._resources = resources
        self._ids: dict[str, str] = {}
        self.parameters: dict[str, dict[str, Any]] = {}

    def written(self, part: Any) -> Any:
        """A part of the template with a reference for each `${name}` of an unknown value, and for each placeholder."""
        if isinstance(part, list):
            return [self.written(item) for item in part]
        if isinstance(part, dict):
            return {key: self.written(value) for key, value in part.items()}
        return self._text(part) if isinstance(part, str) else part

    def _text(self, text: str) -> Any:
        if name := name_in_placeholder(text):
            return {"Ref": self._parameter(name)}
        names = [name for name in dict.fromkeys(_NAME.findall(text)) if name in self._missing]
        if not names:
            return text
        if text == "${" + names[0] + "}":
            return self._reference(names[0])
        variables: dict[str, Any] = {}
        spelled = {name: self._in_text(name, variables) for name in names}
        # Every other `${...}` is escaped: it is no reference.
        substituted = _NAME.sub(lambda match: "${" + spelled.get(match[1], f"!{match[1]}") + "}", text)
        return {"Fn::Sub": [substituted, variables] if variables else substituted}

    def _in_text(self, name: str, variables: dict[str, Any]) -> str:
        """The name inside of `Fn::Sub`."""
        reference = self._reference(name)
        if "Ref" in reference:
            return str(reference["Ref"])
        if "Fn::GetAtt" in reference:
            return ".".join(reference["Fn::GetAtt"])
        variable = _distinct(name, variables)
        variables[variable] = reference
        return variable

    def _reference(self, name: str, is_list: bool = False) -> dict[str, Any]:
        missing = self._missing[name]
        if missing.function is not None:
            return self._function(missing.function)
        resource, dot, attribute = name.partition(".")
        if resource in self._resources:
            return {"Fn::GetAtt": [resource, attribute]} if dot else {"Ref": resource}
        return {"Ref": name if name in PSEUDO_PARAMETERS else self._parameter(name, is_list)}

    def _function(self, function: Any) -> dict[str, Any]:
        ((key, argument),) = function.items()
        if key in _TAKE_LISTS and isinstance(argument, list) and isinstance(argument[1], str):
            found = _NAME.fullmatch(argument[1])
            if found and found[1] in self._missing:
                return {key: [self.written(argument[0]), self._reference(found[1], is_list=True)]}
        return {key: self.written(argument)}

    def _parameter(self, name: str, is_list: bool = False) -> str:
        """The id of the parameter for a value; it is declared here."""
        if name not in self._ids:
            own = self._ids[name] = _distinct(name, self.parameters.keys() | self._resources)
            missing = self._missing.get(name, MissingValue("", ()))
            declared = {"Type": "CommaDelimitedList" if is_list else "String"}
            if missing.what:
                declared["Description"] = missing.what
            self.parameters[own] = dict(missing.parameter or declared)
        return self._ids[name]


def id_of(name: str) -> str:
    """The letters and digits of a name, as ids in a template have only these."""
    return re.sub(r"[^A-Za-z0-9]", "", name)


def _distinct(name: str, taken: Mapping[str, Any] | Set[str]) -> str:
    """An id for a name that is not taken."""
    own = id_of(name)[: _LONGEST_ID - 3] or "Value"
    number, found = 1, own
    while found in taken:
        number += 1
        found = f"{own}{number}"
    return found
