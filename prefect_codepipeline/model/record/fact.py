"""What all facts have in common."""

from __future__ import annotations

from datetime import datetime

from prefect_codepipeline.model.records import Record


class Fact(Record):
    """One thing that happened, at `at` (UTC, the clock of the process that wrote it)."""

    at: datetime

    @property
    def key(self) -> str:
        raise TypeError(f"{type(self).__name__} has no key")
