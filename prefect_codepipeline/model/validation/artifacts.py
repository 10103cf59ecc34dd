"""Rules for artifacts: each is produced once, before it is used."""

from __future__ import annotations

from collections.abc import Iterator

from prefect_codepipeline.model.problem import Problem
from prefect_codepipeline.model.validation.rules import Pipeline, rules_of

_artifact = rules_of("Artifacts", "InvalidStructureException")

MADE_TWICE = _artifact(
    "artifact-made-once",
    "Names of output artifacts are unique in the pipeline.",
    "Output Artifact Bundle name must be unique within the pipeline. {name} has been used more than once.",
)
NOT_MADE = _artifact(
    "artifact-made-before",
    "An input artifact is the output of an action in an earlier stage, or with a lower run order in the same stage.",
    "Input Artifact Bundle {name} in action {action} is not declared as Output Artifact Bundle in any of the "
    "preceding actions",
)
NOT_MADE_FOR_RULE = _artifact(
    "artifact-made-before-rule",
    "An input artifact of a rule is produced before its condition: in an earlier stage, or in the same stage for "
    "`onSuccess` and `onFailure`.",
    "Input Artifact Bundle {name} in rule {rule} is not declared as Output Artifact Bundle in any of the preceding "
    "actions",
)


def check_artifacts(pipeline: Pipeline) -> Iterator[Problem]:
    """Check that each artifact is produced once, before it is used."""
    seen: set[str] = set()
    for place in pipeline.places:
        for index, output in enumerate(place.action.output_artifacts):
            if output.name in seen:
                yield MADE_TWICE.at(f"{place.path}.outputArtifacts[{index}].name", name=output.name)
            seen.add(output.name)
    for place in pipeline.places:
        for index, artifact in enumerate(place.action.input_artifacts):
            if not _is_made(artifact.name, place.order, pipeline):
                yield NOT_MADE.at(
                    f"{place.path}.inputArtifacts[{index}].name",
                    name=artifact.name,
                    action=place.action.name,
                    hint=_hint(artifact.name, place.order, pipeline),
                )
    for found in pipeline.rule_places:
        for index, artifact in enumerate(found.rule.input_artifacts or []):
            if not _is_made(artifact.name, found.order, pipeline):
                yield NOT_MADE_FOR_RULE.at(
                    f"{found.path}.inputArtifacts[{index}].name",
                    name=artifact.name,
                    rule=found.rule.name,
                    hint=_hint(artifact.name, found.order, pipeline),
                )


def _is_made(name: str, order: tuple[int, int], pipeline: Pipeline) -> bool:
    producer = pipeline.producers.get(name)
    return producer is not None and producer.order < order


def _hint(name: str, order: tuple[int, int], pipeline: Pipeline) -> str:
    return pipeline.propose(name, lambda: pipeline.before(pipeline.producers, order))
