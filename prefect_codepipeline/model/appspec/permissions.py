"""Parse the `permissions` of an AppSpec.

https://docs.aws.amazon.com/codedeploy/latest/userguide/reference-appspec-file-structure-permissions.html
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from prefect_codepipeline.model.appspec.parts import (
    ALL_OF_A_FOLDER,
    OBJECT_TYPES,
    Context,
    ObjectType,
    Permission,
    absolute_path,
)
from prefect_codepipeline.model.appspec.reading import items, located
from prefect_codepipeline.model.plain_data import Reading, as_text, kind_of, quote
from prefect_codepipeline.model.validation import appspecs

_KEYS = {"object", "pattern", "except", "owner", "group", "mode", "acls", "context", "type"}
# `name` is what the agent reads, `user` what its reference says.
_CONTEXT_KEYS = {"user", "name", "type", "range"}
_MODE = re.compile(r"[0-7]{1,4}")
# A number in base 8 to YAML 1.1, which the agent reads.
_OCTAL = re.compile(r"0[0-7]{1,20}")
_ACL_KINDS = {"u": "user", "user": "user", "g": "group", "group": "group",
              "m": "mask", "mask": "mask", "o": "other", "other": "other"}  # fmt: skip
_DEFAULT = ("d", "default")
_RANGE = re.compile(r"s([0-9]{1,9})(?:-s([0-9]{1,9}))?(?::(.+))?")
_CATEGORY = re.compile(r"c([0-9]{1,4})(?:\.c([0-9]{1,4}))?")
_HIGHEST_CATEGORY = 1023


def parse_permissions(data: object, unquoted: Collection[str], reading: Reading) -> list[Permission]:
    """The permissions; what is wrong with them is noted."""
    found: dict[int, Permission] = {}
    for index, (path, item) in enumerate(items(data, "permissions", "a list of permissions", reading)):
        each = reading.mapping(path, item, _KEYS)
        place = located(f"{path}.object", each.get("object"), _object, appspecs.RELATIVE_OBJECT, reading)
        permission = Permission(
            object=place or "/",
            pattern=_pattern(f"{path}.pattern", each.get("pattern"), reading) or ALL_OF_A_FOLDER,
            exceptions=tuple(_exceptions(f"{path}.except", each.get("except"), reading)),
            owner=_name(f"{path}.owner", each.get("owner"), reading),
            group=_name(f"{path}.group", each.get("group"), reading),
            mode=_mode(f"{path}.mode", each.get("mode"), unquoted, reading),
            acls=tuple(_acls(f"{path}.acls", each.get("acls"), reading)),
            context=_context(f"{path}.context", each.get("context"), reading),
            types=_types(f"{path}.type", each.get("type"), reading),
        )
        _check_acls(f"{path}.acls", permission, reading)
        if place is not None:
            found[index] = permission
    _check_twice(found, reading)
    return list(found.values())


def is_default_acl(acl: str) -> bool:
    """Whether an entry of the parsed `acls` is for what is created in a folder later."""
    return acl.startswith("default:")


def _object(text: str) -> str | None:
    return absolute_path(text.strip())


def _check_acls(path: str, permission: Permission, reading: Reading) -> None:
    if permission.types == ("file",):
        for acl in filter(is_default_acl, permission.acls):
            reading.note(appspecs.ACL_ON_FILE, path, value=quote(acl), files="files only")


def _check_twice(found: Mapping[int, Permission], reading: Reading) -> None:
    first: dict[tuple[str, str, str], int] = {}
    for index, each in found.items():
        keys = [(each.object, each.pattern, kind) for kind in each.types]
        if before := [first[key] for key in keys if key in first]:
            path = f"permissions[{index}].object"
            reading.note(appspecs.PERMISSION_TWICE, path, object=quote(each.object), first=before[0])
        for key in keys:
            first.setdefault(key, index)


# -- which files


def _pattern(path: str, data: object, reading: Reading) -> str | None:
    text = reading.text(path, data)
    if text and "/" in text:
        reading.note(appspecs.PATTERN, path, value=quote(text))
    return text


def _exceptions(path: str, data: object, reading: Reading) -> list[str]:
    found = []
    for each_path, item in items(data, path, "a list of names", reading):
        text = _pattern(each_path, item, reading)
        if text:
            found.append(text)
    return found


def _types(path: str, data: object, reading: Reading) -> tuple[ObjectType, ...]:
    if data is None:
        return OBJECT_TYPES
    found = []
    for each_path, item in items(data, path, "a list of 'file' and 'directory'", reading):
        if item in OBJECT_TYPES:
            found.append(item)
        else:
            shown = kind_of(item) if isinstance(item, (Mapping, list)) else quote(item)
            reading.note(
                appspecs.TYPE, each_path, hint=reading.propose(as_text(item), OBJECT_TYPES), value=shown
            )
    return tuple(each for each in OBJECT_TYPES if each in found)


# -- what they get


def _name(path: str, data: object, reading: Reading) -> str | None:
    text = reading.text(path, data)
    if text and "\0" in text:
        reading.note(appspecs.NUL, path, what=path.rpartition(".")[2])
    return text or None


def _mode(path: str, data: object, unquoted: Collection[str], reading: Reading) -> str | None:
    text = reading.text(path, data)
    if text is None:
        return None
    if path in unquoted and _OCTAL.fullmatch(text) and str(number := int(text, 8)) != text.lstrip("0"):
        is_mode = bool(_MODE.fullmatch(str(number)))
        result = f"CodeDeploy would set mode {number}" if is_mode else "CodeDeploy would fail the deployment"
        reading.note(appspecs.MODE_NUMBER, path, value=text, number=number, result=result)
    elif not _MODE.fullmatch(text):
        reading.note(appspecs.MODE, path, value=quote(text))
    return text


def _acls(path: str, data: object, reading: Reading) -> list[str]:
    found = []
    for each_path, item in items(data, path, "a list of ACL entries", reading):
        text = reading.text(each_path, item)
        if text is None:
            continue
        acl = _acl(text)
        if acl is None:
            reading.note(appspecs.ACL, each_path, value=quote(text))
        elif acl.startswith(("user::", "group::", "other::")):
            reading.note(appspecs.ACL_BASE, each_path, value=quote(text))
        else:
            found.append(acl)
    return found


def _acl(text: str) -> str | None:
    """An entry in its long form, `default:user:bob:rw-`; None if the agent cannot read it."""
    *head, name, rights = ["", *text.split(":")]
    head = head[1:] if text.count(":") else []
    if not text.count(":") or len(head) > 2 or (granted := _rights(rights)) is None:
        return None
    default = "default:" if head and head[0] in _DEFAULT else ""
    if default:
        head = head[1:]
    kind = _ACL_KINDS.get(head[0]) if len(head) == 1 else None
    if head and kind is None:
        return None
    if kind is None:  # as the agent: only `m` and `o` are kinds in the place of a name
        kind = _ACL_KINDS.get(name, "") if _ACL_KINDS.get(name) in ("mask", "other") else "user"
        name = "" if kind != "user" else name
    if (kind in ("mask", "other") and name) or re.search(r"[\s,\0]", name):
        return None
    return f"{default}{kind}:{name}:{granted}"


def _rights(text: str) -> str | None:
    if re.fullmatch(r"[0-7]", text):
        text = "".join(letter for bit, letter in ((4, "r"), (2, "w"), (1, "x")) if int(text) & bit)
    if re.search(r"[^rwx-]", text):
        return None
    return "".join(letter if letter in text else "-" for letter in "rwx")


def _context(path: str, data: object, reading: Reading) -> Context | None:
    if data is None:
        return None
    context = reading.mapping(path, data, _CONTEXT_KEYS)
    user, name, kind = (_name(f"{path}.{key}", context.get(key), reading) for key in ("user", "name", "type"))
    if kind is None and isinstance(data, Mapping):
        reading.note(appspecs.MISSING, f"{path}.type", key="type")
    span = reading.text(f"{path}.range", context.get("range"))
    if span is not None and not _is_range(span):
        reading.note(appspecs.RANGE, f"{path}.range", value=quote(span))
    return Context(user or name, kind or "", span)


def _is_range(text: str) -> bool:
    match = _RANGE.fullmatch(text)
    if not match or (match[2] and int(match[2]) < int(match[1])):
        return False
    seen: set[int] = set()
    for part in match[3].split(",") if match[3] else ():
        category = _CATEGORY.fullmatch(part)
        if not category:
            return False
        first, last = int(category[1]), int(category[2] or category[1])
        numbers = set(range(first, last + 1))
        if not numbers or last > _HIGHEST_CATEGORY or numbers & seen:
            return False
        seen |= numbers
    return True
