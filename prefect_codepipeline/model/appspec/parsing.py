"""Parse an AppSpec from plain data, and find everything that CodeDeploy would refuse or ignore.

https://docs.aws.amazon.com/codedeploy/latest/userguide/reference-appspec-file.html
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from prefect_codepipeline.model.appspec.lifecycle import NOT_SCRIPTABLE, SCRIPTABLE
from prefect_codepipeline.model.appspec.parts import (
    FILE_EXISTS_BEHAVIORS,
    LONGEST_TIMEOUT,
    AppSpec,
    FileExistsBehavior,
    FileMapping,
    Script,
    absolute_path,
    path_in_bundle,
)
from prefect_codepipeline.model.appspec.permissions import parse_permissions
from prefect_codepipeline.model.appspec.reading import items, located
from prefect_codepipeline.model.plain_data import Language, Reading, as_text, cut, kind_of, quote
from prefect_codepipeline.model.problem import Problem
from prefect_codepipeline.model.validation import appspecs

_TOP_KEYS = {"version", "os", "files", "file_exists_behavior", "permissions", "hooks"}
_FILE_KEYS = {"source", "destination"}
_SCRIPT_KEYS = {"location", "timeout", "runas", "sudo"}
_LANGUAGE = Language(
    whole="the AppSpec",
    shape=appspecs.SHAPE,
    unknown=appspecs.UNKNOWN,
    flag=appspecs.FLAG,
    elsewhere={
        **dict.fromkeys(SCRIPTABLE, "write events in 'hooks'"),
        "Hooks": "write 'hooks'",
        # Many public files have it, and some of their authors believe that it works.
        "files[].overwrite": "write 'file_exists_behavior: OVERWRITE' beside 'files'",
    },
)
# Keys of other compute platforms; their AppSpecs are in JSON and in YAML, with names in upper and lower case.
_RESOURCES = ("Resources", "resources")
_ZERO = re.compile(r"[-+]?0+(\.0*)?")
# `su` and the password file take no others; a hyphen at the start would be an option.
_NO_USER = re.compile(r"^-|[\s:/\x00-\x1f\x7f]|^$")


def parse_appspec(data: object, unquoted: Collection[str] = ()) -> tuple[AppSpec | None, list[Problem]]:
    """Parse an AppSpec, and list its problems.

    Never raises, whatever the data.

    Args:
        data: the parsed JSON or YAML; scalars are texts or have their own types.
        unquoted: the paths of texts that have no quotes in YAML: `0644` is a number there, `'0644'` is not.

    Returns:
        The AppSpec, or None if there is an error; and at most 1,000 problems in the order in which they were found.
        The paths are those of a `Document`: `files[0].source`.
    """
    reading = Reading(_LANGUAGE)
    if not isinstance(data, Mapping):
        reading.note_shape("", "a mapping with 'version', 'os' and 'files'", data)
        return None, reading.problems
    if other := _other_platform(data):
        reading.note(other, "")
        return None, reading.problems
    if data.get("os") == "windows":  # its paths and scripts follow other rules
        reading.note(appspecs.WINDOWS, "os")
        return None, reading.problems
    top = reading.mapping("", data, _TOP_KEYS)
    _check_version(top.get("version"), unquoted, reading)
    _check_os(top.get("os"), reading)
    found = AppSpec(
        files=tuple(_files(top.get("files"), reading)),
        file_exists_behavior=_file_exists_behavior(top.get("file_exists_behavior"), reading),
        permissions=tuple(parse_permissions(top.get("permissions"), unquoted, reading)),
        hooks=_hooks(top.get("hooks"), unquoted, reading),
    )
    return (None if reading.has_errors else found), reading.problems


# -- the whole


def _other_platform(data: Mapping[Any, Any]) -> Any:
    """The rule that names the platform of an AppSpec that is not for hosts, or None."""
    types = {
        str(properties.get("Type", properties.get("type", "")))
        for key in _RESOURCES
        for resource in _list(data.get(key))
        if isinstance(resource, Mapping)
        for properties in resource.values()
        if isinstance(properties, Mapping)
    }
    if "AWS::ECS::Service" in types:
        return appspecs.ECS
    return appspecs.LAMBDA if "AWS::Lambda::Function" in types else None


def _list(data: object) -> list[Any]:
    return data if isinstance(data, list) else []


def _check_version(data: object, unquoted: Collection[str], reading: Reading) -> None:
    is_number = isinstance(data, (int, float)) and not isinstance(data, bool) and data == 0
    is_written = isinstance(data, str) and "version" in unquoted and bool(_ZERO.fullmatch(data))
    if not is_number and not is_written:
        reading.note(appspecs.VERSION, "version", version=_shown(data))


def _check_os(data: object, reading: Reading) -> None:
    if data != "linux":
        reading.note(appspecs.OS, "os", os=_shown(data))


def _shown(data: object) -> str:
    if isinstance(data, (Mapping, list)):
        return kind_of(data)
    return "(none)" if data is None else quote(data)


# -- files


def _files(data: object, reading: Reading) -> list[FileMapping]:
    found = []
    for path, item in items(data, "files", "a list of files", reading):
        each = reading.mapping(path, item, _FILE_KEYS)
        source = located(f"{path}.source", each.get("source"), path_in_bundle, appspecs.OUTSIDE, reading)
        destination = located(
            f"{path}.destination", each.get("destination"), absolute_path, appspecs.ABSOLUTE, reading
        )
        if source is not None and destination is not None:
            found.append(FileMapping(source, destination))
    return found


def _file_exists_behavior(data: object, reading: Reading) -> FileExistsBehavior | None:
    if data is None:
        return None
    if data not in FILE_EXISTS_BEHAVIORS:
        hint = reading.propose(as_text(data).upper(), FILE_EXISTS_BEHAVIORS)
        reading.note(appspecs.FILE_EXISTS, "file_exists_behavior", hint=hint, value=_shown(data))
        return None
    return data


# -- hooks


def _hooks(data: object, unquoted: Collection[str], reading: Reading) -> dict[str, tuple[Script, ...]]:
    found = {}
    for event, scripts in reading.mapping("hooks", data).items():
        path = f"hooks.{event}"
        if event not in SCRIPTABLE:
            hint = reading.propose(event, SCRIPTABLE) if event not in NOT_SCRIPTABLE else ""
            reading.note(appspecs.EVENT, path, hint=hint, event=quote(event), why=_why_not(event))
        if scripts is None:  # an empty `files` is as none at all for the agent, but not an empty event
            reading.note_shape(path, "a list of scripts", scripts)
        parsed = _scripts(path, event, scripts, unquoted, reading)
        if parsed and event in SCRIPTABLE:
            found[event] = parsed
    return {event: found[event] for event in SCRIPTABLE if event in found}


def _why_not(event: str) -> str:
    if event in NOT_SCRIPTABLE:
        return "is done by CodeDeploy itself and has no scripts"
    return "is not a lifecycle event of hosts"


def _scripts(
    path: str, event: str, data: object, unquoted: Collection[str], reading: Reading
) -> tuple[Script, ...]:
    found, total = [], 0
    for each_path, item in items(data, path, "a list of scripts", reading):
        each = reading.mapping(each_path, item, _SCRIPT_KEYS)
        location = located(
            f"{each_path}.location", each.get("location"), _path_of_script, appspecs.OUTSIDE, reading
        )
        timeout = _timeout(f"{each_path}.timeout", each.get("timeout"), reading)
        total += timeout or 0
        runas = _runas(f"{each_path}.runas", each.get("runas"), reading)
        sudo = _sudo(f"{each_path}.sudo", each.get("sudo"), unquoted, reading)
        if location is not None:
            found.append(Script(location, timeout or LONGEST_TIMEOUT, runas, sudo))
    if total > LONGEST_TIMEOUT:
        reading.note(appspecs.EVENT_TIMEOUT, path, event=cut(event), seconds=total)
    return tuple(found)


def _path_of_script(text: str) -> str | None:
    return path_in_bundle(text.strip())


def _timeout(path: str, data: object, reading: Reading) -> int | None:
    if data is None:
        return None
    text = "" if isinstance(data, (Mapping, list, bool)) else as_text(data).strip()
    digits = re.match(r"[0-9]{1,9}(?![0-9])", text)
    seconds = int(digits[0]) if digits else 0
    if not 1 <= seconds <= LONGEST_TIMEOUT:
        reading.note(appspecs.TIMEOUT, path, value=_shown(data))
        return None
    if digits and digits[0] != text:
        reading.note(appspecs.TIMEOUT_CUT, path, value=_shown(data), seconds=seconds)
    return seconds


def _runas(path: str, data: object, reading: Reading) -> str | None:
    if data is None:
        return None
    text = (reading.text(path, data) or "").strip()
    if not isinstance(data, (Mapping, list)) and _NO_USER.search(text):
        reading.note(appspecs.RUNAS, path, value=quote(data))
    return text


def _sudo(path: str, data: object, unquoted: Collection[str], reading: Reading) -> bool:
    if isinstance(data, str) and path not in unquoted:
        reading.note(appspecs.FLAG, path, what="sudo", found=quote(data))
        return True
    return reading.flag(path, data)
