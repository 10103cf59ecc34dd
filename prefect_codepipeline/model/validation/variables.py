"""Rules for namespaces, and for the references `#{namespace.key}`.

https://docs.aws.amazon.com/codepipeline/latest/userguide/reference-variables.html
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from prefect_codepipeline.model.definition.declaration import RuleDeclaration
from prefect_codepipeline.model.definition.variables import Reference, find_references, texts_of
from prefect_codepipeline.model.problem import Problem
from prefect_codepipeline.model.validation.rules import Pipeline, Place, RulePlace, rules_of

_namespace = rules_of("Namespaces", "InvalidActionDeclarationException")
_reference = rules_of("References to variables", "InvalidActionDeclarationException")

TWICE = _namespace(
    "namespace-once",
    "Namespaces are unique in the pipeline.",
    "Namespaces must be unique across the pipeline definition. The following occur more than once in the pipeline. "
    "StageName=[{stage}], ActionName=[{action}], Namespace=[{namespace}]",
)
RESERVED = _namespace(
    "namespace-reserved",
    "No action has the namespace `codepipeline`; in a pipeline with variables, no action has the namespace `variables`.",
    "namespace '{namespace}' is reserved",
)
LIKE_ARTIFACT = _namespace(
    "namespace-no-artifact",
    "A namespace is not the name of an artifact.",
    "namespace '{namespace}' is also the name of an artifact",
)
NO_NAMESPACE = _reference(
    "reference-to-earlier-namespace",
    "A reference is `#{namespace.key}`; the namespace belongs to an action in an earlier stage, or with a lower run "
    "order in the same stage.",
    "Valid format for a pipeline execution variable reference is a namespace and a key separated by a period (.). "
    "The following pipeline execution variables are referencing a namespace that does not exist.\n{where}",
)
ONLY_EXECUTION_ID = _reference(
    "reference-to-codepipeline",
    "The only key of `codepipeline` is `PipelineExecutionId`.",
    "'codepipeline' has only 'PipelineExecutionId'. {where}",
)
IN_SOURCE = _reference(
    "no-variables-in-sources",
    "Source actions do not refer to pipeline variables.",
    "Variables at the pipeline level cannot be used in source actions.\n{where}",
    exception="InvalidStructureException",
)
NOT_DECLARED = _reference(
    "variable-declared",
    "A pipeline variable that a reference names is declared.",
    "The referenced variables haven't been declared.\n{where}",
    exception="InvalidStructureException",
)
NO_SUCH_OUTPUT = _reference(
    "output-variable-exists",
    "The key of a reference is an output variable of the action.",
    "action '{action}' has no output variable '{key}', so the reference will fail when it runs; it has: {known}",
    severity="warning",
)


class _Use(NamedTuple):
    """A reference and its position: `owner` is the action or rule, `below` the path of the string in the owner."""

    reference: Reference
    owner: Place | RulePlace
    below: str

    @property
    def path(self) -> str:
        return f"{self.owner.path}.{self.below}"

    @property
    def where(self) -> str:
        owner = self.owner
        name = (
            f"ActionName=[{owner.action.name}]"
            if isinstance(owner, Place)
            else f"RuleName=[{owner.rule.name}]"
        )
        return (
            f"StageName=[{owner.stage.name}], {name}, "
            f"ActionConfigurationKey=[{self.below.removeprefix('configuration.')}], "
            f"VariableReferenceText=[{self.reference.text}]"
        )


def check_namespaces(pipeline: Pipeline) -> Iterator[Problem]:
    """Check that namespaces are unique and not reserved."""
    counts = Counter(place.action.namespace for place in pipeline.places if place.action.namespace)
    for place in pipeline.places:
        namespace, path = place.action.namespace, f"{place.path}.namespace"
        if not namespace:
            continue
        if counts[namespace] > 1:
            yield TWICE.at(path, stage=place.stage.name, action=place.action.name, namespace=namespace)
        if namespace == "codepipeline" or (namespace == "variables" and pipeline.variables):
            yield RESERVED.at(path, namespace=namespace)
        if namespace in pipeline.producers:
            yield LIKE_ARTIFACT.at(path, namespace=namespace)


def check_references(pipeline: Pipeline) -> Iterator[Problem]:
    """Check that each reference can be resolved when the action starts."""
    for use in _uses(pipeline):
        namespace = use.reference.namespace
        if namespace == "codepipeline":
            if use.reference.key != "PipelineExecutionId":
                yield ONLY_EXECUTION_ID.at(use.path, where=use.where)
        elif namespace == "variables" and "variables" not in pipeline.namespaces:
            yield from _variable(use, pipeline)
        else:
            yield from _output(use, pipeline)


def _variable(use: _Use, pipeline: Pipeline) -> Iterator[Problem]:
    if isinstance(use.owner, Place) and use.owner.is_source:
        yield IN_SOURCE.at(use.path, where=use.where)
    elif use.reference.key not in pipeline.variables:
        hint = pipeline.propose(use.reference.key, lambda: pipeline.variables)
        yield NOT_DECLARED.at(use.path, where=use.where, hint=hint)


def _output(use: _Use, pipeline: Pipeline) -> Iterator[Problem]:
    producer = pipeline.namespaces.get(use.reference.namespace)
    if producer is None or producer.order >= use.owner.order:
        hint = pipeline.propose(
            use.reference.namespace, lambda: pipeline.before(pipeline.namespaces, use.owner.order)
        )
        yield NO_NAMESPACE.at(use.path, where=use.where, hint=hint)
        return
    known = _outputs_of(producer)
    if known is not None and use.reference.key not in known:
        yield NO_SUCH_OUTPUT.at(
            use.path, action=producer.action.name, key=use.reference.key,
            known=", ".join(known) or "none", hint=pipeline.propose(use.reference.key, lambda: known),
        )  # fmt: skip


def _outputs_of(place: Place) -> list[str] | None:
    """The output variables of an action; None if the definition does not determine them."""
    if place.is_of("Compute", "Commands"):
        return list(place.action.output_variables or [])
    if place.type is None or place.type.published or place.type.other_output_variables:
        return None
    return list(place.type.output_variables) or None


def _uses(pipeline: Pipeline) -> Iterator[_Use]:
    for place in pipeline.places:
        for below, text in texts_of(place.action):
            for reference in find_references(text):
                yield _Use(reference, place, below)
    for found in pipeline.rule_places:
        for below, text in _texts_of_rule(found.rule):
            for reference in find_references(text):
                yield _Use(reference, found, below)


def _texts_of_rule(rule: RuleDeclaration) -> Iterator[tuple[str, str]]:
    for key, value in (rule.configuration or {}).items():
        yield f"configuration.{key}", value
    for index, command in enumerate(rule.commands or []):
        yield f"commands[{index}]", command
