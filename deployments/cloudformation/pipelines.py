"""The pipelines of a template or a definition, with their resources and missing values.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-codepipeline-pipeline.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from prefect_codepipeline.deployments.cloudformation.declared import (
    node_at,
)
from prefect_codepipeline.deployments.cloudformation.deployed_stack import DeployedStack
from prefect_codepipeline.deployments.cloudformation.filled_settings import filled_settings
from prefect_codepipeline.deployments.cloudformation.known_values import KEPT_ATTRIBUTES
from prefect_codepipeline.deployments.cloudformation.not_used import put_placeholders
from prefect_codepipeline.deployments.cloudformation.remarks import skipped, undecided, unused
from prefect_codepipeline.deployments.cloudformation.sources import stack_name_of
from prefect_codepipeline.deployments.cloudformation.spelling import Spelling
from prefect_codepipeline.deployments.cloudformation.template import (
    Resource,
    Template,
)
from prefect_codepipeline.deployments.cloudformation.unknown import (
    Missing,
    as_text,
    holds_unknown,
    names_in,
    with_placeholders,
)
from prefect_codepipeline.deployments.files.definition import WrittenPipeline, pipeline_in, with_numbers
from prefect_codepipeline.deployments.files.resources import Beside, MissingValue
from prefect_codepipeline.documents.document import Document, Place
from prefect_codepipeline.errors import UnreadableDefinition
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.validation import Problem, declare_or_problems

PIPELINE = "AWS::CodePipeline::Pipeline"
BESIDE = {
    "AWS::CodeBuild::Project",
    "AWS::CodeCommit::Repository",
    "AWS::CodeConnections::Connection",
    "AWS::CodeDeploy::Application",
    "AWS::CodeDeploy::DeploymentConfig",
    "AWS::CodeDeploy::DeploymentGroup",
    "AWS::CodePipeline::CustomActionType",
    "AWS::CodePipeline::Webhook",
    "AWS::CodeStarConnections::Connection",
    "AWS::Events::Rule",
}
# Properties that the API's declaration has no key for; they are stored unchanged in the resources file.
EXTRAS = ("DisableInboundStageTransitions", "RestartExecutionOnUpdate", "Tags")
_PLACEHOLDER = re.compile(r"\$\{([^{}]*)\}")
_STAND_INS = {"AWS::AccountId": "111122223333"}
_STAND_IN = re.compile(r"unknown-[0-9]+|111122223333")
_DYNAMIC = re.compile(r"\{\{(resolve:[^{}]+)\}\}")


@dataclass(frozen=True)
class ImportedPipeline:
    """One pipeline in the API's format, with its resources and missing values.

    Args:
        wire: the declaration, not checked yet; unknown values are written as `${name}`.
        document: the source of the pipeline.
        origins: for each path of `wire`, its path in the document.
        extras: CloudFormation properties of the pipeline that a declaration does not have.
        resources: the additional resources by logical id: `{"Type": ..., "Properties": {...}}`, with `Attributes`
            for those whose blocks need a value of `Ref` or `Fn::GetAtt`.
        missing: the unknown values, with their paths in `wire` and in the resources.
        region: where the template's stack is; empty if that is not known.
        placeholders: for the path of each value that is unknown and not used here, the text that its placeholder
            in `wire` replaces.
    """

    wire: dict[str, Any]
    document: Document
    origins: Mapping[str, str] = field(default_factory=dict)
    extras: dict[str, Any] = field(default_factory=dict)
    resources: dict[str, dict[str, Any]] = field(default_factory=dict)
    missing: dict[str, MissingValue] = field(default_factory=dict)
    logical_id: str = ""
    placeholders: dict[str, str] = field(default_factory=dict)
    region: str = ""

    @property
    def settings(self) -> dict[str, Any]:
        """The content of the settings file of the pipeline."""
        return filled_settings(self.wire, self.resources, self.region)

    @property
    def beside(self) -> Beside:
        """The content of the resources file of the pipeline."""
        imported = {"template": self.document.name, "logicalId": self.logical_id}
        return Beside(self.extras, self.missing, self.resources, self.placeholders, imported)

    @property
    def name(self) -> str:
        """The pipeline's name, or its logical id if the name is not a string."""
        name = self.wire.get("name")
        return name if isinstance(name, str) and name else self.logical_id or "pipeline"

    def place_of(self, path: str) -> Place:
        """The place of a problem's path in the file, or of the nearest enclosing part."""
        while path and path not in self.origins:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self.document.place_of(self.origins.get(path, ""))

    def problems(self, check: Callable[[PipelineDeclaration], list[Problem]]) -> list[Problem]:
        """The problems of the pipeline, except for those of missing values.

        Args:
            check: returns the problems between fields.
        """
        stand_ins = {
            name: _STAND_INS.get(name, f"unknown-{number}") for number, name in enumerate(self.missing)
        }
        declaration, problems = declare_or_problems(_with_stand_ins(self.wire, stand_ins), check)
        if declaration:
            problems = check(declaration)
        waiting = {path for missing in self.missing.values() for path in missing.paths}
        return [
            problem
            for problem in problems
            if problem.path not in waiting and not _STAND_IN.search(problem.message)
        ]


@dataclass(frozen=True)
class Imported:
    """The pipelines of a document, and the problems that CloudFormation would report for the template.

    `undecided` are the parameters without a value that conditions compare.
    """

    pipelines: list[ImportedPipeline]
    problems: list[Problem]
    document: Document
    undecided: Mapping[str, Missing] = field(default_factory=dict)


def import_document(
    document: Document, given: Mapping[str, str] | None = None, deployed: DeployedStack | None = None
) -> Imported:
    """Import every pipeline of a template, or the pipeline of a definition.

    Args:
        document: a CloudFormation template, or the output of `aws codepipeline get-pipeline`.
        given: values of parameters, and of values that only AWS knows, by name.
        deployed: the stack that the template has made, whose values are known.

    Raises:
        UnreadableDefinition: the document is neither, or its evaluation exceeds the limits.
    """
    content = document.content
    if isinstance(content, dict) and "Resources" in content:
        try:
            return _of_template(document, given or {}, deployed)
        except RecursionError:
            raise UnreadableDefinition(f"{document.name}: its functions are nested too deeply") from None
    return Imported([_of_definition(pipeline_in(document))], unused(set(given or {}), set()), document)


def _of_definition(written: WrittenPipeline) -> ImportedPipeline:
    origins = {"": written.base}
    prefix = f"{written.base}." if written.base else ""
    for path in written.document.places:
        if path.startswith(prefix):
            origins[path.removeprefix(prefix)] = path
    return ImportedPipeline(written.wire, written.document, origins)


def _of_template(document: Document, given: Mapping[str, str], deployed: DeployedStack | None) -> Imported:
    template = Template(document, given, stack_name_of(document.name), deployed)
    found = [_Found(resource, dict(template.origins)) for resource in template.of_types({PIPELINE})]
    problems = [skipped(logical_id, name, template) for logical_id, name in template.skipped.items()]
    beside = [_Found(resource, {}) for resource in template.of_types(BESIDE)]
    pipelines = [_pipeline(each, beside, template, given) for each in found]
    known = {*template.missing, *template.parameters}
    open_ = {name: template.missing[name] for name in template.undecided if name in template.parameters}
    problems += [undecided(name, template.undecided[name]) for name in open_]
    found_problems = [*template.problems, *problems, *unused(template.unused, known)]
    return Imported(pipelines, found_problems, document, open_)


def _with_stand_ins(part: Any, stand_ins: Mapping[str, str], key: str = "") -> Any:
    """The wire data with a valid placeholder for each missing value, so that the rest can be checked."""
    if isinstance(part, dict):
        return {
            _with_stand_ins(own, stand_ins): _with_stand_ins(item, stand_ins, own)
            for own, item in part.items()
        }
    if isinstance(part, list):
        return [_with_stand_ins(item, stand_ins, key) for item in part]
    if not isinstance(part, str) or "${" not in part:
        return part
    text = _PLACEHOLDER.sub(lambda match: stand_ins.get(match[1], match[0]), part)
    is_whole = part.startswith("${") and part.endswith("}") and text != part
    return f"arn:aws:iam::111122223333:role/{text}" if is_whole and key == "roleArn" else text


@dataclass(frozen=True)
class _Found:
    resource: Resource
    origins: Mapping[str, str]


def _pipeline(
    found: _Found, beside: list[_Found], template: Template, given: Mapping[str, str]
) -> ImportedPipeline:
    properties = _asked_if_empty(found.resource.properties, found.origins, template)
    waiting: dict[str, list[str]] = {}
    reasons = dict(template.missing)

    def text_at(path: str) -> Callable[[str], str]:
        return lambda text: _finished(text, path, given, template, reasons, waiting)

    extras = {key: _each_text(properties.pop(key), key, text_at) for key in EXTRAS if key in properties}
    spelled = Spelling(found.origins)
    wire = with_numbers(_each_text(spelled.pipeline(properties), "", text_at))
    for path, key in spelled.incomplete.items():
        message = f"Properties validation failed: required key [{key}] of {path} is not found"
        template.problem(found.origins.get(path, found.resource.path), message)
    placeholders = put_placeholders(wire, {path for paths in waiting.values() for path in paths})
    own = [each.resource for each in beside if _belongs(each.resource, found.resource, wire)]
    resources = {
        each.logical_id: {
            "Type": each.type,
            **_each_text(_kept(each, template), f"resources.{each.logical_id}", text_at),
            "Properties": _each_text(each.properties, f"resources.{each.logical_id}", text_at),
        }
        for each in own
    }
    missing = {name: _value_of(reasons, name, paths) for name, paths in waiting.items()}
    for name in _names_in_functions(reasons, waiting):
        missing.setdefault(name, _value_of(reasons, name, []))
    return ImportedPipeline(
        wire,
        template.document,
        spelled.origins,
        extras,
        resources,
        missing,
        found.resource.logical_id,
        placeholders,
        "" if holds_unknown(region := template.ref("AWS::Region", "")) else str(region),
    )


def _asked_if_empty(
    properties: dict[str, Any], origins: Mapping[str, str], template: Template
) -> dict[str, Any]:
    """The properties, with a missing value for each parameter in a configuration whose default is empty.

    AWS takes no empty value there: the stack is made with another one.
    """

    def asked(part: Any, path: str) -> Any:
        if isinstance(part, dict):
            return {key: asked(item, f"{path}.{key}".lstrip(".")) for key, item in part.items()}
        if isinstance(part, list):
            return [asked(item, f"{path}[{index}]") for index, item in enumerate(part)]
        if part != "" or ".Configuration." not in path:
            return part
        missing = template.if_empty_by_default(node_at(template.document.content, origins.get(path, "")))
        return part if missing is None else missing

    found: dict[str, Any] = asked(properties, "")
    return found


def _value_of(reasons: Mapping[str, Missing], name: str, paths: list[str]) -> MissingValue:
    reason = reasons.get(name, Missing(name, ""))
    return MissingValue(reason.what, tuple(paths), reason.function, reason.parameter, reason.made_of)


def _names_in_functions(reasons: Mapping[str, Missing], names: Iterable[str]) -> Iterator[str]:
    """The unknown values in the arguments of the functions that give these values."""
    waiting, seen = list(names), set(names)
    while waiting:
        reason = reasons.get(waiting.pop())
        inner = (*_PLACEHOLDER.findall(json.dumps(reason.function)), *reason.made_of) if reason else ()
        for name in inner:
            if name in reasons and name not in seen:
                seen.add(name)
                waiting.append(name)
                yield name


def _kept(resource: Resource, template: Template) -> dict[str, Any]:
    attribute = KEPT_ATTRIBUTES.get(resource.type)
    if attribute is None:
        return {}
    own_id, path = resource.logical_id, resource.path
    value = template.ref(own_id, path) if attribute == "Ref" else template.attribute(own_id, attribute, path)
    return {"Attributes": {attribute: value}}


def _finished(
    text: str,
    path: str,
    given: Mapping[str, str],
    template: Template,
    reasons: dict[str, Missing],
    waiting: dict[str, list[str]],
) -> str:
    """The final text: with `${name}` for each unknown value, which is recorded with its path."""

    def dynamic(match: re.Match[str]) -> str:
        name = match[1]
        template.unused.discard(name)
        if name in given:
            return given[name]
        reasons.setdefault(name, Missing(name, "a value stored in AWS"))
        waiting.setdefault(name, []).append(path)
        return match[0]

    for name in names_in(text):
        waiting.setdefault(name, []).append(path)
    return _DYNAMIC.sub(dynamic, with_placeholders(text))


def _each_text(part: Any, path: str, text_at: Callable[[str], Callable[[str], str]]) -> Any:
    if isinstance(part, dict):
        keys = {key: text_at(path)(str(key)) for key in part}
        return {
            keys[key]: _each_text(item, f"{path}.{keys[key]}".lstrip("."), text_at)
            for key, item in part.items()
        }
    if isinstance(part, list):
        return [_each_text(item, f"{path}[{index}]", text_at) for index, item in enumerate(part)]
    text = as_text(part)
    return part if text is None else text_at(path)(text)


def _belongs(resource: Resource, pipeline: Resource, wire: dict[str, Any]) -> bool:
    """Whether a resource belongs to the pipeline. Projects can belong to several; a rule belongs to its target."""
    if resource.type == "AWS::CodePipeline::Webhook":
        return resource.properties.get("TargetPipeline") in (
            wire.get("name"),
            pipeline.properties.get("Name"),
        )
    if resource.type == "AWS::Events::Rule":
        return any(_is_of(arn, pipeline) for arn in _target_arns(resource))
    return True


def _target_arns(resource: Resource) -> Iterator[str]:
    targets = resource.properties.get("Targets")
    for target in targets if isinstance(targets, list) else []:
        if isinstance(target, dict) and isinstance(target.get("Arn"), str):
            yield target["Arn"]


def _is_of(arn: str, pipeline: Resource) -> bool:
    name = pipeline.properties.get("Name")
    return ":codepipeline:" in arn and isinstance(name, str) and arn.endswith(f":{name}")
