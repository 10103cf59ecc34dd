"""The record of an execution: facts, stored as inputs of its flow run, where a key can be created only once."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, TypeVar
from uuid import uuid4

from prefect_codepipeline.engine.executions.removed import not_found
from prefect_codepipeline.model.record.fact import Fact
from prefect_codepipeline.model.record.facts import KINDS, AnyFact, parse_fact
from prefect_codepipeline.model.record.format import check_stamp, stamp
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
        written = _storable(fact.model_dump(mode="json", exclude_defaults=False))
        value = json.dumps({"nonce": nonce, **stamp(fact.format), "fact": written})
        status, _ = call(
            "POST",
            f"/flow_runs/{self.execution_id}/input",
            {"key": fact.key, "value": value, "sender": _SENDER},
            expected=(404, 409),
        )
        if status == 404:
            raise not_found(self.execution_id, f"there is no pipeline execution {self.execution_id!r}")
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
        """The fact with that key, or None if it was not written. Raises `NewerRecord`."""
        body = self._input(key)
        return parse_fact(self._checked(body)) if body else None

    def read(self, prefix: str = "", but: Collection[str] = ()) -> list[AnyFact]:
        """All facts, or those whose keys start with `prefix`, in the order in which they were written.

        `but` are the keys of facts that the caller knows already; they are left out.

        Raises:
            NewerRecord: a newer release wrote one of them. The execution must then be left alone.
        """
        found = (self._checked(body) for body in self.stored(prefix, but))
        return [parse_fact(fact) for fact in found if _is_known(fact)]

    def stored(self, prefix: str = "", but: Collection[str] = ()) -> list[dict[str, Any]]:
        """Facts as they are stored, each with its format, also those of a newer release. Arguments as of `read`."""
        _, body = call(
            "POST",
            f"/flow_runs/{self.execution_id}/input/filter",
            {"prefix": prefix, "limit": _EVERYTHING, "exclude_keys": list(but)},
        )
        return [_decoded(item["value"]) for item in body if item.get("sender") == _SENDER]

    def _checked(self, body: Mapping[str, Any]) -> dict[str, Any]:
        check_stamp(f"the record of execution {self.execution_id} was written by a newer release", body)
        fact: dict[str, Any] = body["fact"]
        return fact

    def _nonce(self, key: str) -> str | None:
        body = self._input(key)
        return str(body["nonce"]) if body else None

    def _input(self, key: str) -> dict[str, Any] | None:
        status, body = call("GET", f"/flow_runs/{self.execution_id}/input/{key}", expected=(404,))
        return _decoded(body) if status == 200 else None


def _storable(value: Any) -> Any:
    """A value as PostgreSQL can hold it: texts without NUL, which the output of a command may have."""
    if isinstance(value, str):
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}")
    if isinstance(value, dict):
        return {_storable(key): _storable(each) for key, each in value.items()}
    return [_storable(each) for each in value] if isinstance(value, list) else value


def _is_known(fact: Mapping[str, Any]) -> bool:
    """Whether this version has that kind of fact; another package may have written others."""
    if fact.get("kind") in KINDS:
        return True
    _logger.warning("a fact of kind %r is left out: this version does not know it", fact.get("kind"))
    return False


def _decoded(value: Any) -> dict[str, Any]:
    # One endpoint returns the value as plain text, another one inside JSON.
    decoded: dict[str, Any] = json.loads(value) if isinstance(value, str) else value
    return decoded
