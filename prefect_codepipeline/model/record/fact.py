"""What all facts have in common."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import ClassVar

from prefect_codepipeline.model.records import Record


class Fact(Record):
    """One thing that happened; `at` is the time in UTC, by the clock of the process that wrote the fact."""

    # The version of the format in which this kind became what it is; `format.py` has the releases.
    format: ClassVar[int] = 1

    at: datetime

    @cached_property
    def key(self) -> str:
        raise TypeError(f"{type(self).__name__} has no key")
