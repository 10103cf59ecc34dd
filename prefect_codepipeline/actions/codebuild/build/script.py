"""A buildspec as one shell program: its phases run in one shell, so that state passes from command to command.

If a command ends that shell (`exit`, a failure under `set -e`), the outcome of its phase is recorded. The next phase
starts in a new shell, with the directory and the exported variables of the old one.

The program prints a mark that cannot be guessed before each command. Each command is quoted and passed to `eval`, so
invalid syntax in a command affects only that command.

https://docs.aws.amazon.com/codebuild/latest/userguide/build-spec-ref.html#build-spec-ref-versions
"""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from prefect_codepipeline.actions.commands.shell_session import (
    ShellSession,
    check_command,
    keep_variables,
    make_variable_folders,
)
from prefect_codepipeline.model.buildspec.parts import PHASES, Buildspec, Phase, next_phase

BlockKind = Literal["commands", "finally"]
# The current position of the program, and the exported variables and the directory of the last shell.
_SHARED = ("at", "environment", "directory")


@dataclass(frozen=True)
class Block:
    """The `commands` or the `finally` of a phase; `first` is the number of its first command in the whole build."""

    phase: Phase
    kind: BlockKind
    commands: tuple[str, ...]
    first: int


@dataclass(frozen=True)
class CommandFailure:
    """A failed command: its block, its number in the block from 1 (0: the shell itself), and its exit code."""

    block: Block
    number: int
    exit_code: int


@dataclass(frozen=True)
class BuildScript(ShellSession):
    """The written program of a build, its blocks, and the directory of its state."""

    blocks: tuple[Block, ...]
    state: Path

    def place_of(self, command: int) -> tuple[Block, int] | None:
        """The block of a command, and the command's number in the block from 1; `command` counts in the whole build."""
        for block in self.blocks:
            if block.first <= command < block.first + len(block.commands):
                return block, command - block.first + 1
        return None


def write_build(
    directory: Path,
    spec: Buildspec,
    *,
    shell: str | None = None,
    texts: Mapping[str, str] = MappingProxyType({}),
    prelude: str = "",
) -> BuildScript:
    """Write the program of a build. It exits with 0 if all phases have ended, even if they failed.

    Args:
        directory: the directory for the program and its state.
        spec: the buildspec with the phases.
        shell: the shell for the commands, `bash` or `sh`; None means bash if it is available.
        texts: texts that the shell expands after all phases, each under a unique name.
        prelude: shell code that runs before the first command.

    Raises:
        ActionFailed: with code `ConfigurationError`, a command is not valid for a shell.
    """
    blocks = tuple(_blocks(spec))
    for block in blocks:
        for number, command in enumerate(block.commands, 1):
            check_command(command, f"command {number} of {block.kind} of phase {block.phase.name}")
    state = directory / "state"
    variables = make_variable_folders(directory)
    for folder in (state, directory / "texts"):
        folder.mkdir(parents=True)
    for name in _SHARED:
        (state / name).touch()
    if users_of(spec):
        _open_to_all(directory)
    mark = secrets.token_hex(16)
    script = directory / "build"
    text = _Program(spec, blocks, directory, shell, mark, texts, prelude).text()
    script.write_text(text, encoding="utf-8", errors="replace")
    commands = tuple(command for block in blocks for command in block.commands)
    return BuildScript(script, commands, f"\x1e{mark} ".encode(), variables, blocks, state)


def users_of(spec: Buildspec) -> list[str]:
    """The users of `run-as`, each once."""
    return list(dict.fromkeys(user for phase in spec.phases if (user := phase.run_as or spec.run_as)))


def _open_to_all(directory: Path) -> None:
    """Let every `run-as` user write the state; other users of the machine cannot reach the directory."""
    for each in directory.rglob("*"):
        each.chmod(0o777 if each.is_dir() else 0o666)


def read_failures(build: BuildScript) -> list[CommandFailure]:
    """The failed commands in the order of their blocks; at most one in each block."""
    found = []
    for number, block in enumerate(build.blocks, 1):
        file = build.state / f"failed-{number}"
        if file.exists():
            command, _, code = file.read_text().strip().partition(" ")
            place = int(command or 0) - block.first + 1
            found.append(CommandFailure(block, max(place, 0), int(code or 1)))
    return found


def read_texts(build: BuildScript) -> dict[str, str]:
    """The expanded texts, by name; a text whose expansion failed is missing."""
    found = {}
    for file in sorted((build.state.parent / "texts").iterdir()):
        text = file.read_bytes().decode(errors="replace")
        if text.endswith("."):
            found[file.name] = text[:-1]
    return found


def _blocks(spec: Buildspec) -> Iterator[Block]:
    first = 1
    for phase in spec.phases:
        parts: tuple[tuple[BlockKind, tuple[str, ...]], ...] = (
            ("commands", phase.commands),
            ("finally", phase.finally_commands),
        )
        for kind, commands in parts:
            yield Block(phase, kind, commands, first)
            first += len(commands)


@dataclass(frozen=True)
class _Program:
    spec: Buildspec
    blocks: tuple[Block, ...]
    directory: Path
    shell: str | None
    mark: str
    texts: Mapping[str, str]
    prelude: str

    def text(self) -> str:
        state = shlex.quote(str(self.directory / "state"))
        keep = keep_variables(self.spec.env.exported_variables, self.directory / "variables")
        return _TEMPLATE.format(
            state=state,
            mark=self.mark,
            shell=shlex.quote(self.shell) if self.shell else '"$(command -v bash || command -v sh)"',
            script=shlex.quote(str(self.directory / "build")),
            next="\n".join(self._transitions()),
            users="\n".join(self._users()),
            keep=keep,
            prelude=self.prelude,
            cases="\n".join(self._cases()),
            end=len(self.blocks) + 1,
            expand="\n".join(self._expansions()),
        )

    def _transitions(self) -> Iterator[str]:
        """The `case` branches from `<block>-<failed>` to the next block; failed commands count after `finally`."""
        for number, block in enumerate(self.blocks, 1):
            if block.kind == "commands":
                yield f"  {number}-*) __codepipeline_at={number + 1};;"
            else:
                yield f"  {number}-0) __codepipeline_at={self._after(block.phase, succeeded=True)};;"
                yield f"  {number}-1) __codepipeline_at={self._after(block.phase, succeeded=False)};;"

    def _after(self, phase: Phase, *, succeeded: bool) -> int:
        """The first block of the next phase; a phase that the buildspec does not have counts as succeeded."""
        follows = next_phase(phase.name.upper(), succeeded, phase.on_failure)
        while follows.lower() in PHASES:
            for number, block in enumerate(self.blocks, 1):
                if block.phase.name == follows.lower():
                    return number
            follows = next_phase(follows, True)
        return len(self.blocks) + 1

    def _users(self) -> Iterator[str]:
        for number, block in enumerate(self.blocks, 1):
            if user := block.phase.run_as or self.spec.run_as:
                yield f"  {number}) __codepipeline_user={shlex.quote(user)};;"

    def _cases(self) -> Iterator[str]:
        for number, block in enumerate(self.blocks, 1):
            lines = [self._command(command, at) for at, command in enumerate(block.commands, block.first)]
            yield "\n".join([f"{number}) while :; do", *lines, "break; done;;"])

    def _command(self, command: str, number: int) -> str:
        # A `||` after `eval` would disable `set -e`. The braces hide our own commands from `set -x`.
        run = f"eval {shlex.quote(command)}"
        if self.spec.version == "0.1":  # each command runs in its own shell
            run = f"( {run} )"
        return (
            f"{{ __codepipeline_begin {number}; }} 2>/dev/null; {run} 7>&-; "
            f'{{ __codepipeline_ended {number} "$?"; }} 2>/dev/null || break'
        )

    def _expansions(self) -> Iterator[str]:
        for name, text in self.texts.items():
            file = shlex.quote(str(self.directory / "texts" / name))
            quoted = text.replace("\\", "\\\\").replace('"', '\\"')
            # In a subshell: a bad expansion ends only the subshell.
            yield "( eval " + shlex.quote(f'printf %s. "{quoted}"') + f" >{file} ) 7>&-"


# Without `__codepipeline_at` in its environment, the program is the outer one, which starts the shells.
_TEMPLATE = """set --
__codepipeline_next() {{
case "$__codepipeline_at-$__codepipeline_failed" in
{next}
  *) __codepipeline_at=0;;
esac
}}
__codepipeline_settle() {{
__codepipeline_failed=0
if [ -e {state}/failed-"$__codepipeline_at" ] || [ -e {state}/failed-"$((__codepipeline_at - 1))" ]; then __codepipeline_failed=1; fi
__codepipeline_next
}}
__codepipeline_user_of() {{
__codepipeline_user=
case "$__codepipeline_at" in
{users}
  *) :;;
esac
}}
if [ -z "${{__codepipeline_at+x}}" ]; then
__codepipeline_read='__codepipeline=; while IFS= read -r __codepipeline_line || [ -n "$__codepipeline_line" ]; do __codepipeline="$__codepipeline$__codepipeline_line$2"; done <"$1"; set -- "$__codepipeline"; unset __codepipeline __codepipeline_line; eval "$1"'
__codepipeline_newline='
'
__codepipeline_start() {{
__codepipeline_user_of
if [ -z "$__codepipeline_user" ] || [ "$__codepipeline_user" = "$(id -un)" ]; then
__codepipeline_at=$__codepipeline_at "$__codepipeline_shell" -c "$__codepipeline_read" "$__codepipeline_name" {script} "$__codepipeline_newline" 2>&1
elif setpriv --help 2>&1 | grep -q -e --reuid; then
__codepipeline_at=$__codepipeline_at setpriv --reuid="$__codepipeline_user" --regid="$(id -g "$__codepipeline_user")" --init-groups "$__codepipeline_shell" -c "$__codepipeline_read" "$__codepipeline_name" {script} "$__codepipeline_newline" 2>&1
else
__codepipeline_at=$__codepipeline_at su -m -s /bin/sh -c 'exec "$3" -c "$0" sh "$1" "$2"' "$__codepipeline_user" "$__codepipeline_read" {script} "$__codepipeline_newline" "$__codepipeline_shell" 2>&1
fi
}}
__codepipeline_shell={shell}
__codepipeline_name=${{__codepipeline_shell##*/}}
exec 2>/dev/null
__codepipeline_at=1
while [ "$__codepipeline_at" -gt 0 ]; do
echo "$__codepipeline_at" >{state}/at
__codepipeline_start
__codepipeline_status=$?
__codepipeline_was=$__codepipeline_at
read -r __codepipeline_at __codepipeline_begun <{state}/at || exit 70
if [ -z "$__codepipeline_begun" ] && [ "$__codepipeline_status" -ne 0 ]; then exit "$__codepipeline_status"; fi
if [ -z "$__codepipeline_begun" ] && [ "$__codepipeline_at" = "$__codepipeline_was" ]; then exit 70; fi
if [ -n "$__codepipeline_begun" ]; then
if [ "$__codepipeline_status" -ne 0 ]; then echo "$__codepipeline_begun $__codepipeline_status" >{state}/failed-"$__codepipeline_at"; fi
__codepipeline_settle
fi
done
exit 0
fi
__codepipeline_begin() {{
printf '\\036%s %s\\036' {mark} "$1" >&7
echo "$__codepipeline_at $1" >{state}/at
}}
__codepipeline_ended() {{
[ "$2" -eq 0 ] && return 0
echo "$1 $2" >{state}/failed-"$__codepipeline_at"
CODEBUILD_BUILD_SUCCEEDING=0
return 1
}}
__codepipeline_keep() {{ export -p >{state}/environment; pwd >{state}/directory; }}
__codepipeline_variables() {{ :; {keep}}}
exec 7>&1 2>&1
__codepipeline_own=$__codepipeline_at
unset __codepipeline_at
if [ -s {state}/environment ]; then
eval "$(cat {state}/environment)" 2>/dev/null
cd "$(cat {state}/directory)" 2>/dev/null
else
:
{prelude}
fi
__codepipeline_at=$__codepipeline_own
for __codepipeline_own in {state}/failed-*; do
if [ -e "$__codepipeline_own" ]; then CODEBUILD_BUILD_SUCCEEDING=0; fi
done
__codepipeline_user_of
__codepipeline_own=$__codepipeline_user
trap '{{ __codepipeline_keep; }} 2>/dev/null || :' EXIT
while {{ [ "$__codepipeline_at" -gt 0 ]; }} 2>/dev/null; do
{{
echo "$__codepipeline_at" >{state}/at
__codepipeline_user_of
}} 2>/dev/null
if {{ [ "$__codepipeline_own" != "$__codepipeline_user" ]; }} 2>/dev/null; then exit 0; fi
{{
echo "$__codepipeline_at 0" >{state}/at
: >{state}/begun-"$__codepipeline_at"
__codepipeline_keep
}} 2>/dev/null
case "$__codepipeline_at" in
{cases}
{end})
{{ set +eux; }} 2>/dev/null
__codepipeline_variables
{expand}
:;;
esac
{{ __codepipeline_settle; echo "$__codepipeline_at" >{state}/at; }} 2>/dev/null
done
exit 0
"""
