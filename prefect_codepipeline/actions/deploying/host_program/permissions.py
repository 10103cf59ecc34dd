"""Owner, mode, ACLs and SELinux context of one installed file or folder."""

import grp
import os
import pwd
import shutil
import stat
import subprocess
from typing import Any, Dict, List, Optional

from prefect_codepipeline.actions.deploying.host_program.places import Refused

_FAILED = "The deployment failed because "
_TYPES = {"u": "user", "g": "group", "m": "mask", "o": "other"}


def grant(path: str, permission: Dict[str, Any]) -> Optional[str]:
    """Set what the permission names; the path whose context was stored, if one was.

    The owner comes first: a change of owner clears the setuid bits of a mode.

    Raises:
        Refused: it could not be set.
    """
    link = os.path.islink(path)
    try:
        if permission["owner"] or permission["group"]:
            os.lchown(path, _user(permission["owner"]), _group(permission["group"]))
        # The target of a link is another file, which may be anywhere.
        if permission["mode"] and not link:
            os.chmod(path, int(permission["mode"], 8))
    except OSError as error:
        raise Refused(
            "UnknownError",
            "%sthe permissions of %s cannot be set: %s" % (_FAILED, path, error.strerror or error),
        )
    if permission["acls"] and not link:
        _set_acls(path, permission["acls"])
    if permission["context"] and not link:
        return _set_context(path, permission["context"])
    return None


def _user(name: Optional[str]) -> int:
    try:
        return -1 if name is None else pwd.getpwnam(name).pw_uid
    except KeyError:
        raise Refused("UnknownError", "%sthe host has no user %s" % (_FAILED, name))


def _group(name: Optional[str]) -> int:
    try:
        return -1 if name is None else grp.getgrnam(name).gr_gid
    except KeyError:
        raise Refused("UnknownError", "%sthe host has no group %s" % (_FAILED, name))


def _set_acls(path: str, acls: List[str]) -> None:
    entries = complete_acls(acls, stat.S_IMODE(os.stat(path).st_mode))
    command = ["setfacl", "--set", ",".join(entries), path]
    if shutil.which("setfacl") is None:
        raise Refused(
            "UnknownError",
            "%sthe acls of %s cannot be set: the host has no setfacl. Install the package acl"
            % (_FAILED, path),
        )
    code = _call(command)
    if code:
        raise Refused(
            "UnknownError",
            "%sof a problem with the acls permission settings in the application specification file for this object: "
            "%s. Failed command: %s. Exit code: %d"
            % (_FAILED.replace(" because", " because"), path, " ".join(command), code),
        )


def complete_acls(acls: List[str], mode: int) -> List[str]:
    """The entries with those that `setfacl --set` needs besides: the mode's own, the mask, and the defaults of a folder."""
    digits = [str(mode >> shift & 7) for shift in (6, 3, 0)]
    entries = [_entry(each) for each in acls]
    base = [each for each in entries if not each.startswith("default:")]
    default = [each for each in entries if each.startswith("default:")]
    entries += [_entry(each) for each in ("u::" + digits[0], "g::" + digits[1], "o::" + digits[2])]
    if any(_is_named(each) for each in base) and not _has(base, "mask::"):
        entries.append(_entry("m::" + digits[1]))
    if default:
        for kind, digit in (("user", digits[0]), ("group", digits[1]), ("other", digits[2])):
            if not _has(default, "default:%s::" % kind):
                default.append(_entry("d:%s::%s" % (kind, digit)))
        if any(_is_named(each) for each in default) and not _has(default, "default:mask::"):
            of_group = next(each for each in default if each.startswith("default:group::"))
            default.append(of_group.replace("group", "mask"))
        entries = [each for each in entries if not each.startswith("default:")] + default
    return entries


def _entry(text: str) -> str:
    """An entry in full: [default:]TYPE:NAME:rwx. TYPE is user if it is missing, permissions may be one octal digit."""
    parts = text.split(":")
    prefix = "default:" if parts[0] in ("d", "default") else ""
    parts = parts[1:] if prefix else parts
    if len(parts) == 2:
        parts = (
            [parts[0], "", parts[1]]
            if _TYPES.get(parts[0], parts[0]) in ("mask", "other")
            else ["user"] + parts
        )
    kind, name, bits = parts
    if len(bits) == 1 and bits in "01234567":
        bits = "".join("rwx"[place] for place in range(3) if int(bits) & 4 >> place)
    return "%s%s:%s:%s" % (
        prefix,
        _TYPES.get(kind, kind),
        name,
        "".join(letter if letter in bits else "-" for letter in "rwx"),
    )


def _is_named(entry: str) -> bool:
    return entry.split(":")[-2] != ""


def _has(entries: List[str], start: str) -> bool:
    return any(each.startswith(start) for each in entries)


def _set_context(path: str, context: Dict[str, Any]) -> Optional[str]:
    real = os.path.realpath(path)
    user = ["-s", context["user"]] if context["user"] else []
    label = ["-r", context["range"]] if context["range"] else []
    if shutil.which("semanage"):
        _call_for_context(["semanage", "fcontext", "-a", *user, "-t", context["type"], *label, real])
        _call_for_context(["restorecon", "-v", real])
        return real
    if shutil.which("chcon"):
        user = ["-u", context["user"]] if context["user"] else []
        label = ["-l", context["range"]] if context["range"] else []
        _call_for_context(["chcon", *user, "-t", context["type"], *label, real])
        return None
    raise Refused(
        "UnknownError",
        "%sthe SELinux context of %s cannot be set: the host has neither semanage nor chcon"
        % (_FAILED, path),
    )


def forget_context(path: str) -> None:
    """Remove a stored context. As in the agent, that it is gone already is no failure."""
    if shutil.which("semanage"):
        _call(["semanage", "fcontext", "-d", path])


def _call_for_context(command: List[str]) -> None:
    code = _call(command)
    if code:
        raise Refused(
            "UnknownError",
            "%sthe application specification file contains an error in the settings for the context parameter. Update "
            "the permissions section of the AppSpec file, and then try again. Failed command: %s. Exit code: %d"
            % (_FAILED, " ".join(command), code),
        )


def _call(command: List[str]) -> int:
    return subprocess.call(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
