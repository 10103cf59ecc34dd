"""The record of an execution: facts, kept in its flow run's inputs, where a key can be created only once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, TypeVar
from uuid import uuid4

from prefect_codepipeline.errors import PipelineExecutionNotFoundException
from prefect_codepipeline.model.record.fact import Fact
from prefect_codepipeline.model.record.facts import AnyFact, parse_fact
from prefect_codepipeline.prefect_api.client import call

_SENDER = "prefect-codepipeline"
_EVERYTHING = 100_000  # PostgreSQL refuses -1, and the default is 1
FactT = TypeVar("FactT", bound=Fact)


def utc_now() -> datetime:
    """The clock of facts."""
    return datetime.now(timezone.utc)


@dataclass(frozen=True)
class RecordOf:
    """The facts of one pipeline execution; `execution_id` is the id of its flow run."""

    execution_id: str

    def write(self, fact: Fact) -> bool:
        """Write a fact once: True when this call did, False when the key was taken before.

        Raises:
            PipelineExecutionNotFoundException: there is no such flow run.
            PrefectUnavailable: the API does not answer.
        """
        nonce = uuid4().hex
        value = json.dumps({"nonce": nonce, "fact": fact.model_dump(mode="json", exclude_defaults=False)})
        status, _ = call(
            "POST",
            f"/flow_runs/{self.execution_id}/input",
            {"key": fact.key, "value": value, "sender": _SENDER},
            expected=(404, 409),
        )
        if status == 404:
            raise PipelineExecutionNotFoundException(f"there is no pipeline execution {self.execution_id!r}")
        # A request that was answered 503 may have been carried out, and is sent again: then the value is ours.
        return status != 409 or self._nonce(fact.key) == nonce

    def write_or_read(self, fact: FactT) -> FactT:
        """Write the fact, or give back the one that was there before."""
        if self.write(fact):
            return fact
        there = self.get(fact.key)
        assert isinstance(there, type(fact)), f"key {fact.key!r} holds {there!r}"
        return there

    def get(self, key: str) -> AnyFact | None:
        """The fact of that key, None when it was not written."""
        body = self._input(key)
        return parse_fact(body["fact"]) if body else None

    def read(self, prefix: str = "") -> list[AnyFact]:
        """All facts, or those whose key begins so, in the order in which they were written."""
        _, body = call(
            "POST",
            f"/flow_runs/{self.execution_id}/input/filter",
            {"prefix": prefix, "limit": _EVERYTHING, "exclude_keys": []},
        )
        ours = (item for item in body if item.get("sender") == _SENDER)
        return [parse_fact(_decoded(item["value"])["fact"]) for item in ours]

    def _nonce(self, key: str) -> str | None:
        body = self._input(key)
        return str(body["nonce"]) if body else None

    def _input(self, key: str) -> dict[str, Any] | None:
        status, body = call("GET", f"/flow_runs/{self.execution_id}/input/{key}", expected=(404,))
        return _decoded(body) if status == 200 else None


def _decoded(value: Any) -> dict[str, Any]:
    # The same text comes as plain text from one endpoint and inside JSON from another.
    decoded: dict[str, Any] = json.loads(value) if isinstance(value, str) else value
    return decoded
