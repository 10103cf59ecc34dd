"""What an action gives a stack: its template, parameters, tags and policy.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/continuous-delivery-codepipeline-parameter-override-functions.html
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import BeforeValidator

from prefect_codepipeline.actions.artifacts.input_files import find_input, read_input_file
from prefect_codepipeline.actions.aws.location import upload_bytes, upload_tree
from prefect_codepipeline.actions.cloudformation.stack import Stack
from prefect_codepipeline.documents.reading import parse_document
from prefect_codepipeline.errors import CodePipelineError, wrong_configuration

MOST_BODY_BYTES = 51_200  # a larger template is given by its URL
MOST_TEMPLATE_BYTES = 1_048_576
_MOST_JSON_BYTES = 1_048_576
_MOST_OVERRIDES_BYTES = 1024
_OVERRIDES = "ParameterOverrides"
_CONFIGURATION_KEYS = {"Parameters", "Tags", "StackPolicy"}


def _split(value: Any) -> Any:
    return tuple(filter(None, value.replace(",", " ").split())) if isinstance(value, str) else value


# `CAPABILITY_IAM,CAPABILITY_AUTO_EXPAND`: every value of a configuration is a text.
Capabilities = Annotated[tuple[str, ...], BeforeValidator(_split)]


@dataclass(frozen=True)
class Template:
    """A template as an argument of CloudFormation's operations, and its number of resources if that is known."""

    argument: dict[str, str]
    resources: int | None


@dataclass(frozen=True)
class StackInput:
    """Parameters, tags and the stack policy from the template configuration file and the overrides."""

    parameters: Mapping[str, str]
    tags: Mapping[str, str]
    policy: str | None

    def arguments(self) -> dict[str, Any]:
        """Parameters and tags as arguments of CloudFormation's operations; what is not given is left out."""
        parameters = [{"ParameterKey": k, "ParameterValue": v} for k, v in self.parameters.items()]
        tags = [{"Key": k, "Value": v} for k, v in self.tags.items()]
        found = {"Parameters": parameters, "Tags": tags}
        return {name: value for name, value in found.items() if value}


def read_template(stack: Stack, reference: str) -> Template:
    """The template in an input artifact. Raises `ActionFailed` if it cannot be used."""
    trees = stack.context.input_artifacts
    content = read_input_file(trees, reference, "TemplatePath", MOST_TEMPLATE_BYTES)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise wrong_configuration(f"TemplatePath {reference!r}: the file is not UTF-8: {error}") from None
    if not text.strip():
        raise wrong_configuration(f"TemplatePath {reference!r}: the file is empty")
    resources = _count_resources(text)
    if len(content) <= MOST_BODY_BYTES:
        return Template({"TemplateBody": text}, resources)
    uploaded = upload_bytes(
        stack.context, content, PurePosixPath(reference.partition("::")[2]).name, stack.region
    )
    return Template({"TemplateURL": uploaded.url}, resources)


def read_stack_input(stack: Stack, configuration: str | None, overrides: str | None) -> StackInput:
    """Parameters, tags and policy: the overrides precede the parameters of the template configuration file.

    Raises:
        ActionFailed: with code `ConfigurationError`, a file is missing or not of the right form; names key and place.
    """
    given = _read_configuration(stack, configuration) if configuration else {}
    key = f"TemplateConfiguration {configuration!r}"
    parameters = _texts(_mapping(given.get("Parameters"), f"{key}: Parameters"), f"{key}: Parameters")
    if overrides:
        _check_size(overrides)
        values = _mapping(_json(overrides, _OVERRIDES), _OVERRIDES)
        parameters |= _texts({k: _resolved(stack, v) for k, v in values.items()}, _OVERRIDES)
    policy = given.get("StackPolicy")
    return StackInput(
        parameters,
        _texts(_mapping(given.get("Tags"), f"{key}: Tags"), f"{key}: Tags"),
        json.dumps(policy) if policy else None,
    )


def _check_size(overrides: str) -> None:
    if (size := len(overrides.encode())) > _MOST_OVERRIDES_BYTES:
        raise wrong_configuration(
            f"{_OVERRIDES} has {size:,} bytes; the limit is {_MOST_OVERRIDES_BYTES:,}: move parameters to the file of "
            "TemplateConfiguration"
        )


def _read_configuration(stack: Stack, reference: str) -> dict[str, Any]:
    key = "TemplateConfiguration"
    content = read_input_file(stack.context.input_artifacts, reference, key, _MOST_JSON_BYTES)
    given = _mapping(_json(content, f"{key} {reference!r}"), f"{key} {reference!r}")
    if unknown := given.keys() - _CONFIGURATION_KEYS:
        raise wrong_configuration(
            f"{key} {reference!r}: unknown keys {', '.join(map(repr, sorted(unknown)))}; "
            f"known: {', '.join(sorted(_CONFIGURATION_KEYS))}"
        )
    return given


def _resolved(stack: Stack, value: Any) -> Any:
    """The value of a parameter; a function is replaced by what it stands for."""
    if not isinstance(value, dict):
        return value
    name, arguments = next(iter(value.items()), ("", None))
    function = _FUNCTIONS.get(name)
    if function is None or len(value) != 1 or not isinstance(arguments, list):
        raise wrong_configuration(
            f"{_OVERRIDES}: {json.dumps(value)} is neither a text nor one of {', '.join(_FUNCTIONS)} with a list"
        )
    return function(stack, list(map(str, arguments)))


def _artifact_attribute(stack: Stack, arguments: list[str]) -> str:
    if len(arguments) != 2 or arguments[1] not in ("BucketName", "ObjectKey", "URL"):
        raise wrong_configuration(
            f"{_OVERRIDES}: Fn::GetArtifactAtt takes an input artifact and BucketName, ObjectKey or URL, "
            f"not {arguments}"
        )
    tree = find_input(stack.context.input_artifacts, arguments[0], f"{_OVERRIDES}: Fn::GetArtifactAtt")
    uploaded = upload_tree(stack.context, tree, stack.region)
    return {"BucketName": uploaded.bucket, "ObjectKey": uploaded.key, "URL": uploaded.url}[arguments[1]]


def _parameter_of_file(stack: Stack, arguments: list[str]) -> Any:
    if len(arguments) != 3:
        raise wrong_configuration(
            f"{_OVERRIDES}: Fn::GetParam takes an input artifact, a JSON file and a key of it, not {arguments}"
        )
    artifact, file, key = arguments
    what = f"{_OVERRIDES}: Fn::GetParam {artifact}::{file}"
    content = read_input_file(
        stack.context.input_artifacts, f"{artifact}::{file}", f"{_OVERRIDES}: Fn::GetParam", _MOST_JSON_BYTES
    )
    values = _mapping(_json(content, what), what)
    if key not in values:
        raise wrong_configuration(
            f"{what}: the file has no key {key!r}; it has {', '.join(sorted(values)) or 'none'}"
        )
    return values[key]


_FUNCTIONS: dict[str, Callable[[Stack, list[str]], Any]] = {
    "Fn::GetArtifactAtt": _artifact_attribute,
    "Fn::GetParam": _parameter_of_file,
}


def _json(text: str | bytes, what: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:  # not JSON, or not UTF-8
        raise wrong_configuration(f"{what} is not JSON: {error}") from None


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise wrong_configuration(f"{what} is not a JSON object")
    return value


def _texts(values: dict[str, Any], what: str) -> dict[str, str]:
    texts = {}
    for name, value in values.items():
        if isinstance(value, (dict, list)) or value is None:
            raise wrong_configuration(f"{what}: the value of {name!r} is not a text: {json.dumps(value)}")
        texts[name] = value if isinstance(value, str) else json.dumps(value)
    return texts


def _count_resources(text: str) -> int | None:
    """The number of resources, for the progress. A template that cannot be read here is judged by CloudFormation."""
    try:
        content = parse_document(text, "template").content
    except CodePipelineError:
        return None
    resources = content.get("Resources") if isinstance(content, dict) else None
    return len(resources) if isinstance(resources, dict) else None
