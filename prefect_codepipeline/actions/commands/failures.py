"""Parts of the messages about failed commands."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from prefect_codepipeline.actions.commands.processes import CLEAN_PATH
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.errors import ActionFailed

_MAX_CHARACTERS = 200


def shortened(text: str) -> str:
    """The first 200 characters of a text."""
    return text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]} [...]"


def last_lines(tail: Sequence[str]) -> str:
    """The end of a message: the last lines of a command's output, or an empty text if there was no output."""
    return "\nThe last lines of its output:\n" + "\n".join(map(shortened, tail)) if tail else ""


def why(exit_code: int, tail: Sequence[str], image: str | None) -> str:
    """The reason for a failure if the exit code and the last lines show it, with a colon before it; else empty.

    Args:
        exit_code: the exit code of the failed command.
        tail: the last lines of its output.
        image: the container image, None on the host.
    """
    reason = ""
    if exit_code == 127:
        found = re.search(r"([^\s:]+): (?:command )?not found", "\n".join(tail))
        place = f"image {image!r}" if image else f"the PATH of commands, {CLEAN_PATH}"
        reason = (
            f": {found[1]!r} was not found in {place}" if found else f": a program was not found in {place}"
        )
    if any("No space left on device" in line for line in tail):
        reason += ": the disk is full"
    return reason


@contextmanager
def explain_full_disk(context: ActionContext) -> Iterator[None]:
    """Turn the error of a full disk into an `ActionFailed` that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ActionFailed(
            f"action {context.action.name!r} could not write to {context.scratch}: the disk is full; "
            "free some space there, or set TMPDIR of the worker to another disk, and retry"
        ) from error
