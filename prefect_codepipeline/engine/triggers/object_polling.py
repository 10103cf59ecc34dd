"""Find new versions of the objects in S3 that source actions read: one HEAD request for each action and minute.

The revisions of the last poll are kept in one block. A start has a token that names the version and its time, so a
version starts one execution of a pipeline, even if a poll is repeated after a crash.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from prefect_codepipeline.actions.aws.account import client_of
from prefect_codepipeline.actions.aws.s3_objects import S3Object, find_object
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.blocks.git_poll_state import GitPollState
from prefect_codepipeline.engine.executions.definitions import settings_of
from prefect_codepipeline.engine.operations.starting import start_pipeline_execution
from prefect_codepipeline.engine.triggers.poll_claims import claim
from prefect_codepipeline.engine.triggers.triggering import REFUSALS
from prefect_codepipeline.errors import ActionFailed, MissingBlock
from prefect_codepipeline.model.definition.declaration import ActionDeclaration
from prefect_codepipeline.model.stored.definition import StoredDefinition
from prefect_codepipeline.prefect_api.block_documents import find_block, save_block

STATE_BLOCK = "s3-objects"
_ASK_SECONDS = 50.0
_AT_ONCE = 8


@dataclass(frozen=True)
class ObjectSource:
    """A source action that reads an object in S3."""

    pipeline: str
    stage: str
    action: ActionDeclaration

    @property
    def bucket(self) -> str:
        return self.action.configuration.get("S3Bucket", "")

    @property
    def key(self) -> str:
        return self.action.configuration.get("S3ObjectKey", "")

    def __str__(self) -> str:
        return f"{self.pipeline}/{self.action.name} s3://{self.bucket}/{self.key}"


@dataclass(frozen=True)
class Seen:
    """What S3 answered: the object, or None if there is none; or why that is not known."""

    found: S3Object | None = None
    problem: str = ""

    @property
    def reference(self) -> str:
        """The version and when it was stored: the same content that is stored again is another one."""
        return f"{self.found.revision} {self.found.modified.isoformat()}" if self.found else ""


def poll_objects(definitions: Iterable[StoredDefinition], minute: int) -> list[str]:
    """Poll every object once and start executions for new versions. One sentence for each start and each problem.

    An object that is seen for the first time starts nothing, unless it did not exist at an earlier poll.

    Raises:
        PrefectUnavailable: Prefect does not respond; the next poll finds the changes that were not processed.
    """
    sources = [source for definition in definitions for source in object_sources(definition)]
    if not sources or not claim(STATE_BLOCK, minute):
        return []
    state = find_block(GitPollState, STATE_BLOCK)
    before = state.references if state else {}
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="codepipeline-poll") as pool:
        seen = list(pool.map(_look, sources))
    now: dict[str, str] = {}
    sentences: list[str] = []
    for source, look in zip(sources, seen, strict=True):
        name = str(source)
        if look.problem:
            sentences.append(f"pipeline {source.pipeline!r}: polling {source.action.name!r}: {look.problem}")
            if name in before:
                now[name] = before[name]
            continue
        if look.found and name in before and before[name] != look.reference:
            sentences.append(_start(source, look.found, look.reference))
        now[name] = look.reference
    if now != before:
        save_block(GitPollState(url="s3://", references=now, generation=0), STATE_BLOCK)
    return sentences


def object_sources(definition: StoredDefinition) -> Iterator[ObjectSource]:
    """The source actions of a pipeline that read an object in S3 and do not switch polling off."""
    for stage in definition.masked().stages:
        for action in stage.actions:
            polled = action.configuration.get("PollForSourceChanges", "true").lower() != "false"
            if str(action.action_type_id) == "Source/AWS/S3/1" and polled:
                yield ObjectSource(definition.pipeline_name, stage.name, action)


def _look(source: ObjectSource) -> Seen:
    try:
        return Seen(find_object(client_of(_context(source), "s3"), source.bucket, source.key))
    except ActionFailed as error:
        return Seen() if error.code == "RevisionUnavailable" else Seen(problem=str(error))
    except MissingBlock as error:
        return Seen(problem=str(error))


def _context(source: ObjectSource) -> ActionContext:
    """The account, region and endpoint of the action: all that its client is made from."""
    return ActionContext(
        pipeline_name=source.pipeline,
        pipeline_execution_id="",
        stage_name=source.stage,
        action=source.action,
        action_execution_id="",
        scratch=Path(),
        deadline=time.monotonic() + _ASK_SECONDS,
        settings=settings_of(source.pipeline).for_action(source.stage, source.action.name),
    )


def _start(source: ObjectSource, found: S3Object, reference: str) -> str:
    what = f"version {found.revision} of s3://{source.bucket}/{source.key}"
    token = hashlib.sha256(f"{source} {reference}".encode()).hexdigest()[:32]
    try:
        execution_id = start_pipeline_execution(
            source.pipeline,
            {},
            {source.action.name: found.revision},
            source.action.name[:1024],
            f"poll-{token}",
            "PollForSourceChanges",
        )
    except REFUSALS as error:
        return f"pipeline {source.pipeline!r} was not started: {error}, for {what}"
    return f"pipeline {source.pipeline!r}: execution {execution_id}, for {what}"
