"""What every connection to a host can do: run a program there, feed it, and read its lines."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from prefect_codepipeline.errors import CodePipelineError

LONGEST_LINE = 1_000_000
KEPT_OF_ERRORS = 2_000


@dataclass(frozen=True)
class Finished:
    """How a program on a host ended.

    Args:
        exit_status: None if a signal ended it.
        signal: the name of the signal without SIG, as `TERM`.
        errors: the last 2,000 characters of its standard error.
    """

    exit_status: int | None
    signal: str | None
    errors: str


class HostUnreachable(CodePipelineError):  # noqa: N818 -- a state of the host
    """A host cannot be reached, or the connection broke.

    Args:
        message: the host, what was attempted, what came back, and what to do.
        permanent: whether trying again is useless: a refused login, a wrong, changed or unknown host key.
    """

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.permanent = permanent

    def on_the_way_to(self, host: str) -> HostUnreachable:
        """The same for a host that is reached through this one."""
        return HostUnreachable(f"{host}: {self.message}", permanent=self.permanent)


class HostConnection(Protocol):
    """A connection to one host, for many calls."""

    async def run(
        self, command: Sequence[str], feed: AsyncIterable[bytes], on_line: Callable[[bytes], None]
    ) -> Finished:
        """Run a program; feed its standard input, and hand over each line of its output without the newline.

        Lines over `LONGEST_LINE` bytes are cut. If the call is cancelled, the program is ended.

        Raises:
            HostUnreachable: the connection broke, or the host takes no further program now.
        """
        ...

    async def close(self) -> None:
        """End the connection."""
        ...
