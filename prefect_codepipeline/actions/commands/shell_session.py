"""The commands of an action as one shell session: commands share the shell's state, and the first failure ends it.

The session marks the start of each command in its output, with marks that cannot be guessed. Each command is quoted
and passed to `eval`, so a malformed command can break only itself.
"""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prefect_codepipeline.errors import ActionFailed

_KEEP = "{ __codepipeline_keep; } 2>/dev/null || :"
_EXPORTED = "exported"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


@dataclass(frozen=True)
class ShellSession:
    """A session on disk: the script to run, the mark in its output, and the folder for its output variables.

    The folder `exported` beside that one gets the variables that other programs see.
    """

    script: Path
    commands: Sequence[str]
    mark: bytes
    variables: Path


def write_session(directory: Path, commands: Sequence[str], output_variables: Sequence[str]) -> ShellSession:
    """Write the script that runs the commands in order and then saves the output variables.

    It exits with the code of the first command that fails. A command that calls `exit` ends the session with that
    code; 0 means success. The session runs in bash, dash and busybox.

    Raises:
        ActionFailed: with code `ConfigurationError`, a command or a variable's name is not valid for a shell.
    """
    _check(commands, output_variables)
    mark = secrets.token_hex(16)
    variables = make_variable_folders(directory)
    script = directory / "session"
    text = _script(commands, output_variables, mark, variables)
    script.write_text(text, encoding="utf-8", errors="replace")
    return ShellSession(script, tuple(commands), f"\x1e{mark} ".encode(), variables)


def split_at_marks(session: ShellSession, data: bytes) -> tuple[list[bytes], bytes]:
    """Split output at the marks: output, number, output, ..., output; and a rest that may be the start of a mark."""
    mark = re.escape(session.mark)
    pieces = re.split(mark + rb"(\d+)\x1e", data)
    start = pieces[-1].rfind(b"\x1e")
    partial = pieces[-1][start:] if start >= 0 else b""
    if partial and (session.mark.startswith(partial) or re.fullmatch(mark + rb"\d*", partial)):
        pieces[-1] = pieces[-1][:start]
        return pieces, partial
    return pieces, b""


def make_variable_folders(directory: Path) -> Path:
    """Create the folders of a session's variables below a directory. Returns the one for all that are set."""
    for name in ("variables", _EXPORTED):
        (directory / name).mkdir(parents=True)
    return directory / "variables"


def read_output_variables(session: ShellSession) -> dict[str, str]:
    """The variables that were set when the session ended.

    Raises:
        ActionFailed: one of them could not be written completely.
    """
    return _read(session.variables)


def read_exported_variables(session: ShellSession) -> dict[str, str]:
    """The variables that were set and exported when the session ended. Raises as `read_output_variables`."""
    return _read(session.variables.with_name(_EXPORTED))


def _read(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for file in sorted(folder.iterdir()):
        text = file.read_bytes().decode(errors="replace")
        if not text.endswith("."):
            raise ActionFailed(
                f"output variable {file.name!r} could not be saved; check whether the disk is full"
            )
        found[file.name] = text[:-1]
    return found


def check_command(command: str, what: str) -> None:
    """Check that a shell can run the command. Raises `ActionFailed` with code `ConfigurationError`."""
    if "\0" in command:
        raise ActionFailed(f"{what} contains a NUL character", code="ConfigurationError")


def _check(commands: Sequence[str], output_variables: Sequence[str]) -> None:
    for number, command in enumerate(commands, 1):
        check_command(command, f"command {number}")
    for name in output_variables:
        if not _VARIABLE.fullmatch(name):
            raise ActionFailed(
                f"outputVariables: {name!r} is not a valid name of a shell variable; "
                "use letters, digits and '_', and do not start with a digit",
                code="ConfigurationError",
            )


def _script(commands: Sequence[str], output_variables: Sequence[str], mark: str, variables: Path) -> str:
    # Command n is on line n, so that line numbers in the shell's messages fit. The session writes marks to descriptor
    # 7: a command that redirects or closes its output does not lose them. It is closed while a command runs. The braces
    # hide the session's own code from `set -x`. `exit` is outside of them, so that the user's traps run with the user's
    # standard error. No `||` follows `eval`, because that would turn `set -e` off.
    lines = [
        f"eval {shlex.quote(command)} 7>&-; "
        f'{{ __codepipeline_next {number} "$?"; }} 2>/dev/null || exit "$__codepipeline_status"'
        for number, command in enumerate(commands, 2)
    ]
    kept = keep_variables(output_variables, variables)
    prologue = (
        "set --; exec 7>&1 2>&1; "
        "__codepipeline_next() { __codepipeline_status=$2; "
        f'[ "$2" -eq 0 ] && printf \'\\036%s %s\\036\' {mark} "$1" >&7; }}; '
        f"__codepipeline_keep() {{ :; {kept}}}; "
        f"trap {shlex.quote(_KEEP)} EXIT; __codepipeline_next 1 0; "
    )
    # Save again: a command may have replaced the EXIT trap with its own.
    return prologue + "\n".join([*lines, f"{_KEEP}; exit 0", ""])


def keep_variables(names: Sequence[str], variables: Path) -> str:
    """The shell code that saves variables in the folder `variables`, and in the one for exported variables beside it."""
    if not names:
        return ""
    # Another program sees exactly the exported variables.
    program = shlex.quote(_saved(names, variables.with_name(_EXPORTED)))
    return f"{_saved(names, variables)}/bin/sh -c {program} || sh -c {program}; "


def _saved(names: Sequence[str], folder: Path) -> str:
    # The final dot distinguishes an empty value from one that did not fit on the disk.
    return "".join(
        f'if [ -n "${{{name}+x}}" ]; then printf "%s." "${name}" >{shlex.quote(str(folder / name))}; fi; '
        for name in names
    )
