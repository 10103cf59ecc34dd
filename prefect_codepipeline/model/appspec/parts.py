"""An AppSpec: the files, permissions and scripts of a deployment to hosts.

https://docs.aws.amazon.com/codedeploy/latest/userguide/reference-appspec-file-structure.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

FileExistsBehavior = Literal["DISALLOW", "OVERWRITE", "RETAIN"]
FILE_EXISTS_BEHAVIORS: tuple[FileExistsBehavior, ...] = ("DISALLOW", "OVERWRITE", "RETAIN")
ObjectType = Literal["file", "directory"]
OBJECT_TYPES: tuple[ObjectType, ...] = ("file", "directory")
# Seconds; of one script, and of all scripts of one event together.
LONGEST_TIMEOUT = 3600
ALL_OF_A_FOLDER = "**"


@dataclass(frozen=True)
class FileMapping:
    """A file, or a folder whose content, goes into the folder `destination`.

    `source` is relative to the bundle's root and has no `.` or `..` in it; '' is the root itself.
    """

    source: str
    destination: str


@dataclass(frozen=True)
class Context:
    """An SELinux context."""

    user: str | None
    type: str
    range: str | None = None


@dataclass(frozen=True)
class Permission:
    """What the object on the host gets, or what is in it if it is a folder.

    `mode` is 1 to 4 octal digits. `pattern` and `exceptions` are matched with names in the folder; `**` is everything
    in and below it. Only what the deployment copies and creates is changed. `acls` are in the long form, such as
    `default:user:bob:rw-`.
    """

    object: str
    pattern: str = ALL_OF_A_FOLDER
    exceptions: tuple[str, ...] = ()
    owner: str | None = None
    group: str | None = None
    mode: str | None = None
    acls: tuple[str, ...] = ()
    context: Context | None = None
    types: tuple[ObjectType, ...] = OBJECT_TYPES

    def applies_to(self, name: str) -> bool:
        """Whether a path below the object is meant by the pattern, and not by an exception.

        Apart from `**` as the pattern, a pattern is for names directly in the object: no `*` stands for a slash.
        """
        is_meant = self.pattern == ALL_OF_A_FOLDER or _matches(name, self.pattern)
        return is_meant and not any(_matches(name, each) for each in self.exceptions)


@dataclass(frozen=True)
class Script:
    """A script of the bundle; `location` is relative to its root, without `.` or `..`.

    With `runas` it runs by `su USER -c`, with `sudo` by `sudo`, with both by `sudo su USER -c`. It runs in `directory`, which
    only EC2 actions set: a folder of the bundle, or an absolute path.
    """

    location: str
    timeout_in_seconds: int = LONGEST_TIMEOUT
    runas: str | None = None
    sudo: bool = False
    directory: str | None = None

    def as_order(self) -> dict[str, Any]:
        """The script as the program on the hosts gets it."""
        return {name: value for name, value in asdict(self).items() if (name, value) != ("directory", None)}


@dataclass(frozen=True)
class AppSpec:
    """An AppSpec; `hooks` has only events with scripts. Without `file_exists_behavior` that of the deployment holds."""

    files: tuple[FileMapping, ...] = ()
    file_exists_behavior: FileExistsBehavior | None = None
    permissions: tuple[Permission, ...] = ()
    hooks: Mapping[str, tuple[Script, ...]] = field(default_factory=dict)

    def as_order(self) -> dict[str, Any]:
        """The AppSpec as the program on the hosts gets it: JSON with the names of the fields."""
        return {
            "files": [asdict(each) for each in self.files],
            "file_exists_behavior": self.file_exists_behavior,
            "permissions": [
                asdict(each)
                | {"exceptions": list(each.exceptions), "acls": list(each.acls), "types": list(each.types)}
                for each in self.permissions
            ],
            "hooks": {
                event: [script.as_order() for script in scripts] for event, scripts in self.hooks.items()
            },
        }


def path_in_bundle(text: str) -> str | None:
    """A path of the bundle without `.`, `..` and slashes that say nothing; None if it leads out of the bundle.

    A slash at the start says nothing either: CodeDeploy's agent puts the path after the folder of the bundle.
    """
    parts: list[str] = []
    for part in text.split("/"):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def absolute_path(text: str) -> str | None:
    """An absolute path without `.`, `..` and double slashes; None if it is not absolute."""
    if not text.startswith("/"):
        return None
    parts: list[str] = []
    for part in text.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def _matches(name: str, pattern: str) -> bool:
    """Whether a name fits a pattern, in time that grows with the product of their lengths."""
    if "/" in name:
        return False
    if "*" not in pattern:
        return name == pattern
    first, *middle, end = pattern.split("*")
    if len(name) < len(first) + len(end) or not (name.startswith(first) and name.endswith(end)):
        return False
    at, most = len(first), len(name) - len(end)
    for part in middle:
        at = name.find(part, at, most)
        if at < 0:
            return False
        at += len(part)
    return True
