"""The base of all records of executions: frozen, without unknown fields."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ErrorDetails(Record):
    code: str
    message: str
