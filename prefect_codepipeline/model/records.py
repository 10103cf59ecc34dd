"""What all records of executions have in common: frozen, and strict about their fields."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ErrorDetails(Record):
    code: str
    message: str
