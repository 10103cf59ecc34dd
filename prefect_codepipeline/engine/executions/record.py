"""The record of an execution: facts, stored as inputs of its flow run, where a key can be created only once."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, TypeVar
from uuid import uuid4

from prefect_codepipeline.errors import PipelineExecutionNotFoundException
from prefect_codepipeline.model.record.fact import Fact
from prefect_codepipeline.model.record.facts import KINDS, AnyFact, parse_fact
from prefect_codepipeline.prefect_api.client import call

_SENDER = "prefect-codepipeline"
_logger = logging.getLogger(__name__)
_EVERYTHING = 100_000  # PostgreSQL refuses -1, and the default is 1
FactT = TypeVar("FactT", bound=Fact)


def utc_now() -> datetime:
    """The time for facts: now, in UTC."""
    return datetime.now(timezone.utc)


@dataclass(frozen=True)
class RecordOf:
    """The facts of one pipeline execution; `execution_id` is the id of its flow run."""

    execution_id: str

    def write(self, fact: Fact) -> bool:
        """Write a fact once: True if this call wrote it, False if the key existed before.

        Raises:
            PipelineExecutionNotFoundException: there is no such flow run.
            PrefectUnavailable: the API does not respond.
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
        # A request with response 503 may have been executed before it was repeated: then the stored nonce is ours.
        return status != 409 or self._nonce(fact.key) == nonce

    def write_or_read(self, fact: FactT) -> FactT:
        """Write the fact, or return the one that exists under its key."""
        if self.write(fact):
            return fact
        there = self.get(fact.key)
        assert isinstance(there, type(fact)), f"key {fact.key!r} holds {there!r}"
        return there

    def get(self, key: str) -> AnyFact | None:
        """The fact with that key, or None if it was not written."""
        body = self._input(key)
        return parse_fact(body["fact"]) if body else None

    def read(self, prefix: str = "") -> list[AnyFact]:
        """All facts, or those whose keys start with `prefix`, in the order in which they were written."""
        _, body = call(
            "POST",
            f"/flow_runs/{self.execution_id}/input/filter",
            {"prefix": prefix, "limit": _EVERYTHING, "exclude_keys": []},
        )
        ours = (item for item in body if item.get("sender") == _SENDER)
        found = (_decoded(item["value"])["fact"] for item in ours)
        return [parse_fact(fact) for fact in found if _is_known(fact)]

    def _nonce(self, key: str) -> str | None:
        body = self._input(key)
        return str(body["nonce"]) if body else None

    def _input(self, key: str) -> dict[str, Any] | None:
        status, body = call("GET", f"/flow_runs/{self.execution_id}/input/{key}", expected=(404,))
        return _decoded(body) if status == 200 else None


def _is_known(fact: Mapping[str, Any]) -> bool:
    """Whether this version has that kind of fact; a newer one, or another package, may have written others."""
    if fact.get("kind") in KINDS:
        return True
    _logger.warning("a fact of kind %r is left out: this version does not know it", fact.get("kind"))
    return False


def _decoded(value: Any) -> dict[str, Any]:
    # One endpoint returns the value as plain text, another one inside JSON.
    decoded: dict[str, Any] = json.loads(value) if isinstance(value, str) else value
    return decoded
