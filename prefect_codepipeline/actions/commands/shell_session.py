"""The commands of an action as one shell session: state passes from command to command, the first failure ends it.

The session says in its output where each command begins, by marks that cannot be guessed, and each command is
quoted and given to `eval`, so whatever a command contains can spoil that command alone.
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
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


@dataclass(frozen=True)
class ShellSession:
    """A session written down: the script to run, the mark in its output, and where its variables will lie."""

    script: Path
    commands: Sequence[str]
    mark: bytes
    variables: Path


def write_session(directory: Path, commands: Sequence[str], output_variables: Sequence[str]) -> ShellSession:
    """Write the script that runs the commands in order and then keeps the output variables.

    It exits with the code of the first command that fails; a command that exits by itself ends the session with
    the code that it gives, 0 being success. The session runs in bash, dash and busybox.

    Raises:
        ActionFailed: with code `ConfigurationError`, a command or a variable's name is none for a shell.
    """
    _check(commands, output_variables)
    mark = secrets.token_hex(16)
    variables = directory / "variables"
    variables.mkdir(parents=True)
    script = directory / "session"
    text = _script(commands, output_variables, mark, variables)
    script.write_text(text, encoding="utf-8", errors="replace")
    return ShellSession(script, tuple(commands), f"\x1e{mark} ".encode(), variables)


def split_at_marks(session: ShellSession, data: bytes) -> tuple[list[bytes], bytes]:
    """Cut output where commands begin: output, number, output, number, ..., output; and what may become a mark."""
    mark = re.escape(session.mark)
    pieces = re.split(mark + rb"(\d+)\x1e", data)
    start = pieces[-1].rfind(b"\x1e")
    begun = pieces[-1][start:] if start >= 0 else b""
    if begun and (session.mark.startswith(begun) or re.fullmatch(mark + rb"\d*", begun)):
        pieces[-1] = pieces[-1][:start]
        return pieces, begun
    return pieces, b""


def read_output_variables(session: ShellSession) -> dict[str, str]:
    """The variables that were set when the session ended.

    Raises:
        ActionFailed: one of them could not be written down whole.
    """
    found: dict[str, str] = {}
    for file in sorted(session.variables.iterdir()):
        text = file.read_bytes().decode(errors="replace")
        if not text.endswith("."):
            raise ActionFailed(f"output variable {file.name!r} could not be kept: is the disk full?")
        found[file.name] = text[:-1]
    return found


def check_command(command: str, what: str) -> None:
    """Refuse a command that no shell can be given. Raises `ActionFailed` with code `ConfigurationError`."""
    if "\0" in command:
        raise ActionFailed(f"{what} contains a NUL character", code="ConfigurationError")


def _check(commands: Sequence[str], output_variables: Sequence[str]) -> None:
    for number, command in enumerate(commands, 1):
        check_command(command, f"command {number}")
    for name in output_variables:
        if not _VARIABLE.fullmatch(name):
            raise ActionFailed(
                f"outputVariables: {name!r} cannot be the name of a shell variable; "
                "use letters, digits and '_', not a digit first",
                code="ConfigurationError",
            )


def _script(commands: Sequence[str], output_variables: Sequence[str], mark: str, variables: Path) -> str:
    # Command n stands in line n, as the shell's own messages count. Descriptor 7 is the session's: a command that
    # redirects or closes its output does not take the marks away, and it is closed while a command runs. The braces
    # keep the session itself out of what `set -x` shows; `exit` stands outside them to run the user's own traps
    # with the user's standard error; no `||` follows `eval`, which would switch `set -e` off.
    lines = [
        f"eval {shlex.quote(command)} 7>&-; "
        f'{{ __codepipeline_next {number} "$?"; }} 2>/dev/null || exit "$__codepipeline_status"'
        for number, command in enumerate(commands, 2)
    ]
    kept = "".join(keep_variable(name, variables) for name in output_variables)
    prologue = (
        "set --; exec 7>&1 2>&1; "
        "__codepipeline_next() { __codepipeline_status=$2; "
        f'[ "$2" -eq 0 ] && printf \'\\036%s %s\\036\' {mark} "$1" >&7; }}; '
        f"__codepipeline_keep() {{ :; {kept}}}; "
        f"trap {shlex.quote(_KEEP)} EXIT; __codepipeline_next 1 0; "
    )
    # Once more for the commands that have set a trap of their own.
    return prologue + "\n".join([*lines, f"{_KEEP}; exit 0", ""])


def keep_variable(name: str, variables: Path) -> str:
    """The shell code that writes a variable down in the directory `variables`, when it is set."""
    # The final dot tells an empty value from one that did not fit on the disk.
    file = shlex.quote(str(variables / name))
    return f'if [ -n "${{{name}+x}}" ]; then printf "%s." "${name}" >{file}; fi; '
