"""Rules for artifact stores, regions, stages, source actions and names."""

from __future__ import annotations

from collections.abc import Iterator

from prefect_codepipeline.model.names import is_path_part
from prefect_codepipeline.model.problem import Problem
from prefect_codepipeline.model.validation.rules import Pipeline, repeated, rules_of

MOST_STAGES, MOST_ACTIONS_OF_A_STAGE, MOST_ACTIONS = 50, 100, 1000

_store = rules_of("Artifact stores and regions", "InvalidStructureException")
_stage = rules_of("Stages and their order", "InvalidStructureException")
_name = rules_of("Names", "InvalidStructureException")

STORES = _store(
    "one-kind-of-store",
    "A pipeline has either `artifactStore` or `artifactStores`.",
    "exactly one of 'artifactStore' and 'artifactStores' is required",
)
SEVERAL_REGIONS = _store(
    "one-store-for-several-regions",
    "A pipeline with actions in more than one region has `artifactStores`.",
    "Your pipeline contains actions in more than one region. Use 'pipeline.artifactStores' instead of "
    "'pipeline.artifactStore' to declare an artifact store, such as an artifact bucket, for each region where you "
    "have an action.",
)
REGION_WITHOUT_STORE = _store(
    "region-without-store",
    "`artifactStores` has a store for the pipeline's own region, and for the region of each action.",
    "Your pipeline must have an artifact store, such as an artifact bucket, for each region where you have an "
    "action. The following region is missing in 'pipeline.artifactStores': {region}.",
)
CROSS_REGION = _store(
    "action-bound-to-region",
    "Source actions, and actions of owner ThirdParty or Custom, are in the region of the pipeline.",
    "Action {action} of category {category} and owner {owner} must be in the region of the pipeline ({home}), not in "
    "{region}",
    exception="InvalidActionDeclarationException",
)
TOO_FEW_STAGES = _stage(
    "too-few-stages",
    "A pipeline has 2 or more stages.",
    "Pipeline has only {count} stage(s). There should be a minimum of 2 stages in a pipeline",
)
TOO_MANY_STAGES = _stage(
    "too-many-stages",
    f"A pipeline has at most {MOST_STAGES} stages.",
    f"Pipeline has too many stages. There can only be up to {MOST_STAGES} stages in a pipeline",
)
TOO_MANY_ACTIONS_OF_A_STAGE = _stage(
    "too-many-actions-in-stage",
    f"A stage has at most {MOST_ACTIONS_OF_A_STAGE} actions.",
    f"Stage '{{stage}}' has {{count}} actions. There can only be up to {MOST_ACTIONS_OF_A_STAGE} actions in a stage",
    exception="InvalidStageDeclarationException",
)
TOO_MANY_ACTIONS = _stage(
    "too-many-actions",
    f"A pipeline has at most {MOST_ACTIONS} actions.",
    f"Pipeline has {{count}} actions. There can only be up to {MOST_ACTIONS} actions in a pipeline",
    exception="LimitExceededException",
)
WORK_IN_SOURCE_STAGE = _stage(
    "first-stage-only-sources",
    "The first stage has only source actions.",
    "Pipeline should start with a stage that only contains source actions",
)
SOURCE_LATER = _stage(
    "sources-only-first",
    "Only the first stage has source actions.",
    "Source actions can only be included in the first stage of the pipeline",
)
ONLY_SOURCES = _stage(
    "work-after-sources",
    "At least one action is not a source action.",
    "Pipeline should contain at least 1 action whose category is not Source",
)
PIPELINE_NAME = _name(
    "pipeline-name-no-path",
    "The name of a pipeline is neither `.` nor `..`, which AWS accepts.",
    "A pipeline cannot have the name '{name}': its name is part of URLs, where this is another path",
)
STAGE_TWICE = _name(
    "stage-name-once",
    "Stage names are unique in the pipeline.",
    "Stage name '{name}' is used more than once",
    exception="InvalidStageDeclarationException",
)
ACTION_TWICE = _name(
    "action-name-once",
    "Action names are unique in their stage.",
    "Action name '{name}' is used more than once in stage '{stage}'",
    exception="InvalidActionDeclarationException",
)
BLOCKER_TWICE = _name(
    "blocker-name-once",
    "Names of blockers are unique in their stage.",
    "Blocker name '{name}' is used more than once in stage '{stage}'",
    exception="InvalidBlockerDeclarationException",
)
VARIABLE_TWICE = _name(
    "variable-name-once",
    "Names of pipeline variables are unique.",
    "Variable names must be unique. The following variable name is already in use: {name}",
)


def check_stores(pipeline: Pipeline) -> Iterator[Problem]:
    """Check artifact stores and the regions of actions."""
    declaration = pipeline.declaration
    if (declaration.artifact_store is None) == (declaration.artifact_stores is None):
        yield STORES.at("artifactStore")
        return
    home = pipeline.region
    used = {place.action.region for place in pipeline.places if place.action.region}
    if declaration.artifact_store and len(used | ({home} if home else set())) > 1:
        yield SEVERAL_REGIONS.at("artifactStore")
    if declaration.artifact_stores:
        if home and home not in declaration.artifact_stores:
            yield REGION_WITHOUT_STORE.at("artifactStores", region=home)
        for region in sorted(used - declaration.artifact_stores.keys() - {home}):
            hint = pipeline.propose(region, lambda: (declaration.artifact_stores or {}).keys())
            yield REGION_WITHOUT_STORE.at("artifactStores", region=region, hint=hint)
    yield from _bound_to_the_region(pipeline, used)


def _bound_to_the_region(pipeline: Pipeline, used: set[str]) -> Iterator[Problem]:
    home = pipeline.region or _home(pipeline)
    for place in pipeline.places:
        kind, region = place.action.action_type_id, place.action.region
        if home and region and region != home and (place.is_source or kind.owner != "AWS"):
            yield CROSS_REGION.at(
                f"{place.path}.region", action=place.action.name, category=kind.category, owner=kind.owner,
                region=region, home=home,
            )  # fmt: skip


def _home(pipeline: Pipeline) -> str | None:
    """The region of the pipeline, if the definition implies it: the region of its only store or of its first source."""
    stores = pipeline.declaration.artifact_stores or {}
    if len(stores) == 1:
        return next(iter(stores))
    return next((place.action.region for place in pipeline.places if place.is_source), None)


def check_stages(pipeline: Pipeline) -> Iterator[Problem]:
    """Check the numbers of stages and actions."""
    stages = pipeline.declaration.stages
    if len(stages) < 2:
        yield TOO_FEW_STAGES.at("stages", count=len(stages))
    if len(stages) > MOST_STAGES:
        yield TOO_MANY_STAGES.at("stages")
    for index, stage in enumerate(stages):
        if len(stage.actions) > MOST_ACTIONS_OF_A_STAGE:
            yield TOO_MANY_ACTIONS_OF_A_STAGE.at(
                f"stages[{index}].actions", stage=stage.name, count=len(stage.actions)
            )
    if len(pipeline.places) > MOST_ACTIONS:
        yield TOO_MANY_ACTIONS.at("stages", count=len(pipeline.places))


def check_sources(pipeline: Pipeline) -> Iterator[Problem]:
    """Check that source actions are in the first stage, and that other actions follow."""
    for place in pipeline.places:
        if place.stage_index == 0 and not place.is_source:
            yield WORK_IN_SOURCE_STAGE.at(place.path)
        if place.stage_index > 0 and place.is_source:
            yield SOURCE_LATER.at(place.path)
    if pipeline.places and all(place.is_source for place in pipeline.places):
        yield ONLY_SOURCES.at("stages")


def check_names(pipeline: Pipeline) -> Iterator[Problem]:
    """Check that the pipeline's name can be part of a URL, and that names are unique."""
    if not is_path_part(pipeline.declaration.name):
        yield PIPELINE_NAME.at("name", name=pipeline.declaration.name)
    stages = pipeline.declaration.stages
    for index in repeated([stage.name for stage in stages]):
        yield STAGE_TWICE.at(f"stages[{index}].name", name=stages[index].name)
    for stage_index, stage in enumerate(stages):
        for index in repeated([action.name for action in stage.actions]):
            path = f"stages[{stage_index}].actions[{index}].name"
            yield ACTION_TWICE.at(path, name=stage.actions[index].name, stage=stage.name)
        blockers = [blocker.name for blocker in stage.blockers or []]
        for index in repeated(blockers):
            path = f"stages[{stage_index}].blockers[{index}].name"
            yield BLOCKER_TWICE.at(path, name=blockers[index], stage=stage.name)
    variables = [variable.name for variable in pipeline.declaration.variables or []]
    for index in repeated(variables):
        yield VARIABLE_TWICE.at(f"variables[{index}].name", name=variables[index])
