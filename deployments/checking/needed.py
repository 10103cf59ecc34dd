"""The values of an imported definition that its actions need, and that are still unknown."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect_codepipeline.deployments.checking.projects import project_name, projects_in_use
from prefect_codepipeline.deployments.checking.runnable import may_run
from prefect_codepipeline.deployments.files.own_types import rows_in
from prefect_codepipeline.deployments.files.resources import Beside
from prefect_codepipeline.model.definition.declaration import ActionTypeId
from prefect_codepipeline.model.problem import Problem

# The options of an import that say where the stack is which it reads.
STACK_OPTIONS = ("stack", "region", "profile")
# What an action alone uses; its names and artifacts belong to the pipeline.
_OWN_KEYS = ("commands", "configuration", "environmentVariables", "region", "roleArn")


@dataclass(frozen=True)
class NeededValue:
    """An unknown value, and the paths that need it: in the definition, or `resources.ID…` in the resources file."""

    name: str
    what: str
    paths: tuple[str, ...]


def needed_values(
    wire: Mapping[str, Any], beside: Beside, without: Collection[str] = ()
) -> list[NeededValue]:
    """The unknown values that actions of a pipeline need.

    A value that the user has written into the file since the import is not unknown any more. Actions whose types do not
    run here need none. Of the resources, only the buildspecs of the pipeline's projects need their values: all others
    are created without them. In place of a value that follows from others, these are asked for.

    Args:
        wire: the definition.
        beside: its resources file.
        without: the names of projects that have a block already, which is not changed.
    """
    texts = dict(_texts(wire, "")) | _of_projects(wire, beside, without, "Source.BuildSpec")
    idle = tuple(paths_of_actions_that_cannot_run(wire, rows_in(beside.resources)))
    return _unknown_in({path: text for path, text in texts.items() if not path.startswith(idle)}, beside)


def paths_of_actions_that_cannot_run(
    wire: Mapping[str, Any], own: Collection[ActionTypeId] = ()
) -> Iterator[str]:
    """The beginnings of the paths of what only an action uses whose type does not run here.

    Args:
        wire: the definition.
        own: the action types beside the definition.
    """
    for stage_index, stage in enumerate(_list(wire.get("stages"))):
        for index, action in enumerate(_list(_object(stage).get("actions"))):
            kind = _object(_object(action).get("actionTypeId"))
            if kind and not may_run(kind, own):
                path = f"stages[{stage_index}].actions[{index}]"
                yield from (f"{path}.{key}" for key in _OWN_KEYS)


def values_of_variables(
    wire: Mapping[str, Any], beside: Beside, without: Collection[str] = ()
) -> list[NeededValue]:
    """The unknown values in the environment variables of a pipeline's projects, which the builds do not get.

    The arguments are those of `needed_values`.
    """
    return _unknown_in(_of_projects(wire, beside, without, "Environment.EnvironmentVariables"), beside)


def _of_projects(
    wire: Mapping[str, Any], beside: Beside, without: Collection[str], key: str
) -> dict[str, str]:
    """The texts at a key of each project that a pipeline uses, by their paths."""
    outer, inner = key.split(".")
    texts: dict[str, str] = {}
    for logical_id, resource in projects_in_use(wire, beside.resources).items():
        if project_name(resource) not in without:
            part = _object(_object(resource.get("Properties")).get(outer)).get(inner)
            texts |= dict(_texts(part, f"resources.{logical_id}.{key}"))
    return texts


def _unknown_in(texts: Mapping[str, str], beside: Beside) -> list[NeededValue]:
    found: dict[str, list[str]] = {}
    for name, missing in beside.missing.items():
        written = "{{" + name + "}}" if name.startswith("resolve:") else "${" + name + "}"
        paths = [path for path in dict.fromkeys(missing.paths) if written in texts.get(path, "")]
        for asked in _asked_for(name, beside, set()) if paths else ():
            found.setdefault(asked, []).extend(paths)
    return [
        NeededValue(name, beside.missing[name].what, tuple(dict.fromkeys(paths)))
        for name, paths in found.items()
    ]


def _asked_for(name: str, beside: Beside, seen: set[str]) -> Iterator[str]:
    """The value, or those from which it follows."""
    seen.add(name)
    made_of = [each for each in beside.missing[name].made_of if each in beside.missing]
    if not made_of:
        yield name
    for each in made_of:
        if each not in seen:
            yield from _asked_for(each, beside, seen)


def problems_of_needed(needed: list[NeededValue], definition: Path, beside: Beside) -> Iterator[Problem]:
    """An error for each place in the definition that needs an unknown value.

    Those of buildspecs are not errors of the definition: it can be deployed. The command is that for all values.
    """
    command = import_command(definition, beside, [value.name for value in needed])
    for value in needed:
        what = f" ({value.what})" if value.what else ""
        for path in value.paths:
            if not path.startswith("resources."):
                yield Problem(
                    path,
                    f"the value of {value.name}{what} is not in the template",
                    hint=f"write it here, or run: {command}",
                    rule="imported-value",
                )


def import_command(definition: Path, beside: Beside, names: list[str]) -> str:
    """The command that imports a definition again, with the given parameters and those that it had before."""
    template = str(beside.imported.get("template") or "TEMPLATE")
    template = "-" if template == "standard input" else shlex.quote(template)
    before = beside.imported.get("parameters")
    before = [str(name) for name in before if name not in names] if isinstance(before, list) else []
    parts = ["codepipeline import", template, "--force"]
    for option in STACK_OPTIONS:
        if value := beside.imported.get(option):
            parts += [f"--{option}", shlex.quote(str(value))]
    if definition.parent != Path():
        parts += ["--out", shlex.quote(str(definition.parent))]
    parts += [f"--parameter {shlex.quote(f'{name}=VALUE')}" for name in [*names, *before]]
    return " ".join(parts)


def _texts(part: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(part, dict):
        for key, value in part.items():
            yield from _texts(value, f"{path}.{key}" if path else str(key))
    elif isinstance(part, list):
        for index, item in enumerate(part):
            yield from _texts(item, f"{path}[{index}]")
    elif isinstance(part, str):
        yield path, part


def _list(part: Any) -> list[Any]:
    return part if isinstance(part, list) else []


def _object(part: Any) -> Mapping[str, Any]:
    return part if isinstance(part, dict) else {}
