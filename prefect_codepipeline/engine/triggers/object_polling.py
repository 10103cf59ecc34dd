"""Find new versions of the objects and images that source actions read: one request for each action and minute.

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
from prefect_codepipeline.actions.aws.ecr_images import find_image
from prefect_codepipeline.actions.aws.image_registry import find_manifest
from prefect_codepipeline.actions.aws.s3_objects import find_object
from prefect_codepipeline.actions.commands.environment import secret_value
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
class PolledSource:
    """A source action that reads an object in S3, or an image. `if_set`: it is polled only if the settings say so."""

    pipeline: str
    stage: str
    action: ActionDeclaration
    if_set: bool

    @property
    def what(self) -> str:
        given = self.action.configuration
        if self.action.action_type_id.provider == "ECR":
            return f"{given.get('RepositoryName', '')}:{given.get('ImageTag', 'latest')}"
        return f"s3://{given.get('S3Bucket', '')}/{given.get('S3ObjectKey', '')}"

    def __str__(self) -> str:
        return f"{self.pipeline}/{self.action.name} {self.what}"


@dataclass(frozen=True)
class Seen:
    """The revision that was found, empty if there is none; or why that is not known.

    `reference` also names when it was stored: the same content that is stored again is another one.
    """

    revision: str = ""
    reference: str = ""
    problem: str = ""


def poll_objects(definitions: Iterable[StoredDefinition], minute: int) -> list[str]:
    """Poll every object and image once and start executions for new ones. One sentence for each start and each problem.

    An object that is seen for the first time starts nothing, unless it did not exist at an earlier poll.

    Raises:
        PrefectUnavailable: Prefect does not respond; the next poll finds the changes that were not processed.
    """
    sources = [source for definition in definitions for source in polled_sources(definition)]
    if not sources or not claim(STATE_BLOCK, minute):
        return []
    state = find_block(GitPollState, STATE_BLOCK)
    before = state.references if state else {}
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="codepipeline-poll") as pool:
        looks = list(pool.map(_look, sources))
    now: dict[str, str] = {}
    sentences: list[str] = []
    for source, seen in zip(sources, looks, strict=True):
        if seen is None:
            continue
        name = str(source)
        if seen.problem:
            sentences.append(f"pipeline {source.pipeline!r}: polling {source.action.name!r}: {seen.problem}")
            if name in before:
                now[name] = before[name]
            continue
        if seen.revision and name in before and before[name] != seen.reference:
            sentences.append(_start(source, seen))
        now[name] = seen.reference
    if now != before:
        save_block(GitPollState(url="s3://", references=now, generation=0), STATE_BLOCK)
    return sentences


def polled_sources(definition: StoredDefinition) -> Iterator[PolledSource]:
    """The source actions of a pipeline that read an object in S3 or an image, and may be polled."""
    for stage in definition.masked().stages:
        for action in stage.actions:
            kind = str(action.action_type_id)
            is_off = action.configuration.get("PollForSourceChanges", "true").lower() == "false"
            if kind in ("Source/AWS/S3/1", "Source/AWS/ECR/1"):
                is_image = kind == "Source/AWS/ECR/1"
                yield PolledSource(definition.pipeline_name, stage.name, action, is_off or is_image)


def _look(source: PolledSource) -> Seen | None:
    """What is there now; None if the source is not polled."""
    try:
        context = _context(source)
        if source.if_set and not context.settings.poll:
            return None
        return _image(context) if context.action.action_type_id.provider == "ECR" else _object(context)
    except ActionFailed as error:
        return Seen() if error.code == "RevisionUnavailable" else Seen(problem=str(error))
    except MissingBlock as error:
        return Seen(problem=str(error))


def _object(context: ActionContext) -> Seen:
    given = context.action.configuration
    found = find_object(client_of(context, "s3"), given.get("S3Bucket", ""), given.get("S3ObjectKey", ""))
    return Seen(found.revision, f"{found.revision} {found.modified.isoformat()}")


def _image(context: ActionContext) -> Seen:
    given, aws = context.action.configuration, context.settings.aws
    repository, tag = given.get("RepositoryName", ""), given.get("ImageTag", "latest")
    if aws.registry:
        secret = aws.registry_secret
        credentials = secret_value(secret, "registry_secret of the pipeline's settings") if secret else None
        digest = find_manifest(aws.registry, repository, tag, credentials).digest
    else:
        digest = str(find_image(client_of(context, "ecr"), repository, tag)["imageDigest"])
    return Seen(digest, digest)


def _context(source: PolledSource) -> ActionContext:
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


def _start(source: PolledSource, seen: Seen) -> str:
    what = f"version {seen.revision} of {source.what}"
    token = hashlib.sha256(f"{source} {seen.reference}".encode()).hexdigest()[:32]
    try:
        execution_id = start_pipeline_execution(
            source.pipeline,
            {},
            {source.action.name: seen.revision},
            source.action.name[:1024],
            f"poll-{token}",
            "PollForSourceChanges",
        )
    except REFUSALS as error:
        return f"pipeline {source.pipeline!r} was not started: {error}, for {what}"
    return f"pipeline {source.pipeline!r}: execution {execution_id}, for {what}"
