"""A CloudFormation template, evaluated as far as possible without AWS.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from prefect_codepipeline.deployments.cloudformation.declared import allowed_values, attributes_in_outputs
from prefect_codepipeline.deployments.cloudformation.deployed_stack import DeployedStack
from prefect_codepipeline.deployments.cloudformation.functions import call, truth, with_loops
from prefect_codepipeline.deployments.cloudformation.known_values import (
    ATTRIBUTES,
    MADE_OF_NAME,
    NAMED_HERE,
    NAMES,
    PSEUDO_MEANINGS,
    PSEUDO_PARAMETERS,
)
from prefect_codepipeline.deployments.cloudformation.unknown import (
    NO_VALUE,
    Missing,
    all_with_placeholders,
    as_text,
    bare,
    holds_unknown,
    unknown,
    unknown_names,
)
from prefect_codepipeline.documents.document import Document
from prefect_codepipeline.errors import UnreadableDefinition
from prefect_codepipeline.model.validation import Problem, nearest

MAX_STEPS = 200_000
MAX_TEXT = 1_000_000
MAX_HINTS = 50


@dataclass(frozen=True)
class Resource:
    """An evaluated resource of a template; `path` is the path of its properties in the document."""

    logical_id: str
    type: str
    properties: dict[str, Any]
    path: str
    condition: str | None = None


class Template:
    """The values of a template, given some parameters.

    `problems` are the errors that CloudFormation would report; `missing` are the unknown values that were used.

    Args:
        document: the template.
        given: values by parameter (`Branch`), by pseudo parameter (`AWS::Region`), or by the name of any value
            that only AWS knows (`Role.Arn`).
        stack_name: the value of `AWS::StackName` if it is not given.
        deployed: the stack that the template has made; what is given precedes what it knows.
    """

    def __init__(
        self,
        document: Document,
        given: Mapping[str, str] | None = None,
        stack_name: str = "stack",
        deployed: DeployedStack | None = None,
    ) -> None:
        self.document = document
        self._problems: dict[tuple[str, str], Problem] = {}
        self.missing: dict[str, Missing] = {}
        self.origins: dict[str, str] = {}
        self.undecided: dict[str, str] = {}  # unknown values that conditions compare, with the conditions
        self.skipped: dict[str, str] = {}  # skipped resources, with their conditions
        self.unused = set(given or {})
        self._deployed = deployed
        self._given = {**(deployed.values if deployed else {}), **(given or {})}
        self._pseudo = {**PSEUDO_PARAMETERS, "AWS::StackName": stack_name}
        self._steps = 0
        self._open: list[str] = []
        self._refs: dict[str, Any] = {}
        self._conditions: dict[str, bool] = {}
        for repeated in document.repeated:
            problem = Problem(
                repeated.path, f"{repeated}; the later value is used", severity="warning", rule="template"
            )
            self._problems[problem.path, problem.message] = problem
        self.parameters = self._section("Parameters")
        self.mappings = self._section("Mappings")
        self.conditions = self._section("Conditions")
        self.resources = self._section("Resources")
        if deployed:
            outputs = attributes_in_outputs(self._section("Outputs"), deployed.outputs)
            self._given = {**outputs, **self._given}
        self._check_types()

    # --- queries ---

    def of_types(self, types: set[str]) -> Iterator[Resource]:
        """The evaluated resources of these types whose conditions are true, in their order."""
        for logical_id, resource in self.resources.items():
            if not isinstance(resource, dict) or str(resource.get("Type")) not in types:
                continue
            if self._is_created(logical_id, resource):
                yield self._evaluated(logical_id, resource)
            else:
                self.skipped[logical_id] = str(resource["Condition"])

    def value(self, node: Any, path: str, out: str = "") -> Any:
        """A part of the template with every function replaced by its value.

        Args:
            node: the part.
            path: its path in the document.
            out: its path in the result; `origins` maps result paths to document paths.
        """
        self.step()
        self.origins[out] = path
        if isinstance(node, dict):
            return self._mapping(node, path, out)
        if isinstance(node, list):
            found: list[Any] = []
            for index, item in enumerate(node):
                value = self.value(item, f"{path}[{index}]", f"{out}[{len(found)}]")
                if value is not NO_VALUE:
                    found.append(value)
            return found
        return self._bounded(node)

    def ref(self, name: str, path: str) -> Any:
        """The value of `Ref` for a name."""
        if name == "AWS::NoValue":
            return NO_VALUE
        if name not in self._refs:
            with self._entering(name, path) as is_new:
                if not is_new:
                    return self.lacking(name, f"'{name}' refers to itself")
                self._refs[name] = self._find(name, path)
        return self._refs[name]

    def attribute(self, resource_id: str, attribute: str, path: str) -> Any:
        """The value of `Fn::GetAtt` for an attribute of a resource."""
        name = f"{resource_id}.{attribute}"
        if name in self._given:
            return self.lacking(name, "")
        if self._deployed and (known := self._deployed.attribute(resource_id, attribute)):
            return known
        resource = self.resources.get(resource_id)
        if not isinstance(resource, dict):
            self.problem(
                path, f"Template error: instance of Fn::GetAtt references undefined resource {resource_id}"
            )
            return self.lacking(name, "an attribute of a resource that is not in the template")
        kind = str(resource.get("Type"))
        if (kind, attribute) in ATTRIBUTES:
            return self._property(resource_id, ATTRIBUTES[kind, attribute], name)
        if (kind, attribute) in MADE_OF_NAME:
            return self._built_from_name(resource_id, kind, attribute, path)
        return self.lacking(name, f"attribute {attribute} of {kind}")

    def condition(self, name: str, path: str) -> bool:
        """Whether a condition of the template is true."""
        if name not in self._conditions:
            if name not in self.conditions:
                message = f"Template error: unresolved condition dependency {name}"
                self.problem(path, message, name, self.conditions)
                return False
            with self._entering(f"condition {name}", path) as is_new:
                if not is_new:
                    return False
                where = f"Conditions.{name}"
                self._conditions[name] = truth(self, self.conditions[name], where)
        return self._conditions[name]

    def lacking(
        self,
        name: str,
        what: str,
        function: Any = None,
        parameter: dict[str, Any] | None = None,
        made_of: Iterable[str] = (),
    ) -> str:
        """The given value of that name, or a marked name that records it as missing.

        Args:
            name: the name of the value.
            what: what it is, for people.
            function: the function that gives it, evaluated as far as possible.
            parameter: its declaration, if it is a parameter.
            made_of: the names of the unknown values that it follows from.
        """
        name = bare(name)
        self.unused.discard(name)
        if name in self._given:
            return self._given[name]
        written = all_with_placeholders(function)
        following = tuple(made_of) or unknown_names(function)
        self.missing.setdefault(name, Missing(name, what, written, parameter, following))
        return unknown(name)

    def if_empty_by_default(self, node: Any) -> str | None:
        """The parameter that a part of the template is, as a missing value, if its value is an empty default."""
        name = node.get("Ref") if isinstance(node, dict) else None
        declared = self.parameters.get(name) if isinstance(name, str) else None
        if not isinstance(declared, dict) or declared.get("Default") != "" or name in self._given:
            return None
        return self._lacking_parameter(str(name), declared)

    @property
    def problems(self) -> list[Problem]:
        """The errors that CloudFormation would report, in the order of detection."""
        return list(self._problems.values())

    def problem(
        self, path: str, message: str, meant: str = "", known: Iterable[str] = (), hint: str = ""
    ) -> None:
        """Record an error that CloudFormation would report.

        Args:
            path: the path in the document.
            message: the error.
            meant: an unknown name, for a hint to the most similar known name.
            known: the known names.
            hint: the hint to use without `meant`.
        """
        key = (path, message)
        if key not in self._problems:
            # Hints are slow to compute and do not help with this many errors.
            near = nearest(meant, set(known)) if meant and len(self._problems) < MAX_HINTS else hint
            self._problems[key] = Problem(path, message, hint=near, rule="template")

    # --- evaluation ---

    def _section(self, name: str) -> dict[str, Any]:
        section = self.document.content.get(name)
        if section is None:
            return {}
        if not isinstance(section, dict):
            self.problem(name, f"Template format error: [/{name}] must be an object")
            return {}
        return with_loops(self, section, name)

    def _check_types(self) -> None:
        for logical_id, resource in self.resources.items():
            has_type = isinstance(resource, dict) and isinstance(resource.get("Type"), str)
            if not has_type and not logical_id.startswith("Fn::"):
                path = f"Resources.{logical_id}"
                self.problem(path, f"Template format error: [/Resources/{logical_id}] has no Type")

    def _is_created(self, logical_id: str, resource: dict[str, Any]) -> bool:
        name = resource.get("Condition")
        path = f"Resources.{logical_id}.Condition"
        return not isinstance(name, str) or self.condition(name, path)

    def _evaluated(self, logical_id: str, resource: dict[str, Any]) -> Resource:
        path = f"Resources.{logical_id}.Properties"
        self.origins = {}
        properties = self.value(resource.get("Properties") or {}, path)
        if not isinstance(properties, dict):
            self.problem(path, "Template format error: Properties must be an object")
            properties = {}
        kind = str(resource["Type"])
        if kind in NAMED_HERE and NAMES[kind] not in properties:
            properties = {NAMES[kind]: self.ref(logical_id, path), **properties}
        return Resource(logical_id, kind, properties, path, resource.get("Condition"))

    def _find(self, name: str, path: str) -> Any:
        if name in self._given and name not in self.parameters:
            return self.lacking(name, "")
        if name in self._pseudo:
            value = self._pseudo[name]
            return self.lacking(name, PSEUDO_MEANINGS[name]) if value is None else value
        if name in self.parameters:
            return self._parameter(name, self.parameters[name])
        if name in self.resources:
            return self._resource_ref(name)
        message = f"Template format error: Unresolved resource dependencies [{name}] in the Resources block of the template"
        self.problem(path, message, name, (*self.parameters, *self.resources))
        return self.lacking(name, "neither a parameter nor a resource of the template")

    def _parameter(self, name: str, declared: Any) -> Any:
        self.unused.discard(name)
        declared = declared if isinstance(declared, dict) else {}
        kind = str(declared.get("Type", "String"))
        value = self._given.get(name)
        # The default of an SSM parameter is the name under which AWS stores its value.
        if value is None and not kind.startswith("AWS::SSM::Parameter::Value"):
            value = as_text(declared.get("Default"))
        if value is None:
            return self._lacking_parameter(name, declared)
        allowed = allowed_values(declared)
        if allowed and value not in allowed:
            self.problem(
                f"Parameters.{name}",
                f"Parameter '{name}' must be one of AllowedValues",
                hint=f"one of {', '.join(allowed)}",
            )
        is_list = kind == "CommaDelimitedList" or "List<" in kind
        return [item.strip() for item in value.split(",")] if is_list else value

    def _lacking_parameter(self, name: str, declared: dict[str, Any]) -> str:
        what = f"parameter, {declared.get('Type', 'String')}"
        if allowed := allowed_values(declared):
            what += f", one of {', '.join(allowed)}"
        if description := declared.get("Description"):
            what += f": {description}"
        return self.lacking(name, what, parameter={"Type": "String", **declared})

    def _resource_ref(self, resource_id: str) -> Any:
        resource = self.resources[resource_id]
        kind = str(resource.get("Type")) if isinstance(resource, dict) else "resource"
        if kind in NAMES:
            return self._property(resource_id, NAMES[kind], resource_id)
        return self.lacking(resource_id, f"the value of Ref for {kind}")

    def _property(self, resource_id: str, key: str, name: str) -> Any:
        resource = self.resources[resource_id]
        kind = str(resource.get("Type"))
        properties = resource.get("Properties")
        if isinstance(properties, dict) and key in properties:
            origins, self.origins = self.origins, {}
            value = self.value(properties[key], f"Resources.{resource_id}.Properties.{key}")
            self.origins = origins
            if isinstance(value, str):
                return value
        if kind in NAMED_HERE:
            return f"{self.ref('AWS::StackName', '')}-{resource_id}"
        return self.lacking(name, f"the {key} that CloudFormation generates for {kind}")

    def _built_from_name(self, resource_id: str, kind: str, attribute: str, path: str) -> str:
        template = MADE_OF_NAME[kind, attribute]
        own_name = self._own_name(resource_id, kind, path)
        if holds_unknown(own_name):
            return self.lacking(f"{resource_id}.{attribute}", f"attribute {attribute} of {kind}")
        properties = self.resources[resource_id].get("Properties")
        own_path = as_text(properties.get("Path")) if isinstance(properties, dict) else None
        account = {
            "partition": "AWS::Partition",
            "region": "AWS::Region",
            "account": "AWS::AccountId",
            "suffix": "AWS::URLSuffix",
        }
        account_values = {
            key: self.ref(name, path) for key, name in account.items() if f"{{{key}}}" in template
        }
        return template.format(name=own_name, path=own_path or "/", **account_values)

    def _own_name(self, resource_id: str, kind: str, path: str) -> Any:
        if (kind, "Name") in ATTRIBUTES:
            return self.attribute(resource_id, "Name", path)
        return self.ref(resource_id, path)

    def _mapping(self, node: dict[str, Any], path: str, out: str) -> Any:
        if len(node) == 1:
            (key,) = node
            if key == "Ref" or (key.startswith("Fn::") and not key.startswith("Fn::ForEach::")):
                return self._bounded(call(self, key, node[key], f"{path}.{key}".lstrip("."), out))
        found: dict[str, Any] = {}
        for key, item in with_loops(self, node, path).items():
            value = self.value(item, f"{path}.{key}".lstrip("."), f"{out}.{key}".lstrip("."))
            if value is not NO_VALUE:
                found[key] = value
        return found

    def _bounded(self, value: Any) -> Any:
        # Strings that contain each other twice grow exponentially.
        if isinstance(value, str) and len(value) > MAX_TEXT:
            raise UnreadableDefinition(
                f"{self.document.name}: a string becomes longer than {MAX_TEXT} characters"
            )
        return value

    def step(self) -> None:
        """Count one step. Raises `UnreadableDefinition` if there are too many."""
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise UnreadableDefinition(
                f"{self.document.name}: its evaluation takes more than {MAX_STEPS} steps"
            )

    @contextmanager
    def _entering(self, name: str, path: str) -> Iterator[bool]:
        if name in self._open:
            chain = " -> ".join([*self._open[self._open.index(name) :], name])
            self.problem(path, f"Template error: circular dependency: {chain}")
            yield False
            return
        self._open.append(name)
        try:
            yield True
        finally:
            self._open.pop()
