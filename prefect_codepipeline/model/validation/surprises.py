"""Warnings: definitions that AWS accepts, but that fail or behave unexpectedly when the pipeline runs."""

from __future__ import annotations

from collections.abc import Iterator

from prefect_codepipeline.model.problem import Problem
from prefect_codepipeline.model.validation.configuration import MASK
from prefect_codepipeline.model.validation.rules import Pipeline, Place, is_known, rules_of
from prefect_codepipeline.model.validation.structure import MOST_ACTIONS, MOST_ACTIONS_OF_A_STAGE, MOST_STAGES

# A value above this part of its limit gives a warning.
_NEAR = 0.9
_MOST_CHARACTERS, _MOST_VARIABLES, _MOST_TRIGGERS = 1000, 50, 50

_surprise = rules_of("Surprises", "ValidationException")

HYPHEN = _surprise(
    "codebuild-artifact-names",
    "If a CodeBuild action has several output artifacts, their names have only letters, digits and underscores.",
    "if there are several output artifacts, CodeBuild allows only letters, digits and underscores in their names: the "
    "artifact name '{name}' fails when the action runs",
    severity="warning",
)
UNUSED = _surprise(
    "artifact-unused",
    "Every artifact is the input of an action.",
    "no action uses artifact '{name}'",
    severity="warning",
)
NOT_STARTED = _surprise(
    "source-starts-nothing",
    "A source that does not detect changes has a trigger.",
    "{key} is false and there is no trigger: changes do not start an execution, except through event rules and "
    "webhooks outside the definition",
    severity="warning",
)
PLAIN_SECRET = _surprise(
    "secret-in-plain-text",
    "Secrets in configurations are not in plain text.",
    "the secret '{key}' is in plain text: everyone who can read the definition can use it",
    severity="warning",
)
WITHOUT_EFFECT = _surprise(
    "configuration-without-effect",
    "A key that has an effect only with another key is set together with it.",
    "'{key}' has an effect only {when}",
    severity="warning",
)
WINDOWS = _surprise(
    "windows-needs-more",
    "A Commands action on Windows does not have the small compute type.",
    "WINDOWS_SERVER_2022_CONTAINER does not run on BUILD_GENERAL1_SMALL: the action fails when it runs",
    severity="warning",
)
CLONE_REFERENCE = _surprise(
    "clone-reference-for-codebuild",
    "Only CodeBuild actions use an artifact of format `CODEBUILD_CLONE_REF`.",
    "artifact '{name}' is a reference for CodeBuild to clone (OutputArtifactFormat of '{source}'): {provider} cannot "
    "read it",
    severity="warning",
)
BLOCKERS = _surprise(
    "blockers-do-nothing",
    "Stages have no blockers.",
    "blockers are reserved and have no effect",
    exception="InvalidBlockerDeclarationException",
    severity="warning",
)
NEAR_LIMIT = _surprise(
    "near-limit",
    "Numbers and lengths are at most 90 % of their limits.",
    "near the limit: {count} of at most {most} {what}",
    exception="LimitExceededException",
    severity="warning",
)


def check_artifact_uses(pipeline: Pipeline) -> Iterator[Problem]:
    """Warn about artifacts that no action uses, or that an action uses but cannot read."""
    taken = {artifact.name for place in pipeline.places for artifact in place.action.input_artifacts}
    taken |= {
        artifact.name for found in pipeline.rule_places for artifact in found.rule.input_artifacts or []
    }
    for place in pipeline.places:
        outputs = place.action.output_artifacts
        for index, output in enumerate(outputs):
            path = f"{place.path}.outputArtifacts[{index}].name"
            if output.name not in taken:
                yield UNUSED.at(path, name=output.name)
            if (
                "-" in output.name
                and len(outputs) > 1
                and place.action.action_type_id.provider == "CodeBuild"
            ):
                yield HYPHEN.at(path, name=output.name, hint=f"name it {output.name.replace('-', '_')!r}")
        yield from _clone_references(place, pipeline)


def _clone_references(place: Place, pipeline: Pipeline) -> Iterator[Problem]:
    kind = place.action.action_type_id
    # Commands actions can read it too, because they run on CodeBuild.
    if kind.provider in ("CodeBuild", "Commands", "ECRBuildAndPublish") or kind.owner != "AWS":
        return
    for index, artifact in enumerate(place.action.input_artifacts):
        producer = pipeline.producers.get(artifact.name)
        if producer and producer.action.configuration.get("OutputArtifactFormat") == "CODEBUILD_CLONE_REF":
            yield CLONE_REFERENCE.at(
                f"{place.path}.inputArtifacts[{index}].name",
                name=artifact.name, source=producer.action.name, provider=kind.provider,
            )  # fmt: skip


def check_starts(pipeline: Pipeline) -> Iterator[Problem]:
    """Warn about sources whose changes start no execution."""
    triggered = {
        trigger.git_configuration.source_action_name for trigger in pipeline.declaration.triggers or []
    }
    for place in pipeline.places:
        for key in ("PollForSourceChanges", "DetectChanges"):
            value = place.action.configuration.get(key, "")
            if place.is_source and value.lower() == "false" and place.action.name not in triggered:
                yield NOT_STARTED.at(f"{place.path}.configuration.{key}", key=key)


def check_configuration_surprises(pipeline: Pipeline) -> Iterator[Problem]:
    """Warn about secrets in plain text, values without effect, and values that cannot work."""
    for place in pipeline.places:
        configuration = place.action.configuration
        for key in place.type.configuration if place.type else ():
            value, path = configuration.get(key.key), f"{place.path}.configuration.{key.key}"
            if value is None:
                continue
            if key.secret and value != MASK and is_known(value) and not value.startswith("{{resolve:"):
                yield PLAIN_SECRET.at(path, key=key.key)
            if key.only_with and place.type and value.lower() != (key.default or ""):
                inputs = len(place.action.input_artifacts)
                if key.only_with.holds(configuration, inputs, place.type.defaults) is False:
                    yield WITHOUT_EFFECT.at(path, key=key.key, when=key.only_with)
        is_small = configuration.get("ComputeType", "BUILD_GENERAL1_SMALL") == "BUILD_GENERAL1_SMALL"
        if is_small and configuration.get("EnvironmentType") == "WINDOWS_SERVER_2022_CONTAINER":
            yield WINDOWS.at(f"{place.path}.configuration.EnvironmentType")


def check_blockers(pipeline: Pipeline) -> Iterator[Problem]:
    """Warn about blockers, which AWS reserves but does not use."""
    for index, stage in enumerate(pipeline.declaration.stages):
        if stage.blockers:
            yield BLOCKERS.at(f"stages[{index}].blockers")


def check_distance_to_limits(pipeline: Pipeline) -> Iterator[Problem]:
    """Warn about numbers and lengths near their limits."""
    declaration = pipeline.declaration
    counts = [
        ("stages", len(declaration.stages), MOST_STAGES, "stages"),
        ("stages", len(pipeline.places), MOST_ACTIONS, "actions"),
        ("variables", len(declaration.variables or []), _MOST_VARIABLES, "variables"),
        ("triggers", len(declaration.triggers or []), _MOST_TRIGGERS, "triggers"),
    ]
    for index, stage in enumerate(declaration.stages):
        counts.append((f"stages[{index}].actions", len(stage.actions), MOST_ACTIONS_OF_A_STAGE, "actions"))
    for place in pipeline.places:
        for key, value in place.action.configuration.items():
            if len(value) > _MOST_CHARACTERS * _NEAR:
                counts.append(
                    (f"{place.path}.configuration.{key}", len(value), _MOST_CHARACTERS, "characters")
                )
    for path, count, most, what in counts:
        if most * _NEAR < count <= most:
            yield NEAR_LIMIT.at(path, count=count, most=most, what=what)
