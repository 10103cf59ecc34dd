"""CloudFormation's intrinsic functions, one Python function each.

A function receives the template, its unevaluated argument, and the path of the argument. An unknown value becomes a
marked name. An argument that CloudFormation would reject becomes a problem of the template and a marked name.
https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference.html
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from prefect_codepipeline.deployments.cloudformation.unknown import (
    NO_VALUE,
    as_text,
    bare,
    holds_unknown,
    is_unknown,
    names_in,
    unknown,
    unknown_names,
    with_placeholders,
)


class Evaluation(Protocol):
    """The operations of a template that its functions need."""

    mappings: dict[str, Any]
    origins: dict[str, str]
    undecided: dict[str, str]

    def step(self) -> None:
        """Count one step; raises when there are too many."""

    def value(self, node: Any, path: str, out: str = "") -> Any:
        """A part of the template with every function replaced by its value."""

    def ref(self, name: str, path: str) -> Any:
        """The value of `Ref` for a name."""

    def attribute(self, resource_id: str, attribute: str, path: str) -> Any:
        """The value of `Fn::GetAtt` for an attribute of a resource."""

    def condition(self, name: str, path: str) -> bool:
        """Whether a condition of the template is true."""

    def lacking(
        self,
        name: str,
        what: str,
        function: Any = None,
        parameter: dict[str, Any] | None = None,
        made_of: Iterable[str] = (),
    ) -> str:
        """The given value of that name, or a marked name that records it as missing."""

    def problem(
        self, path: str, message: str, meant: str = "", known: Iterable[str] = (), hint: str = ""
    ) -> None:
        """Note what CloudFormation would refuse."""


Function = Callable[[Evaluation, Any, str, str], Any]
_SUB = re.compile(r"\$\{([^{}]*)\}")
_LOOP = "Fn::ForEach::"


def call(template: Evaluation, name: str, argument: Any, path: str, out: str) -> Any:
    """The value of a function.

    Args:
        template: the template that contains the function.
        name: the function's name, such as `Fn::Join`.
        argument: the unevaluated argument.
        path: the path of the argument in the document.
        out: the path of the value in the result.
    """
    if name not in FUNCTIONS:
        message = f"Template error: function {name} does not exist"
        template.problem(path, message, name, FUNCTIONS)
        return template.lacking(name, "an unknown function")
    return FUNCTIONS[name](template, argument, path, out)


def _ref(template: Evaluation, argument: Any, path: str, out: str) -> Any:
    if not isinstance(argument, str):
        return _malformed(template, path, "Ref", "a string")
    return template.ref(argument, path)


def _get_att(template: Evaluation, argument: Any, path: str, out: str) -> Any:
    if isinstance(argument, str) and "." in argument:
        argument = argument.split(".", 1)
    if not isinstance(argument, list) or len(argument) < 2 or not isinstance(argument[0], str):
        return _malformed(template, path, "Fn::GetAtt", "the names of a resource and of an attribute")
    attribute = ".".join(_text(template, part, path) for part in argument[1:])
    return template.attribute(argument[0], bare(attribute), path)


def _sub(template: Evaluation, argument: Any, path: str, out: str) -> Any:
    text, variables = argument, {}
    if isinstance(argument, list) and len(argument) == 2 and isinstance(argument[1], dict):
        text = argument[0]
        variables = {key: _text(template, item, f"{path}[1].{key}") for key, item in argument[1].items()}
    if not isinstance(text, str):
        return _malformed(template, path, "Fn::Sub", "a string, or a string and a mapping of its variables")
    known = _with_stripped_keys(variables)

    def value(match: re.Match[str]) -> str:
        template.step()
        name = match[1].strip()
        if name.startswith("!"):
            return "${" + name[1:] + "}"
        if name in known:
            return known[name]
        if not name:
            return match[0]
        resource, dot, attribute = name.partition(".")
        found = template.attribute(resource, attribute, path) if dot else template.ref(name, path)
        return _as_text(template, found, path)

    return _SUB.sub(value, text)


def _with_stripped_keys(variables: dict[str, str]) -> dict[str, str]:
    return {key.strip(): value for key, value in variables.items()}


def _join(template: Evaluation, argument: Any, path: str, out: str) -> Any:
    if not isinstance(argument, list) or len(argument) != 2:
        return _malformed(template, path, "Fn::Join", "a delimiter and a list")
    delimiter = _text(template, argument[0], f"{path}[0]")
    items = _value(template, argument[1], f"{path}[1]")
    if not isinstance(items, list):
        if not is_unknown(items):
            return _malformed(template, path, "Fn::Join", "a list to join")
        function = {"Fn::Join": [delimiter, items]}
        return template.lacking(
            f"{bare(items)}.join({bare(delimiter)})", "an unknown list as one text", function
        )
    return delimiter.join(_as_text(template, item, path) for item in items)


def _split(template: Evaluation, argument: Any, path: str, out: str) -> Any:
    if not isinstance(argument, list) or len(argument) != 2:
        return _malformed(template, path, "Fn::Split", "a delimiter and a string")
    delimiter = _text(template, argument[0], f"{path}[0]")
    text = _text(template, argument[1], f"{path}[1]")
    if not delimiter:
        return _malformed(template, path, "Fn::Split", "a delimiter that is not empty")
    parts = text.split(delimiter) if not holds_unknown(text) else _split_around(text, delimiter)
    # The number of parts of an unknown text is not known.
    if len(parts) > 1 or not holds_unknown(text):
        return parts
    function = {"Fn::Split": [delimiter, text]}
    return template.lacking(
        f"{bare(text)}.split({bare(delimiter)})", "the parts of an unknown text", function
    )


def _split_around(text: str, delimiter: str) -> list[str]:
    """Split, but not inside the names of unknown values."""
    kept = {f"\uf8f2{index}\uf8f3": unknown(name) for index, name in enumerate(names_in(text))}
    for key, mark in kept.items():
        text = text.replace(mark, key)
    parts = text.split(delimiter)
    for key, mark in kept.items():
        parts = [part.replace(key, mark) for part in parts]
    return parts


def _select(template: Evaluation, argument: Any, path: str, out: str) -> Any:
    if not isinstance(argument, list) or len(argument) != 2:
        return _malformed(template, path, "Fn::Select", "an index and a list")
    index = _text(template, argument[0], f"{path}[0]")
    items = _value(template, argument[1], f"{path}[1]")
    if is_unknown(items) or is_unknown(index):
        inner = bare(_as_text(template, items, path))
        function = {"Fn::Select": [index, items]}
        return template.lacking(f"{inner}[{bare(index)}]", "an item of an unknown list", function)
    if not isinstance(items, list) or not index.isdecimal() or len(index) > 9:
        return _malformed(template, path, "Fn::Select", "a number and a list")
    if int(index) >= len(items):
        template.problem(path, f"Template error: Fn::Select cannot select nonexistent value at index {index}")
        return template.lacking(f"Fn::Select[{index}]", "an item that does not exist in the list")
    return items[int(index)]


def _if(template: Evaluation, argument: Any, path: str, out: str) -> Any:
    if not isinstance(argument, list) or len(argument) != 3 or not isinstance(argument[0], str):
        return _malformed(template, path, "Fn::If", "a condition's name and two values")
    chosen = 1 if template.condition(argument[0], path) else 2
    return template.value(argument[chosen], f"{path}[{chosen}]", out)


def _find_in_map(template: Evaluation, argument: Any, path: str, out: str) -> Any:
    if not isinstance(argument, list) or len(argument) not in (3, 4):
        return _malformed(template, path, "Fn::FindInMap", "the names of a map and of two keys")
    names = [_text(template, part, f"{path}[{index}]") for index, part in enumerate(argument[:3])]
    default = (
        argument[3].get("DefaultValue") if len(argument) == 4 and isinstance(argument[3], dict) else None
    )
    if any(holds_unknown(name) for name in names):
        return template.lacking(
            "FindInMap." + ".".join(map(bare, names)),
            "a value of Mappings, whose keys are not known",
            made_of=unknown_names(names),
        )
    found: Any = template.mappings
    for name in names:
        if not isinstance(found, dict) or name not in found:
            if default is not None:
                return template.value(default, f"{path}[3].DefaultValue", out)
            message = f"Template error: Unable to get mapping for {'::'.join(names)}"
            template.problem(path, message, name, found if isinstance(found, dict) else ())
            return template.lacking("FindInMap." + ".".join(names), "a value that does not exist in Mappings")
        found = found[name]
    return template.value(found, "Mappings." + ".".join(names), out)


def _import_value(template: Evaluation, argument: Any, path: str, out: str) -> Any:
    text = _text(template, argument, path)
    name = bare(text)
    function = {"Fn::ImportValue": text}
    return template.lacking(f"ImportValue.{name}", f"export {name} of another stack", function)


def _base64(template: Evaluation, argument: Any, path: str, out: str) -> Any:
    text = _text(template, argument, path)
    if holds_unknown(text):
        return template.lacking(f"Base64({bare(text)})", "Base64 of an unknown text", {"Fn::Base64": text})
    return base64.b64encode(text.encode()).decode()


def _length(template: Evaluation, argument: Any, path: str, out: str) -> Any:
    items = _value(template, argument, path)
    if isinstance(items, list):
        return str(len(items))
    if is_unknown(items):
        made_of = unknown_names(items)
        return template.lacking(f"Length({bare(items)})", "the length of an unknown list", made_of=made_of)
    return _malformed(template, path, "Fn::Length", "a list")


def _to_json_string(template: Evaluation, argument: Any, path: str, out: str) -> Any:
    value = _value(template, argument, path)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _get_azs(template: Evaluation, argument: Any, path: str, out: str) -> Any:
    region = _text(template, argument, path) or str(template.ref("AWS::Region", path))
    name = bare(region)
    return template.lacking(f"GetAZs.{name}", f"the availability zones of {name}", {"Fn::GetAZs": region})


def _cidr(template: Evaluation, argument: Any, path: str, out: str) -> Any:
    function = {"Fn::Cidr": _value(template, argument, path)}
    name = bare(json.dumps(function["Fn::Cidr"], ensure_ascii=False, default=str))
    return template.lacking(f"Cidr({name})", "a list of networks", function)


def _transform(template: Evaluation, argument: Any, path: str, out: str) -> Any:
    name = argument.get("Name") if isinstance(argument, dict) else None
    name = name if isinstance(name, str) else "Transform"
    return template.lacking(name, f"the result of macro {name}")


FUNCTIONS: dict[str, Function] = {
    "Ref": _ref,
    "Fn::GetAtt": _get_att,
    "Fn::Sub": _sub,
    "Fn::Join": _join,
    "Fn::Split": _split,
    "Fn::Select": _select,
    "Fn::If": _if,
    "Fn::FindInMap": _find_in_map,
    "Fn::ImportValue": _import_value,
    "Fn::Base64": _base64,
    "Fn::Length": _length,
    "Fn::ToJsonString": _to_json_string,
    "Fn::GetAZs": _get_azs,
    "Fn::Cidr": _cidr,
    "Fn::Transform": _transform,
}


def truth(template: Evaluation, node: Any, path: str) -> bool:
    """Whether a condition is true. An unknown value is equal only to itself."""
    template.step()
    key, argument = next(iter(node.items())) if isinstance(node, dict) and len(node) == 1 else ("", None)
    inner = f"{path}.{key}"
    if key == "Condition" and isinstance(argument, str):
        return template.condition(argument, inner)
    if key == "Fn::Equals" and isinstance(argument, list) and len(argument) == 2:
        one, other = (_value(template, item, f"{inner}[{index}]") for index, item in enumerate(argument))
        is_equal = bool(_spelled(one) == _spelled(other))
        if not is_equal:
            template.undecided |= dict.fromkeys(unknown_names([one, other]), path)
        return is_equal
    if key in ("Fn::And", "Fn::Or", "Fn::Not") and isinstance(argument, list) and argument:
        values = [truth(template, item, f"{inner}[{index}]") for index, item in enumerate(argument)]
        return all(values) if key == "Fn::And" else any(values) if key == "Fn::Or" else not values[0]
    template.problem(
        path,
        "Template error: every Condition member must be Fn::Equals, Fn::And, Fn::Or, Fn::Not or Condition",
    )
    return False


def with_loops(template: Evaluation, node: dict[str, Any], path: str) -> dict[str, Any]:
    """A mapping with each `Fn::ForEach::Name: [identifier, list, {key: value}]` expanded."""
    if not any(key.startswith(_LOOP) for key in node):
        return node
    found: dict[str, Any] = {}
    for key, argument in node.items():
        found |= _expanded(template, argument, f"{path}.{key}") if key.startswith(_LOOP) else {key: argument}
    return found


def _expanded(template: Evaluation, argument: Any, path: str) -> dict[str, Any]:
    if (
        not isinstance(argument, list)
        or len(argument) != 3
        or not isinstance(argument[0], str)
        or not isinstance(argument[2], dict)
    ):
        _malformed(template, path, "Fn::ForEach", "an identifier, a list and a mapping")
        return {}
    identifier, collection, body = argument
    items = _value(template, collection, f"{path}[1]")
    if not isinstance(items, list):
        template.problem(
            path,
            f"Template error: Fn::ForEach needs a known list, but {with_placeholders(str(items))!r} is not known",
        )
        return {}
    found: dict[str, Any] = {}
    for item in items:
        text = _as_text(template, item, path)
        found |= with_loops(template, _substituted(template, body, identifier, text), path)
    return found


def _substituted(template: Evaluation, node: Any, identifier: str, value: str) -> Any:
    template.step()
    if isinstance(node, str):
        short = "".join(re.findall(r"[A-Za-z0-9]", value))
        return node.replace("${" + identifier + "}", value).replace("&{" + identifier + "}", short)
    if isinstance(node, list):
        return [_substituted(template, item, identifier, value) for item in node]
    if not isinstance(node, dict):
        return node
    if node == {"Ref": identifier}:
        return value
    return {
        _substituted(template, key, identifier, value): _substituted(template, item, identifier, value)
        for key, item in node.items()
    }


def _value(template: Evaluation, node: Any, path: str) -> Any:
    """The value of an argument. Its origin is not recorded, since it is not a part of the result."""
    origins, template.origins = template.origins, {}
    value = template.value(node, path)
    template.origins = origins
    return "" if value is NO_VALUE else value


def _text(template: Evaluation, node: Any, path: str) -> str:
    return _as_text(template, _value(template, node, path), path)


def _as_text(template: Evaluation, value: Any, path: str) -> str:
    if value is NO_VALUE or value is None:
        return ""
    text = as_text(value)
    if text is not None:
        return text
    if isinstance(value, list):
        # CloudFormation rejects a list instead of a string, except list parameters in Fn::Sub.
        return ",".join(_as_text(template, item, path) for item in value)
    return str(_malformed(template, path, "a function", "a string"))


def _spelled(value: Any) -> Any:
    text = as_text(value)
    return value if text is None else text


def _malformed(template: Evaluation, path: str, function: str, what: str) -> str:
    template.problem(path, f"Template error: {function} takes {what}")
    return template.lacking(path, "the result of a function with an invalid argument")
