"""The JSON Schema of an AppSpec file for hosts, with which editors complete and check it.

Draft 7 has the best support in editors: https://json-schema.org/draft-07
"""

from __future__ import annotations

from typing import Any

from prefect_codepipeline.model.appspec.lifecycle import OF_LAST_SUCCESSFUL, SCRIPTABLE
from prefect_codepipeline.model.appspec.parts import FILE_EXISTS_BEHAVIORS, LONGEST_TIMEOUT, OBJECT_TYPES

_NAME = {"type": "string", "minLength": 1}
_ABSOLUTE = {"type": "string", "pattern": "^/"}
_IN_BUNDLE = r"^(?!(.*/)?\.\.(/|$))"


def appspec_schema() -> dict[str, Any]:
    """The schema of an AppSpec of CodeDeploy for EC2 and on-premises hosts."""
    schema = _object(
        {
            "version": (
                {"const": 0.0},
                "The version of the format, without quotes.",
            ),
            "os": ({"enum": ["linux"]}, "The system of the hosts."),
            "files": (_list(_file()), "What is copied from the bundle to the hosts, in the event Install."),
            "file_exists_behavior": (
                {"enum": list(FILE_EXISTS_BEHAVIORS)},
                "What happens to a file that is there and was not deployed before; otherwise what the deployment says.",
            ),
            "permissions": (_list(_permission()), "What the copied files and folders get."),
            "hooks": (
                _object({event: (_list(_script()), _about(event)) for event in SCRIPTABLE}),
                "The scripts of lifecycle events.",
            ),
        },
        "version",
        "os",
    )
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "An AppSpec of AWS CodeDeploy for hosts",
        **schema,
    }


def _object(properties: dict[str, tuple[dict[str, Any], str]], *required: str) -> dict[str, Any]:
    described = {key: {**schema, "description": text} for key, (schema, text) in properties.items()}
    needed = {"required": list(required)} if required else {}
    return {"type": "object", "additionalProperties": False, "properties": described, **needed}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _about(event: str) -> str:
    if event in OF_LAST_SUCCESSFUL:
        return "Runs the scripts of the last successful revision; nothing on the first deployment."
    return f"Scripts that run in {event}, in this order."


def _file() -> dict[str, Any]:
    source = {"type": "string", "pattern": _IN_BUNDLE}
    return _object(
        {
            "source": (source, "A file or folder of the bundle; / is all of it."),
            "destination": (_ABSOLUTE, "The folder that gets the file, or the content of the folder."),
        },
        "source",
        "destination",
    )


def _permission() -> dict[str, Any]:
    mode = {
        "anyOf": [
            {"type": "string", "pattern": "^[0-7]{1,4}$"},
            {"type": "integer", "minimum": 0, "maximum": 7777},
        ]
    }
    context = {"user": (_NAME, "Its user."), "type": (_NAME, "Its type."), "range": (_NAME, "Its range; s0 if missing.")}  # fmt: skip
    types = _list({"enum": list(OBJECT_TYPES)})
    return _object(
        {
            "object": (_NAME, "A file or folder on the host that was copied."),
            "pattern": (
                {"type": "string"},
                "Names in the folder, in which * is any text; ** is all below it.",
            ),
            "except": (_list({"type": "string"}), "Names that the pattern does not mean."),
            "owner": (_NAME, "The user that gets it."),
            "group": (_NAME, "The group that gets it."),
            "mode": (mode, "1 to 4 octal digits, in quotes if the first is 0."),
            "acls": (_list(_NAME), "Entries for setfacl, such as u:bob:rw."),
            "context": (_object(context, "type"), "The SELinux context."),
            "type": (types, "Whether files, folders or both get it."),
        },
        "object",
    )


def _script() -> dict[str, Any]:
    location = {"type": "string", "minLength": 1, "pattern": _IN_BUNDLE}
    seconds = {"type": "integer", "minimum": 1, "maximum": LONGEST_TIMEOUT}
    return _object(
        {
            "location": (location, "The script in the bundle."),
            "timeout": (seconds, "Seconds until it fails; 3600 for all scripts of an event together."),
            "runas": (_NAME, "The user who runs it."),
            "sudo": (
                {"type": "boolean"},
                "Whether it runs by sudo. The agent knows it; AWS does not document it.",
            ),
        },
        "location",
    )
