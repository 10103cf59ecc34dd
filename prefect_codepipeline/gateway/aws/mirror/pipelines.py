"""The pipelines and their newest versions. A version never changes, so only new ones are read."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property

from prefect_codepipeline.engine.executions.definitions import (
    DeployedVersion,
    definition_documents,
    find_newest_deployed,
    find_versions,
    updated_since,
)
from prefect_codepipeline.engine.operations.projection import DEPLOYMENTS_BY_NAME
from prefect_codepipeline.engine.operations.starting import list_deployments
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.stored.definition import StoredDefinition
from prefect_codepipeline.prefect_api.client import find_named

_CONDITIONS = {"beforeEntry", "onSuccess", "onFailure"}


@dataclass(frozen=True)
class KnownPipeline:
    """A pipeline in its newest version.

    Attributes:
        name: its name.
        definition_id: the id of the version's block.
        definition: the version, with its secrets.
        created: when the pipeline was created, by the server's clock.
        updated: when this version was.
        first_id: the id of the first version's block; another one if the pipeline was deleted and made again.
    """

    name: str
    definition_id: str
    definition: StoredDefinition
    created: datetime
    updated: datetime
    first_id: str

    @property
    def version(self) -> int:
        return self.definition.version

    @cached_property
    def declaration(self) -> PipelineDeclaration:
        """The definition with its secrets masked."""
        return self.definition.masked()


@dataclass(frozen=True)
class _Kept:
    """A pipeline as it was read at a time, when everything had these signs and it had that deployment."""

    pipeline: KnownPipeline
    signs: str
    read_at: float
    deployment_id: str | None = None


class Pipelines:
    """What is known of pipelines. `signs` in all calls is that of the newest look."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._changed_at: dict[str, float] = {}
        self._listed: tuple[str, float] | None = None  # when all were read, with which signs
        self._have_conditions: dict[str, bool] = {}  # by the ids of their newest definitions

    def expire(self, name: str) -> None:
        """Have the pipeline read anew: this process has changed it."""
        self._changed_at[name] = time.monotonic()

    def find(self, name: str, signs: str) -> KnownPipeline | None:
        """The pipeline, or None."""
        kept = self._kept.get(name)
        if kept and self._is_fresh(kept, signs):
            return kept.pipeline
        began = time.monotonic()
        pipeline = _read(name, kept.pipeline.version if kept else None)
        if pipeline is None:
            self._kept.pop(name, None)
            return None
        self._kept[name] = _Kept(pipeline, signs, began)
        return pipeline

    def all(self, signs: str) -> list[KnownPipeline]:
        """All pipelines, by name."""
        listed = self._listed
        latest = max(self._changed_at.values(), default=0.0)
        if listed is None or listed[0] != signs or listed[1] <= latest:
            began = time.monotonic()
            self._read_all(signs, began)
            self._listed = (signs, began)
        return [kept.pipeline for _, kept in sorted(self._kept.copy().items(), key=lambda each: each[0])]

    def has_conditions(self, pipeline: KnownPipeline) -> bool:
        """Whether any version of the pipeline has had conditions."""
        known = self._have_conditions.get(pipeline.definition_id)
        if known is None:
            versions = [each["data"]["declaration"] for each in definition_documents(pipeline.name)]
            known = any(_CONDITIONS & stage.keys() for version in versions for stage in version["stages"])
            self._have_conditions[pipeline.definition_id] = known
        return known

    def _is_fresh(self, kept: _Kept, signs: str) -> bool:
        return kept.signs == signs and kept.read_at > self._changed_at.get(kept.pipeline.name, 0.0)

    def _read_all(self, signs: str, began: float) -> None:
        deployments = {str(each["name"]): each for each in list_deployments()}
        versions = {name: int(each["version"] or 1) for name, each in deployments.items()}
        for name in updated_since(
            versions
        ):  # another process has stored the version, and is about to deploy it
            versions[name] += 1
        same = {
            name for name in versions if self._is_same(name, versions[name], str(deployments[name]["id"]))
        }
        found = find_versions({name: version for name, version in versions.items() if name not in same})
        for name, version in found.items():
            if pipeline := _known(name, version):
                self._kept[name] = _Kept(pipeline, signs, began, str(deployments[name]["id"]))
        for name in self._kept.keys() - found.keys() - same:
            self._kept.pop(name, None)
        for name in same:
            if kept := self._kept.get(name):  # else another thread has just found that it was deleted
                self._kept[name] = replace(kept, signs=signs)

    def _is_same(self, name: str, version: int, deployment_id: str) -> bool:
        """Whether the pipeline is the one that is known, in that version; if it was made again, its deployment was too."""
        kept = self._kept.get(name)
        return bool(
            kept
            and (kept.deployment_id, kept.pipeline.version) == (deployment_id, version)
            and kept.read_at > self._changed_at.get(name, 0.0)
        )


def _read(name: str, at_least: int | None) -> KnownPipeline | None:
    if at_least is None:
        deployment = find_named(DEPLOYMENTS_BY_NAME, name)
        at_least = int(deployment["version"] or 1) if deployment else 1
    # A pipeline that was made again begins at version 1.
    newest = find_newest_deployed(name, at_least) or find_newest_deployed(name)
    return _known(name, newest) if newest else None


def _known(name: str, version: DeployedVersion) -> KnownPipeline | None:
    """The pipeline, or None if it is being deleted."""
    if version.first_created is None or version.first_id is None:
        return None
    return KnownPipeline(
        name,
        version.definition_id,
        version.definition,
        version.first_created,
        version.created,
        version.first_id,
    )
