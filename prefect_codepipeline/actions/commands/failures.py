"""What a message says of commands that failed."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from prefect_codepipeline.actions.commands.processes import CLEAN_PATH
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.errors import ActionFailed

_SHOWN_CHARACTERS = 200


def shortened(text: str) -> str:
    """At most 200 characters of a text."""
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]} [...]"


def last_lines(tail: Sequence[str]) -> str:
    """The end of a message: the last lines of a command's output; empty when it had none."""
    return "\nThe last lines of its output:\n" + "\n".join(map(shortened, tail)) if tail else ""


def why(exit_code: int, tail: Sequence[str], image: str | None) -> str:
    """What an exit code and the last lines tell of the reason, after a colon; empty when they tell nothing.

    Args:
        exit_code: of the command that failed.
        tail: the last lines of its output.
        image: the container image, None on the host.
    """
    reason = ""
    if exit_code == 127:
        found = re.search(r"([^\s:]+): (?:command )?not found", "\n".join(tail))
        place = f"image {image!r}" if image else f"the clean PATH that commands have, {CLEAN_PATH}"
        reason = (
            f": {found[1]!r} was not found in {place}" if found else f": a program was not found in {place}"
        )
    if any("No space left on device" in line for line in tail):
        reason += ": the disk is full"
    return reason


@contextmanager
def clear_about_a_full_disk(context: ActionContext) -> Iterator[None]:
    """Say of a disk without room what to do. Raises `ActionFailed`."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ActionFailed(
            f"action {context.action.name!r} could not write to {context.scratch}: the disk is full; "
            "free some space there, or point TMPDIR of the worker elsewhere, and retry"
        ) from error
