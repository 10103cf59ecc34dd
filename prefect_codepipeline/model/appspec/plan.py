"""What an AppSpec would do with the files of a bundle, checked before a host is touched.

The program on the host makes the same plan, and looks at what is there already.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from prefect_codepipeline.model.appspec.parts import ALL_OF_A_FOLDER, AppSpec, Permission
from prefect_codepipeline.model.appspec.permissions import is_default_acl
from prefect_codepipeline.model.plain_data import quote
from prefect_codepipeline.model.problem import MOST_PROBLEMS, Problem
from prefect_codepipeline.model.validation import appspecs

# A link is a file, also one to a folder: the link itself is copied.
Kind = Literal["file", "directory"]


@dataclass
class _Plan:
    """The files and folders on the host, with what they come from. `made` are folders that the bundle has."""

    files: dict[str, str] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def problems_with_bundle(appspec: AppSpec, bundle: Mapping[str, Kind]) -> list[Problem]:
    """What is wrong with an AppSpec for a bundle: at most 1,000 problems, with the paths of `parse_appspec`.

    Args:
        appspec: the parsed AppSpec.
        bundle: all files and folders of the bundle by their paths, and the sources that are reached through links.
    """
    plan = _Plan()
    content = _content_of_folders(bundle)
    for index, mapping in enumerate(appspec.files):
        path = f"files[{index}]"
        kind = bundle.get(mapping.source) if mapping.source else "directory"
        if kind is None:
            hint = "a source is no pattern; '/' is all of the bundle" if "*" in mapping.source else ""
            note = appspecs.SOURCE_MISSING.at(f"{path}.source", hint=hint, value=quote(mapping.source))
            plan.problems.append(note)
        elif kind == "file":
            name = mapping.source.rpartition("/")[2]
            _put_file(plan, path, mapping.source, _below(mapping.destination, name))
        else:
            _put_folder(plan, path, mapping.source, mapping.destination)
            _put_content(plan, path, mapping.source, mapping.destination, content)
    plan.problems += _permission_problems(appspec, plan)
    plan.problems += _missing_scripts(appspec, bundle)
    return plan.problems[:MOST_PROBLEMS]


def _content_of_folders(bundle: Mapping[str, Kind]) -> dict[str, list[tuple[str, Kind]]]:
    found: dict[str, list[tuple[str, Kind]]] = {}
    for path in sorted(bundle):
        folder, _, name = path.rpartition("/")
        found.setdefault(folder, []).append((name, bundle[path]))
    return found


def _put_content(
    plan: _Plan, path: str, source: str, destination: str, content: Mapping[str, list[tuple[str, Kind]]]
) -> None:
    open_folders = [(source, destination)]
    while open_folders:
        folder, place = open_folders.pop()
        for name, kind in content.get(folder, ()):
            inner, goal = f"{folder}/{name}" if folder else name, _below(place, name)
            if kind == "file":
                _put_file(plan, path, inner, goal)
            else:
                _put_folder(plan, path, inner, goal)
                plan.made.append(goal)
                open_folders.append((inner, goal))


def _put_file(plan: _Plan, path: str, source: str, goal: str) -> None:
    if goal in plan.files:
        note = appspecs.TWO_SOURCES.at(
            path, first=quote(plan.files[goal]), second=quote(source), destination=quote(goal)
        )
        plan.problems.append(note)
    elif goal in plan.folders:
        _note_file_for_folder(plan, path, source, goal)
    else:
        _put_folder(plan, path, source, goal.rpartition("/")[0] or "/")
        plan.files[goal] = source


def _put_folder(plan: _Plan, path: str, source: str, goal: str) -> None:
    """A folder on the host, and all above it."""
    while goal not in plan.folders:
        if goal in plan.files:
            _note_file_for_folder(plan, path, plan.files[goal], goal)
            return
        plan.folders[goal] = source
        goal = goal.rpartition("/")[0] or "/"


def _note_file_for_folder(plan: _Plan, path: str, source: str, goal: str) -> None:
    plan.problems.append(appspecs.FILE_FOR_FOLDER.at(path, source=quote(source), destination=quote(goal)))


def _below(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}"


# -- permissions and scripts


def _permission_problems(appspec: AppSpec, plan: _Plan) -> Iterator[Problem]:
    given: dict[str, int] = {}
    for index, permission in enumerate(appspec.permissions):
        path = f"permissions[{index}]"
        found = list(_matches(permission, plan))
        if permission.object in plan.files:
            yield from _wrong_for_file(path, permission)
        defaults = [acl for acl in permission.acls if is_default_acl(acl)]
        files = [place for place in found if place in plan.files]
        if defaults and files and permission.types != ("file",):  # of files only: the parser says it
            shown = f"the file {quote(files[0])}"
            yield appspecs.ACL_ON_FILE.at(f"{path}.acls", value=quote(defaults[0]), files=shown)
        twice = [place for place in found if place in given]
        # One is enough: two entries for a folder have all its files in common.
        if twice and not _is_same_entry(permission, appspec.permissions[given[twice[0]]]):
            yield appspecs.PERMISSION_TWICE.at(
                f"{path}.object", object=quote(twice[0]), first=given[twice[0]]
            )
        for place in found:
            given.setdefault(place, index)


def _is_same_entry(one: Permission, other: Permission) -> bool:
    """Whether the parser says that there are two."""
    return (one.object, one.pattern) == (other.object, other.pattern)


def _wrong_for_file(path: str, permission: Permission) -> Iterator[Problem]:
    if "file" not in permission.types:
        return
    keys = {"pattern": permission.pattern != ALL_OF_A_FOLDER, "except": bool(permission.exceptions)}
    for key in (key for key, is_there in keys.items() if is_there):
        yield appspecs.PATTERN_ON_FILE.at(f"{path}.{key}", object=quote(permission.object), key=key)


def _matches(permission: Permission, plan: _Plan) -> Iterator[str]:
    """The files and the folders of the bundle that get the permission."""
    if permission.object in plan.files:
        if "file" in permission.types:
            yield permission.object
        return
    above = permission.object.rstrip("/") + "/"
    places = [plan.files] * ("file" in permission.types) + [plan.made] * ("directory" in permission.types)
    for place in (place for each in places for place in each):
        if place.startswith(above) and permission.applies_to(place[len(above) :]):
            yield place


def _missing_scripts(appspec: AppSpec, bundle: Mapping[str, Kind]) -> Iterator[Problem]:
    for event, scripts in appspec.hooks.items():
        for index, script in enumerate(scripts):
            if bundle.get(script.location) != "file":
                path = f"hooks.{event}[{index}].location"
                yield appspecs.SCRIPT_MISSING.at(path, value=quote(script.location), event=event)
