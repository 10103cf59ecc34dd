"""Rules for features that need a pipeline of type V2."""

from __future__ import annotations

from collections.abc import Iterator

from prefect_codepipeline.model.problem import Problem
from prefect_codepipeline.model.validation.rules import Pipeline, rules_of

_HINT = 'set "pipelineType": "V2"'
_version = rules_of("Pipeline types", "InvalidStructureException")

VARIABLES = _version(
    "variables-need-v2",
    "Pipeline variables need a pipeline of type V2.",
    "Pipeline variable can only be used with V2 pipelines",
)
TRIGGERS = _version(
    "triggers-need-v2",
    "Triggers need a pipeline of type V2.",
    "Triggers on tag can only be used with V2 pipelines",
)
MODE = _version(
    "mode-needs-v2",
    "The execution modes `QUEUED` and `PARALLEL` need a pipeline of type V2.",
    "QUEUED or PARALLEL mode can only be used with V2 pipelines",
)
CONDITIONS = _version(
    "conditions-need-v2",
    "`beforeEntry`, `onSuccess` and `onFailure` need a pipeline of type V2.",
    "Stage level conditions can only be used with V2 pipelines.",
    exception="InvalidStageDeclarationException",
)
PROVIDER = _version(
    "provider-needs-v2",
    "Some action types need a pipeline of type V2; the table of action types says which.",
    "{provider} Action can only be used with V2 pipelines.",
    exception="InvalidActionDeclarationException",
)


def check_pipeline_type(pipeline: Pipeline) -> Iterator[Problem]:
    """Check that a pipeline of type V1 does not use features of V2."""
    declaration = pipeline.declaration
    if declaration.pipeline_type == "V2":
        return
    if declaration.variables:
        yield VARIABLES.at("variables", hint=_HINT)
    if declaration.triggers:
        yield TRIGGERS.at("triggers", hint=_HINT)
    if declaration.execution_mode != "SUPERSEDED":
        yield MODE.at("executionMode", hint=_HINT)
    for index, stage in enumerate(declaration.stages):
        kinds = {
            "beforeEntry": stage.before_entry,
            "onSuccess": stage.on_success,
            "onFailure": stage.on_failure,
        }
        for kind in (kind for kind, conditions in kinds.items() if conditions):
            yield CONDITIONS.at(f"stages[{index}].{kind}", hint=_HINT)
    for place in pipeline.places:
        if place.type and "V1" not in place.type.pipeline_types:
            yield PROVIDER.at(f"{place.path}.actionTypeId", provider=place.type.provider, hint=_HINT)
