"""Everything that is wrong with a definition, at once, each problem with its place.

Messages are AWS's own where AWS has one.
https://docs.aws.amazon.com/codepipeline/latest/userguide/reference-pipeline-structure.html
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, get_args

from pydantic import BaseModel, ValidationError

from prefect_codepipeline.model.declaration import (
    ActionDeclaration,
    PipelineDeclaration,
    StageDeclaration,
)
from prefect_codepipeline.model.variables import Reference, find_references, texts_of

Severity = Literal["error", "warning"]
V2_PROVIDERS = {"Commands", "ECRBuildAndPublish", "EC2", "EKS", "CodePipeline", "InspectorScan"}
_SECRET_KEY = re.compile(r"token|secret|password|privatekey", re.IGNORECASE)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where (`stages[1].actions[0].runOrder`), what, and what AWS would raise."""

    path: str
    message: str
    exception: str = "ValidationException"
    severity: Severity = "error"
    hint: str = ""

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.path}: {self.message}{hint}" if self.path else f"{self.message}{hint}"


@dataclass(frozen=True)
class _Place:
    """An action, and where it stands."""

    action: ActionDeclaration
    stage: StageDeclaration
    stage_index: int
    path: str

    @property
    def order(self) -> tuple[int, int]:
        return self.stage_index, self.action.run_order


def problems_of(error: ValidationError, model: type[BaseModel] | None = None) -> list[Problem]:
    """What pydantic found, in words for people, without the values of secrets.

    Args:
        error: of validating wire data.
        model: what was validated, to name the nearest key for an unknown one.
    """
    return [_problem_of(details, model) for details in error.errors(include_url=False)]


def nearest(name: str, known: Sequence[str] | set[str]) -> str:
    """`did you mean 'x'?`, empty when nothing is near."""
    found = get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f"did you mean {found[0]!r}?" if found else ""


def validate(declaration: PipelineDeclaration) -> list[Problem]:
    """Every rule between fields that the definition breaks, so that it could not run."""
    places = list(_places(declaration))
    checks = (
        _stores(declaration),
        _stages(declaration),
        _sources(declaration, places),
        _names(declaration),
        _version_2(declaration, places),
        _fields(places),
        _artifacts(places),
        _namespaces(places),
        _references(declaration, places),
    )
    return [problem for check in checks for problem in check]


def _places(declaration: PipelineDeclaration) -> Iterator[_Place]:
    for stage_index, stage in enumerate(declaration.stages):
        for action_index, action in enumerate(stage.actions):
            yield _Place(action, stage, stage_index, f"stages[{stage_index}].actions[{action_index}]")


def _structure(path: str, message: str, hint: str = "") -> Problem:
    return Problem(path, message, "InvalidStructureException", hint=hint)


def _of_action(path: str, message: str, hint: str = "") -> Problem:
    return Problem(path, message, "InvalidActionDeclarationException", hint=hint)


def _stores(declaration: PipelineDeclaration) -> Iterator[Problem]:
    if (declaration.artifact_store is None) == (declaration.artifact_stores is None):
        yield _structure("artifactStore", "exactly one of 'artifactStore' and 'artifactStores' must be there")


def _stages(declaration: PipelineDeclaration) -> Iterator[Problem]:
    count = len(declaration.stages)
    if count < 2:
        yield _structure(
            "stages",
            f"Pipeline has only {count} stage(s). There should be a minimum of 2 stages in a pipeline",
        )
    for index, stage in enumerate(declaration.stages):
        failure = stage.on_failure
        if failure and failure.result and failure.conditions:
            yield Problem(
                f"stages[{index}].onFailure",
                "The following stage cannot have a failure exit gate configured with both top level result and "
                f"conditions: '{stage.name}'",
                "InvalidStageDeclarationException",
            )


def _sources(declaration: PipelineDeclaration, places: list[_Place]) -> Iterator[Problem]:
    for place in places:
        is_source = place.action.action_type_id.category == "Source"
        if place.stage_index == 0 and not is_source:
            yield _structure(
                place.path, "Pipeline should start with a stage that only contains source actions"
            )
        if place.stage_index > 0 and is_source:
            yield _structure(
                place.path, "Source actions can only be included in the first stage of the pipeline"
            )
    if places and all(place.action.action_type_id.category == "Source" for place in places):
        yield _structure("stages", "Pipeline should contain at least 1 action whose category is not Source")


def _names(declaration: PipelineDeclaration) -> Iterator[Problem]:
    for index in _repeated([stage.name for stage in declaration.stages]):
        name = declaration.stages[index].name
        yield Problem(
            f"stages[{index}].name",
            f"Stage name '{name}' is used more than once",
            "InvalidStageDeclarationException",
        )
    for stage_index, stage in enumerate(declaration.stages):
        for index in _repeated([action.name for action in stage.actions]):
            yield _of_action(
                f"stages[{stage_index}].actions[{index}].name",
                f"Action name '{stage.actions[index].name}' is used more than once in stage '{stage.name}'",
            )
    variables = [variable.name for variable in declaration.variables or []]
    for index in _repeated(variables):
        yield _structure(
            f"variables[{index}].name",
            f"Variable names must be unique. The following variable name is already in use: {variables[index]}",
        )


def _repeated(names: list[str]) -> Iterator[int]:
    """The indexes of names that stood before."""
    return (index for index, name in enumerate(names) if name in names[:index])


def _version_2(declaration: PipelineDeclaration, places: list[_Place]) -> Iterator[Problem]:
    if declaration.pipeline_type == "V2":
        return
    if declaration.variables:
        yield _structure("variables", "Pipeline variable can only be used with V2 pipelines")
    if declaration.triggers:
        yield _structure("triggers", "Triggers on tag can only be used with V2 pipelines")
    if declaration.execution_mode != "SUPERSEDED":
        yield _structure("executionMode", "QUEUED or PARALLEL mode can only be used with V2 pipelines")
    for index, stage in enumerate(declaration.stages):
        for field in ("before_entry", "on_success", "on_failure"):
            if getattr(stage, field):
                yield Problem(
                    f"stages[{index}].{_camel(field)}",
                    "Stage level conditions can only be used with V2 pipelines.",
                    "InvalidStageDeclarationException",
                )
    for place in places:
        kind = place.action.action_type_id
        if kind.owner == "AWS" and kind.provider in V2_PROVIDERS:
            yield _of_action(
                f"{place.path}.actionTypeId",
                f"{kind.provider} Action can only be used with V2 pipelines.",
                hint='set "pipelineType": "V2"',
            )


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.title() for part in rest)


def _fields(places: list[_Place]) -> Iterator[Problem]:
    """Fields that only some action types have."""
    for place in places:
        action, kind = place.action, place.action.action_type_id
        is_commands = (kind.category, kind.provider) == ("Compute", "Commands")
        if is_commands and not action.commands:
            yield _of_action(
                f"{place.path}.commands", f"Action {action.name} must have a non-empty commands field"
            )
        for index, command in enumerate(action.commands or []):
            if "\n" in command or "\r" in command:
                yield _of_action(f"{place.path}.commands[{index}]", "a command is a single line")
        for field in ("commands", "output_variables"):
            if getattr(action, field) and not is_commands:
                yield _of_action(f"{place.path}.{_camel(field)}", "only Commands actions have it")
        if action.environment_variables and not (is_commands or kind.provider == "EKS"):
            yield _of_action(f"{place.path}.environmentVariables", "only Commands and EKS actions have it")
        if not is_commands and any(artifact.files for artifact in action.output_artifacts):
            yield _of_action(f"{place.path}.outputArtifacts", "only Commands actions name files")
        if action.timeout_in_minutes and not action.is_approval:
            yield _of_action(f"{place.path}.timeoutInMinutes", "only Manual approval actions have it")


def _artifacts(places: list[_Place]) -> Iterator[Problem]:
    producers: dict[str, _Place] = {}
    for place in places:
        for index, output in enumerate(place.action.output_artifacts):
            if output.name in producers:
                yield _structure(
                    f"{place.path}.outputArtifacts[{index}].name",
                    "Output Artifact Bundle name must be unique within the pipeline. "
                    f"{output.name} has been used more than once.",
                )
            producers.setdefault(output.name, place)
    for place in places:
        for index, artifact in enumerate(place.action.input_artifacts):
            producer = producers.get(artifact.name)
            if producer is None or producer.order >= place.order:
                earlier = {name for name, other in producers.items() if other.order < place.order}
                yield _structure(
                    f"{place.path}.inputArtifacts[{index}].name",
                    f"Input Artifact Bundle {artifact.name} in action {place.action.name} is not declared as "
                    "Output Artifact Bundle in any of the preceding actions",
                    hint=nearest(artifact.name, earlier),
                )


def _namespaces(places: list[_Place]) -> Iterator[Problem]:
    named = [place for place in places if place.action.namespace]
    counts = Counter(place.action.namespace for place in named)
    artifacts = {output.name for place in places for output in place.action.output_artifacts}
    for place in named:
        namespace, path = place.action.namespace, f"{place.path}.namespace"
        if counts[namespace] > 1:
            yield _of_action(
                path,
                "Namespaces must be unique across the pipeline definition. The following occur more than once in the "
                f"pipeline. StageName=[{place.stage.name}], ActionName=[{place.action.name}], Namespace=[{namespace}]",
            )
        if namespace in ("codepipeline", "variables"):
            yield _of_action(path, f"namespace '{namespace}' is reserved")
        if namespace in artifacts:
            yield _of_action(path, f"namespace '{namespace}' is the name of an artifact")


def _references(declaration: PipelineDeclaration, places: list[_Place]) -> Iterator[Problem]:
    producers = {place.action.namespace: place for place in places if place.action.namespace}
    variables = {variable.name for variable in declaration.variables or []}
    for place in places:
        for below, text in texts_of(place.action):
            for reference in find_references(text):
                yield from _reference(place, below, reference, producers, variables)


def _reference(
    place: _Place, below: str, reference: Reference, producers: dict[str, _Place], variables: set[str]
) -> Iterator[Problem]:
    path = f"{place.path}.{below}"
    where = (
        f"StageName=[{place.stage.name}], ActionName=[{place.action.name}], "
        f"ActionConfigurationKey=[{below.removeprefix('configuration.')}], VariableReferenceText=[{reference.text}]"
    )
    if reference.namespace == "codepipeline":
        if reference.key != "PipelineExecutionId":
            yield _of_action(path, f"'codepipeline' has only 'PipelineExecutionId'. {where}")
    elif reference.namespace == "variables":
        if place.action.action_type_id.category == "Source":
            yield _structure(
                path, f"Variables at the pipeline level cannot be used in source actions.\n{where}"
            )
        elif reference.key not in variables:
            yield _structure(
                path,
                f"The referenced variables haven't been declared.\n{where}",
                hint=nearest(reference.key, variables),
            )
    else:
        producer = producers.get(reference.namespace)
        if producer is None or producer.order >= place.order:
            earlier = {name for name, other in producers.items() if other.order < place.order}
            yield _of_action(
                path,
                "Valid format for a pipeline execution variable reference is a namespace and a key separated by a "
                "period (.). The following pipeline execution variables are referencing a namespace that does not "
                f"exist.\n{where}",
                hint=nearest(reference.namespace, earlier),
            )


def _problem_of(details: Any, model: type[BaseModel] | None) -> Problem:
    location = details["loc"]
    path = _path(location)
    kind = details["type"]
    if kind == "extra_forbidden":
        known = _keys_at(model, location[:-1])
        return Problem(path, f"unknown key '{location[-1]}'", hint=nearest(str(location[-1]), known))
    if kind == "missing":
        return Problem(path, "Member must not be null: it is required")
    return Problem(path, f"{details['msg']}{_shown(location, details.get('input'))}")


def _path(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _shown(location: tuple[int | str, ...], value: Any) -> str:
    if isinstance(value, (dict, list)) or any(_SECRET_KEY.search(str(part)) for part in location):
        return ""
    text = repr(value)
    return f", got {text if len(text) <= 60 else text[:57] + '...'}"


def _keys_at(model: type[BaseModel] | None, location: tuple[int | str, ...]) -> set[str]:
    """The keys that an object at that place may have."""
    if model is None:
        return set()
    for part in location:
        if isinstance(part, int):
            continue
        field = next((f for f in model.model_fields.values() if f.alias == part), None)
        below = field and _model_in(field.annotation)
        if not below:
            return set()
        model = below
    return {field.alias or name for name, field in model.model_fields.items()}


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _model_in(inner))), None)
