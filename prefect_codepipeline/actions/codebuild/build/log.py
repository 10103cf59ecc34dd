"""The log of a build: where each phase starts, how long it took, and the last lines of each command."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from prefect_codepipeline.actions.codebuild.build.script import BuildScript
from prefect_codepipeline.actions.commands.failures import shortened
from prefect_codepipeline.actions.commands.log import CommandLog
from prefect_codepipeline.model.buildspec.parts import PhaseName


class BuildLog(CommandLog):
    """A `CommandLog` with phases.

    Args:
        logger: receives the lines.
        build: the program of the build.
        secrets: texts that become `***`.
        report_progress: called when a command starts, for example with `BUILD 2/4: npm test`.
    """

    def __init__(
        self,
        logger: logging.Logger | logging.LoggerAdapter[Any],
        build: BuildScript,
        secrets: Sequence[str],
        report_progress: Callable[[str], object],
    ) -> None:
        super().__init__(logger, build, secrets)
        self.build = build
        self.tails: dict[int, list[str]] = {}
        """The last lines of each command that ran, by the number of the command in the build."""
        self._report_progress = report_progress
        self.seconds: dict[PhaseName, float] = {}
        """The duration of each phase that ran, in order."""
        self._phase: PhaseName | None = None
        self._phase_start = time.monotonic()

    def begin(self, number: int) -> None:
        self.tails[self.command] = self.tail
        place = self.build.place_of(number)
        if place:
            block, at = place
            self._enter(block.phase.name)
            command = shortened(self.mask(self.build.commands[number - 1]).partition("\n")[0])
            kind = "" if block.kind == "commands" else " finally"
            self._report_progress(f"{block.phase.name.upper()}{kind} {at}/{len(block.commands)}: {command}")
        super().begin(number)

    def close(self) -> None:
        self._leave()
        super().close()
        self.tails[self.command] = self.tail

    def _enter(self, phase: PhaseName) -> None:
        if phase != self._phase:
            self._leave()
            self._phase = phase
            self.add(f"Phase {phase.upper()}")

    def _leave(self) -> None:
        now = time.monotonic()
        if self._phase:
            self.seconds[self._phase] = now - self._phase_start
        self._phase_start = now
