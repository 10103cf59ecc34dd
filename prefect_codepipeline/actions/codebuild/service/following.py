"""Follow a build in CodeBuild until it has ended: its state, its progress and its log."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from prefect_codepipeline.actions.aws import remote_work
from prefect_codepipeline.actions.aws.client import translated
from prefect_codepipeline.actions.aws.console import console_url
from prefect_codepipeline.actions.aws.remote_work import Following, Look, Work
from prefect_codepipeline.actions.codebuild.service.clients import Clients
from prefect_codepipeline.actions.registry import ActionContext, WorkGoesOn
from prefect_codepipeline.errors import ActionFailed

SETTLE_SECONDS = 2.0
_RECORD_LINES = 500
# Under these names it is kept how far the logs have been read, and that they cannot be read.
_LOG, _NO_LOG = "log", "no-log"


@dataclass
class Watch:
    """A running build: its last known state, and the positions up to which its logs were read."""

    clients: Clients
    id: str
    batch: bool
    context: ActionContext
    state: Mapping[str, Any] = field(default_factory=dict)
    builds: Sequence[Mapping[str, Any]] = ()
    tokens: dict[str, str | None] = field(default_factory=dict)
    without_logs: bool = False

    def __post_init__(self) -> None:
        earlier = self.context.earlier
        self.tokens.update(json.loads(self.context.kept(_LOG) or "{}"))
        self.without_logs = bool(earlier and _NO_LOG in earlier.state)

    @property
    def work(self) -> Work:
        return Work(self.id, self.url)

    @property
    def status(self) -> str:
        return str(self.state.get("buildBatchStatus" if self.batch else "buildStatus", "IN_PROGRESS"))

    @property
    def url(self) -> str | None:
        """The URL of the build in the AWS console."""
        kind, project = ("batch" if self.batch else "build"), self.id.partition(":")[0]
        page = f"projects/{project}/{kind}/{self.id.replace(':', '%3A')}/"
        return console_url(
            str(self.state.get("arn", "")), f"codesuite/codebuild/{{account}}/{page}?region={{region}}"
        )


def follow(watch: Watch) -> None:
    """Look at the build, and return if it has ended; on cancellation, timeout or a permanent error, stop the build.

    The build continues if only this process must end.
    """
    earlier = watch.context.earlier
    build = Following(
        what=f"build {watch.id}",
        work=Work(watch.id, watch.url or (earlier.url if earlier else None)),
        look=lambda: _look(watch),
        stop=lambda: _stop(watch),
        requests=2,
    )
    before = dict(watch.tokens)
    try:
        remote_work.follow(build, watch.context)
    except WorkGoesOn:
        _keep_log_positions(watch, before)
        raise
    _look_once_more(watch)


def _keep_log_positions(watch: Watch, before: Mapping[str, str | None]) -> None:
    if watch.tokens == before:
        return
    # Too often or too much for one action: then lines come twice, and nothing is lost.
    with suppress(ActionFailed):
        watch.context.keep(**{_LOG: json.dumps(watch.tokens)})


def _look_once_more(watch: Watch) -> None:
    """Read the log once more: CloudWatch gets the last lines shortly after CodeBuild reports the end."""
    if watch.tokens:
        watch.context.cancellation.wait(SETTLE_SECONDS)
        with suppress(ActionFailed):
            _look(watch)


def _look(watch: Watch) -> Look:
    codebuild = watch.clients.codebuild
    with translated(f"reading the state of build {watch.id}"):
        if watch.batch:
            found = codebuild.batch_get_build_batches(ids=[watch.id])["buildBatches"]
        else:
            found = codebuild.batch_get_builds(ids=[watch.id])["builds"]
        if not found:
            raise ActionFailed(f"CodeBuild no longer has build {watch.id}: it was deleted")
        watch.state = found[0]
        watch.builds = _builds_of_batch(watch) if watch.batch else [watch.state]
    for build in watch.builds:
        _stream(watch, build)
    return Look(watch.status != "IN_PROGRESS", _progress(watch.state))


def _builds_of_batch(watch: Watch) -> list[Mapping[str, Any]]:
    arns = [group.get("currentBuildSummary", {}).get("arn", "") for group in groups(watch)]
    ids = [arn.partition(":build/")[2] for arn in arns if ":build/" in arn]
    builds: list[Mapping[str, Any]] = []
    for start in range(0, len(ids), 100):
        builds += watch.clients.codebuild.batch_get_builds(ids=ids[start : start + 100])["builds"]
    return builds


def groups(watch: Watch) -> list[Mapping[str, Any]]:
    """The builds of a batch, as the batch lists them."""
    return list(watch.state.get("buildGroups", ()))


def _progress(state: Mapping[str, Any]) -> str:
    groups = [group.get("currentBuildSummary", {}) for group in state.get("buildGroups", ())]
    if not groups:
        return str(state.get("currentPhase", ""))
    ended = sum(group.get("buildStatus", "IN_PROGRESS") != "IN_PROGRESS" for group in groups)
    return f"{state.get('currentPhase', '')}: {ended} of {len(groups)} builds ended"


def _stream(watch: Watch, build: Mapping[str, Any]) -> None:
    """Log the output of the build since the last poll."""
    place = build.get("logs", {})
    group, stream = place.get("groupName"), place.get("streamName")
    if not (group and stream) or watch.without_logs:
        return
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        for lines in _new_lines(watch, build["id"], group, stream):
            for start in range(0, len(lines), _RECORD_LINES):
                watch.context.logger.info("%s", "\n".join(lines[start : start + _RECORD_LINES]))
    except ClientError as error:
        # CloudWatch creates the stream with the first line.
        if error.response.get("Error", {}).get("Code") != "ResourceNotFoundException":
            watch.without_logs = True
            with suppress(ActionFailed):
                watch.context.keep(**{_NO_LOG: "yes"})
            watch.context.logger.warning("The log of build %s cannot be read: %s", build["id"], error)
    except BotoCoreError as error:
        watch.context.logger.warning(
            "The log of build %s could not be read, will retry: %s", build["id"], error
        )


def _new_lines(watch: Watch, build_id: str, group: str, stream: str) -> Iterator[list[str]]:
    before = f"[{identifier(watch, build_id)}] " if watch.batch else ""
    position = build_id.rpartition(":")[2]  # without the project: those of a large batch have to be kept
    while True:
        token = watch.tokens.get(position)
        asked = {"logGroupName": group, "logStreamName": stream, "startFromHead": True}
        answer = watch.clients.logs.get_log_events(**asked, **({"nextToken": token} if token else {}))
        lines = [before + event["message"].rstrip("\r\n") for event in answer["events"]]
        if lines:
            yield lines
        following = answer.get("nextForwardToken")
        watch.tokens[position] = following
        # CloudWatch returns the same token if there are no more lines for now.
        if not following or following == token:
            return


def identifier(watch: Watch, build_id: str) -> str:
    """The identifier of a build in its batch."""
    for group in groups(watch):
        if str(group.get("currentBuildSummary", {}).get("arn", "")).endswith(f":build/{build_id}"):
            return str(group.get("identifier") or build_id)
    return build_id


def stop_build(clients: Clients, build_id: str, batch: bool) -> None:
    """Stop a build. Raises `ActionFailed` if AWS refuses or does not answer."""
    with translated(f"stopping build {build_id}"):
        if batch:
            clients.codebuild.stop_build_batch(id=build_id)
        else:
            clients.codebuild.stop_build(id=build_id)


def _stop(watch: Watch) -> str:
    stop_build(watch.clients, watch.id, watch.batch)
    return ""
