"""Rules for triggers: their source actions and their filters.

https://docs.aws.amazon.com/codepipeline/latest/userguide/pipelines-filter.html
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from prefect_codepipeline.model.definition.declaration import Declared, GitFilter, PipelineTriggerDeclaration
from prefect_codepipeline.model.definition.globs import GlobError, compile_glob
from prefect_codepipeline.model.problem import Problem
from prefect_codepipeline.model.validation.rules import Pipeline, repeated, rules_of

MOST_BYTES = 200 * 1024

_trigger = rules_of("Triggers", "InvalidStructureException")

WRONG_SOURCE = _trigger(
    "trigger-of-connection",
    "A trigger names a source action of type CodeStarSourceConnection.",
    "Triggers for connections must reference a CodeStarSourceConnection action.",
)
SECOND_OF_SOURCE = _trigger(
    "one-trigger-a-source",
    "A source action has at most one trigger.",
    "There can only be one trigger for each source action. '{action}' has been used more than once.",
)
FILTER_TWICE = _trigger(
    "filters-differ",
    "The filters of one event type differ from one another.",
    "Filters of one event type must be different from one another. Filter {number} repeats an earlier filter.",
)
TOO_LARGE = _trigger(
    "triggers-size",
    "All triggers together have at most 200 KB as JSON.",
    "The triggers have {size} bytes as JSON; at most {most} are allowed",
    exception="LimitExceededException",
)
NEVER_FIRES = _trigger(
    "filter-tags-alone",
    "A push filter has either tags or branches, because a push is to one of them.",
    "a push is to a tag or to a branch: a filter with both never starts an execution",
    severity="warning",
)
FILES_ALONE = _trigger(
    "filter-files-with-branches",
    "A filter with file paths also has branches.",
    "AWS documents file paths only together with branches",
    severity="warning",
)
NO_GLOB = _trigger(
    "filter-glob",
    "The patterns of a filter are globs.",
    "{pattern!r} is not a glob, so its filter never starts an execution: {reason}",
    severity="warning",
)


def check_triggers(pipeline: Pipeline) -> Iterator[Problem]:
    """Check triggers and their filters."""
    triggers = pipeline.declaration.triggers or []
    sources = {place.action.name: place for place in pipeline.places if place.is_source}
    connections = {
        name for name, place in sources.items() if place.is_of("Source", "CodeStarSourceConnection")
    }
    for index, trigger in enumerate(triggers):
        name = trigger.git_configuration.source_action_name
        if name not in connections:
            yield WRONG_SOURCE.at(
                f"triggers[{index}].gitConfiguration.sourceActionName",
                hint=pipeline.propose(name, lambda: connections),
            )
        yield from _filters(trigger, f"triggers[{index}].gitConfiguration")
    names = [trigger.git_configuration.source_action_name for trigger in triggers]
    for index in repeated(names):
        path = f"triggers[{index}].gitConfiguration.sourceActionName"
        yield SECOND_OF_SOURCE.at(path, action=names[index])
    size = sum(len(_json(trigger).encode()) + 1 for trigger in triggers) + 1
    if size > MOST_BYTES:
        yield TOO_LARGE.at("triggers", size=size, most=MOST_BYTES)


def _filters(trigger: PipelineTriggerDeclaration, path: str) -> Iterator[Problem]:
    git = trigger.git_configuration
    yield from _repeated_filters(git.push or [], f"{path}.push")
    yield from _repeated_filters(git.pull_request or [], f"{path}.pullRequest")
    for index, push in enumerate(git.push or []):
        if push.tags and (push.branches or push.file_paths):
            yield NEVER_FIRES.at(f"{path}.push[{index}].tags")
        elif push.file_paths and not push.branches:
            yield FILES_ALONE.at(f"{path}.push[{index}].filePaths")
        yield from _patterns(
            {"tags": push.tags, "branches": push.branches, "filePaths": push.file_paths},
            f"{path}.push[{index}]",
        )
    for index, request in enumerate(git.pull_request or []):
        yield from _patterns(
            {"branches": request.branches, "filePaths": request.file_paths}, f"{path}.pullRequest[{index}]"
        )
        if request.file_paths and not request.branches:
            yield FILES_ALONE.at(f"{path}.pullRequest[{index}].filePaths")


def _patterns(filters: Mapping[str, GitFilter | None], path: str) -> Iterator[Problem]:
    for kind, found in filters.items():
        lists = {"includes": found.includes, "excludes": found.excludes} if found else {}
        for name, patterns in lists.items():
            for index, text in enumerate(patterns or []):
                try:
                    compile_glob(text)
                except GlobError as error:
                    yield NO_GLOB.at(f"{path}.{kind}.{name}[{index}]", pattern=text, reason=str(error))


def _repeated_filters(filters: Sequence[Declared], path: str) -> Iterator[Problem]:
    for index in repeated([_json(found) for found in filters]):
        yield FILTER_TWICE.at(f"{path}[{index}]", number=index + 1)


def _json(declared: Declared) -> str:
    wire = declared.model_dump(by_alias=True, exclude_none=True, warnings=False)
    return json.dumps(wire, sort_keys=True, separators=(",", ":"))
