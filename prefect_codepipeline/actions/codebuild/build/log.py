"""The log of a build: where each phase begins and how it ended, and what the last words of each command were."""

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
    """A `CommandLog` that knows of phases.

    Args:
        logger: where the lines go.
        build: what runs.
        secrets: texts that become `***`.
        report_progress: told of each command, as `BUILD 2/4: npm test`.
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
        """The last lines of each command that ran, by its number in the build."""
        self._report_progress = report_progress
        self.seconds: dict[PhaseName, float] = {}
        """How long each phase took, as far as it ran; in their order."""
        self._phase: PhaseName | None = None
        self._begun = time.monotonic()

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
            self.seconds[self._phase] = now - self._begun
        self._begun = now
