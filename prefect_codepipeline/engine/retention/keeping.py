"""Which executions are kept: what is young or in flight, and what others may still need.

Executions are looked at from the newest to the oldest. So the first that succeeded in a stage is the last one that did.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from prefect_codepipeline.engine.executions.definitions import pipelines_created
from prefect_codepipeline.engine.executions.gate import read_all_gates
from prefect_codepipeline.engine.executions.run_lists import Run, all_in_flight
from prefect_codepipeline.errors import NewerRecord
from prefect_codepipeline.model.names import slug
from prefect_codepipeline.model.record.format import check_stamp
from prefect_codepipeline.model.stored.retention import StoredRetention
from prefect_codepipeline.prefect_api.block_documents import block_of, list_documents
from prefect_codepipeline.prefect_api.client import moment

# A fact, and what is stored of it: `fact` and the version of its format.
Value = Mapping[str, Any]
Stored = Mapping[str, Any]
_ENDED = ("COMPLETED", "FAILED", "CANCELLED")
_DIGEST = re.compile(r"\b[0-9a-f]{64}\b")
TARGET_LABEL = "codepipeline.rollback-target"


@dataclass(frozen=True)
class Limits:
    """How long the executions of each pipeline are kept; `of_all` replaces what the blocks say."""

    blocks: Mapping[str, StoredRetention] = field(default_factory=dict)
    of_all: timedelta | None = None

    def of(self, pipeline_name: str) -> timedelta | None:
        """How long the executions of a pipeline are kept after their end; None if for ever."""
        if self.of_all is not None:
            return self.of_all
        block = self.blocks.get(slug(pipeline_name)) or self.blocks.get("default") or StoredRetention()
        if block.execution_days is None:
            return None
        return timedelta(days=min(block.execution_days, timedelta.max.days))


def read_limits(of_all: timedelta | None = None) -> Limits:
    """The limits as the blocks are now. Raises `MissingBlock`: a block is invalid, and nothing may be removed."""
    documents = list_documents(StoredRetention, with_secrets=True)
    return Limits({each["name"]: block_of(StoredRetention, each) for each in documents}, of_all)


@dataclass
class Keeper:
    """Decides about executions, which come from the newest to the oldest.

    `created` says when each pipeline was created, and `needed` are the executions that others name.
    """

    limits: Limits
    now: datetime
    created: Mapping[str, datetime]
    needed: frozenset[str]
    # By pipeline and stage: the highest version with a success so far.
    _successes: dict[tuple[str, str], int] = field(default_factory=dict)

    def keeps(self, run: Run, stored: Sequence[Stored]) -> bool:
        """Whether an execution is kept. Each one must be asked about, in order."""
        if is_newer(stored):
            return True
        is_last_success = self._is_last_success(run, [each["fact"] for each in stored])
        if run["state_type"] not in _ENDED or run["id"] in self.needed or is_last_success:
            return True
        limit = self.limits.of(pipeline_of(run))
        ended = run["end_time"] or (run["state"] or {}).get("timestamp")
        return limit is None or ended is None or self.now - moment(ended) < limit

    def _is_last_success(self, run: Run, values: Sequence[Value]) -> bool:
        """Whether no later execution succeeded in one of its stages, at all or with its version: a target of rollbacks."""
        pinned = next((each for each in values if each.get("kind") == "execution-pinned"), None)
        if pinned is None or pinned.get("execution_type") == "ROLLBACK" or not run["deployment_id"]:
            return False  # nothing goes back to a rollback, or to a run in the foreground
        name, version = str(pinned["pipeline_name"]), int(pinned["pipeline_version"])
        created = self.created.get(name)
        if created is None or moment(run["created"]) < created:  # of a deleted pipeline
            return False
        is_last = False
        for stage in _succeeded_stages(values):
            if version > self._successes.get((name, stage), 0):
                self._successes[name, stage] = version
                is_last = True
        return is_last


def keeper(limits: Limits, now: datetime) -> Keeper:
    """What decides in one round, with what is needed at its beginning."""
    in_flight = all_in_flight()
    targets = {(run.get("labels") or {}).get(TARGET_LABEL) for run in in_flight}
    gates = {
        variable["value"].get("execution")
        for each in read_all_gates().values()
        for variable in each.variables
    }
    needed = {str(each) for each in (targets | gates) if each}
    return Keeper(limits, now, pipelines_created(), frozenset(needed | {run["id"] for run in in_flight}))


def pipeline_of(run: Run) -> str:
    """The pipeline of a flow run, by its tag."""
    tags = (tag.partition(":") for tag in run["tags"])
    return next((name for kind, _, name in tags if kind == "pipeline"), "")


def own_definitions(run: Run, stored: Sequence[Stored]) -> list[str]:
    """The ids of definitions that no other execution has: of a run in the foreground, and of actions with their secrets.

    An action on another work pool keeps its secrets in one until it ends, but not if its execution was ended from outside.
    """
    values = [each["fact"] for each in stored]
    asked = (each.get("secrets_id") for each in values if each.get("kind") == "pool-run-asked")
    found = [str(each) for each in asked if each]
    if not run["deployment_id"]:
        found += [str(each["definition_id"]) for each in values if each.get("kind") == "execution-pinned"]
    return found


def digests_in(stored: Sequence[Stored]) -> set[str]:
    """The hashes of all trees that facts or other records name, also those of a newer release."""
    return set(_DIGEST.findall(json.dumps(list(stored))))


def is_newer(stored: Sequence[Stored]) -> bool:
    """Whether a newer release wrote one of the facts: only that one knows what the execution needs."""
    try:
        for each in stored:
            check_stamp("a fact", each)
    except NewerRecord:
        return True
    return False


def _succeeded_stages(values: Sequence[Value]) -> list[str]:
    """The stages whose last attempt succeeded."""
    last: dict[str, Value] = {}
    for each in values:
        if each.get("kind") == "stage-finished":
            before = last.get(each["stage"])
            if before is None or each["attempt"] >= before["attempt"]:
                last[each["stage"]] = each
    return [stage for stage, each in last.items() if each["status"] == "Succeeded"]
