"""Where the artifacts of the actions and rules of an execution are.

https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_ArtifactDetail.html
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from prefect_codepipeline.model.record.facts import ActionFinished
from prefect_codepipeline.model.wire.artifact_keys import artifact_key, bucket_of
from prefect_codepipeline.model.wire.shown import ShownExecution


class Artifacts:
    """The artifacts of an execution: which action execution made each, and when."""

    def __init__(self, shown: ShownExecution) -> None:
        self._declaration = shown.declaration
        pinned = shown.state.pinned
        self._inherited = {each.name: pinned.rollback_target or "" for each in pinned.inherited.artifacts}
        self._made: dict[str, list[ActionFinished]] = {}
        for fact in shown.facts:
            if isinstance(fact, ActionFinished) and fact.status == "Succeeded":
                for artifact in fact.output_artifacts:
                    self._made.setdefault(artifact.name, []).append(fact)

    def inputs(self, names: Iterable[str], region: str | None, at: datetime) -> list[dict[str, Any]]:
        """The artifacts of these names as they were at a time, for an action in a region."""
        return [self._detail(name, region, self._maker(name, at)) for name in names]

    def outputs(
        self, names: Iterable[str], region: str | None, action_execution_id: str
    ) -> list[dict[str, Any]]:
        """The artifacts that an action execution made."""
        return [self._detail(name, region, action_execution_id) for name in names]

    def _maker(self, name: str, at: datetime) -> str | None:
        """A retried action makes its artifact again: the latest one counts."""
        made = [fact for fact in self._made.get(name, ()) if fact.at <= at]
        return made[-1].action_execution_id if made else self._inherited.get(name)

    def _detail(self, name: str, region: str | None, maker: str | None) -> dict[str, Any]:
        bucket = bucket_of(self._declaration, region)
        if maker is None or bucket is None:
            return {"name": name}
        key = artifact_key(self._declaration.name, name, maker)
        return {"name": name, "s3location": {"bucket": bucket, "key": key}}
