"""What Install does, decided before anything is written: folders, copies and permissions, refused in the words of the agent."""

import hashlib
import os
import re
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Set

from prefect_codepipeline.actions.deploying.host_program.places import Refused

_FAILED = "The deployment failed because "
# A name beside a file, under which its new content is written before it takes the file's place.
_BESIDE = ".codedeploy-"


class Step(NamedTuple):
    """Make the folder `path`, or copy `source` to it. `replaces`: something is there already."""

    path: str
    source: Optional[str] = None
    replaces: bool = False


class Grant(NamedTuple):
    """A permission of the AppSpec for one file or folder."""

    path: str
    permission: Dict[str, Any]


class Plan:
    """The steps of an installation.

    Args:
        archive: the folder of the revision.
        appspec: as in the order.
        behavior: DISALLOW, OVERWRITE or RETAIN.
        root: the folder below which everything is installed; '' is the machine itself.
    """

    def __init__(self, archive: str, appspec: Dict[str, Any], behavior: str, root: str) -> None:
        self.steps: List[Step] = []
        self.grants: List[Grant] = []
        self.warnings: List[str] = []
        self._archive = archive
        self._behavior = behavior
        self._root = root
        self._sources: Dict[str, str] = {}
        self._folders: Set[str] = set()
        self._granted: Set[str] = set()
        for mapping in appspec["files"]:
            self._add_mapping(mapping)
        for permission in appspec["permissions"]:
            self._add_permission(permission)

    def _add_mapping(self, mapping: Dict[str, str]) -> None:
        source = source_in(self._archive, mapping["source"])
        destination = on_host(mapping["destination"], self._root)
        if os.path.isdir(source) and not os.path.islink(source):
            self._make_ancestors(destination)
            self._add_folder(source, destination)
        else:
            target = os.path.join(destination, os.path.basename(source))
            self._make_ancestors(target)
            self._add_file(source, target)

    def _make_ancestors(self, path: str) -> None:
        missing: List[str] = []
        parent = os.path.dirname(path)
        while not os.path.isdir(parent):
            missing.append(parent)
            parent = os.path.dirname(parent)
        for folder in reversed(missing):
            self._make(folder)

    def _add_folder(self, source: str, destination: str) -> None:
        if not os.path.isdir(destination):
            self._make(destination)
        for entry in sorted(os.scandir(source), key=lambda entry: entry.name):
            target = os.path.join(destination, entry.name)
            if entry.is_dir(follow_symlinks=False):
                self._add_folder(entry.path, target)
            else:
                self._add_file(entry.path, target)

    def _make(self, folder: str) -> None:
        if folder in self._sources:
            raise _failed(
                "the application specification file includes an mkdir command more than once for the same "
                "destination path (%s) from (%s). Update the files section of the AppSpec file, and then try again."
                % (folder, self._sources[folder])
            )
        if folder in self._folders:
            return
        if os.path.lexists(folder):
            raise _failed("a specified file already exists at this location: %s" % folder)
        self._folders.add(folder)
        self.steps.append(Step(folder))

    def _add_file(self, source: str, target: str) -> None:
        # In a folder that is yet to be made there is nothing.
        there = os.path.dirname(target) not in self._folders and os.path.lexists(target)
        if there and self._behavior == "DISALLOW":
            raise _failed("a specified file already exists at this location: %s" % target)
        if there and self._behavior == "RETAIN":
            return
        if target in self._sources:
            raise _failed(
                "the application specification file specifies two source files named %s and %s for the same "
                "destination (%s). Remove one of the source file paths from the AppSpec file, and then try again."
                % (source, self._sources[target], target)
            )
        if target in self._folders or (there and os.path.isdir(target) and not os.path.islink(target)):
            raise _failed(
                "the application specification file calls for installing the file %s, but a file with that name "
                "already exists at the location (%s). Update your AppSpec file or directory structure, and then try "
                "again." % (source, target)
            )
        self._sources[target] = source
        self.steps.append(Step(target, source, there))

    def _add_permission(self, permission: Dict[str, Any]) -> None:
        path = on_host(permission["object"], self._root)
        before = len(self.grants)
        if path in self._sources:
            if "file" in permission["types"]:
                _check_for_file(permission)
                self._grant(path, permission)
        elif path in self._folders or os.path.isdir(path):
            for match in self._matches(path, permission):
                self._grant(match, permission)
        if len(self.grants) == before:
            self.warnings.append(
                "The permissions for %s change nothing: this deployment installs nothing there that they match"
                % permission["object"]
            )

    def _matches(self, folder: str, permission: Dict[str, Any]) -> List[str]:
        chosen = _chooser(folder, permission)
        found: List[str] = []
        if "file" in permission["types"]:
            found = [path for path in self._sources if chosen(path)]
            if found:
                _check_acls_of_file(permission)
        if "directory" in permission["types"]:
            found += sorted(path for path in self._folders if chosen(path))
        return found

    def _grant(self, path: str, permission: Dict[str, Any]) -> None:
        if path in self._granted:
            raise _failed(
                "the permissions setting for (%s) is specified more than once in the application specification file. "
                "Update the files section of the AppSpec file, and then try again." % path
            )
        self._granted.add(path)
        self.grants.append(Grant(path, permission))


def on_host(path: str, root: str) -> str:
    """Where a path of the AppSpec is: absolute, without `..`, below the root."""
    whole = os.path.normpath("/" + path.lstrip("/"))
    return os.path.normpath(root + whole) if root else whole


def beside(path: str) -> str:
    """The file beside a path in which its new content is written."""
    folder, name = os.path.split(path)
    return os.path.join(folder, _BESIDE + hashlib.sha256(os.fsencode(name)).hexdigest()[:16])


def source_in(archive: str, source: str) -> str:
    """The file or folder of a revision.

    Raises:
        Refused: it is not in the revision, or not below its folder.
    """
    path = os.path.normpath(os.path.join(archive, source.lstrip("/")))
    folder = path if path == archive else os.path.dirname(path)
    if not _is_below(path, archive) or not _is_below(os.path.realpath(folder), os.path.realpath(archive)):
        raise _failed("the source %s of the files section is outside of the revision." % source)
    if not os.path.lexists(path):
        raise _failed("the revision has no file or folder %s, which the files section names." % source)
    return path


def _is_below(path: str, folder: str) -> bool:
    return (path + "/").startswith(folder.rstrip("/") + "/")


def _chooser(folder: str, permission: Dict[str, Any]) -> Callable[[str], bool]:
    """Whether a permission is for a path. A pattern but `**` is for names in the folder only, and never for the folder."""
    inside = folder.rstrip("/") + "/"
    every = permission["pattern"] == "**"
    pattern = _glob(permission["pattern"])
    exceptions = [_glob(each) for each in permission["exceptions"]]

    def chosen(path: str) -> bool:
        if not path.startswith(inside):
            return False
        name = path[len(inside) :]
        return bool(every or pattern.match(name)) and not any(each.match(name) for each in exceptions)

    return chosen


def _glob(pattern: str) -> "re.Pattern[str]":
    """`*` is any part of one name; every other character is itself."""
    parts = [re.escape(part) for part in re.split(r"\*+", pattern)]
    return re.compile("[^/]*".join(parts) + r"\Z", re.DOTALL)


def _check_for_file(permission: Dict[str, Any]) -> None:
    if permission["pattern"] != "**":
        raise _failed(
            "the application specification file includes an object (%s) with an invalid pattern (%s), such as a "
            "pattern for a file applied to a directory. Correct the permissions section of the AppSpec file, and then "
            "try again." % (permission["object"], permission["pattern"])
        )
    if permission["exceptions"]:
        raise _failed(
            "the except parameter for a pattern in the permissions section (%s) for the object named %s contains an "
            "invalid format. Update the AppSpec file, and then try again."
            % (", ".join(permission["exceptions"]), permission["object"])
        )
    _check_acls_of_file(permission)


def _check_acls_of_file(permission: Dict[str, Any]) -> None:
    if any(entry.startswith(("d:", "default:")) for entry in permission["acls"]):
        raise _failed(
            "the -d parameter has been specified to apply an acl setting to a file. This parameter is supported for "
            "directories only. Update the AppSpec file, and then try again."
        )


def _failed(reason: str) -> Refused:
    return Refused("UnknownError", _FAILED + reason)
