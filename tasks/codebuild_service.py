"""Run a build, or a batch of builds, in AWS CodeBuild: start it, poll it, stream its log, fetch its outputs.

https://docs.aws.amazon.com/codebuild/latest/APIReference/API_StartBuild.html
https://docs.aws.amazon.com/codebuild/latest/APIReference/API_StartBuildBatch.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefect_codepipeline.blocks.codebuild_project import CodeBuildProject
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.tasks.archive_member import UnfitTreeError
from prefect_codepipeline.tasks.aws_client import aws_client, translated
from prefect_codepipeline.tasks.codebuild_place import Place, clear, transfer
from prefect_codepipeline.tasks.registry import ActionContext, ActionResult, InputTree, OutputTree
from prefect_codepipeline.tasks.wanted_build import WantedBuild
from prefect_codepipeline.tasks.zip_trees import unzip_tree, zip_tree

POLL_SECONDS = 5.0
SETTLE_SECONDS = 2.0
_UNANSWERED_POLLS = 60  # in a row: the build fails if CodeBuild does not answer for five minutes
_RECORD_LINES = 500
_COMMIT = re.compile(r"[0-9a-f]{40}")
_LEAST_MINUTES = 5  # AWS accepts no shorter timeout


@dataclass
class _Clients:
    """The boto3 clients for one region and one set of credentials."""

    project: CodeBuildProject
    region: str | None

    def __post_init__(self) -> None:
        self.codebuild, self.logs, self.s3 = (self._client(name) for name in ("codebuild", "logs", "s3"))

    def _client(self, service: str) -> Any:
        with translated(f"connecting to {service}"):
            return aws_client(service, self.region, self.project.aws_role_arn, self.project.aws_profile)


@dataclass
class _Watch:
    """A running build: its last known state, and the positions up to which its logs were read."""

    clients: _Clients
    id: str
    batch: bool
    context: ActionContext
    state: Mapping[str, Any] = field(default_factory=dict)
    builds: Sequence[Mapping[str, Any]] = ()
    tokens: dict[str, str | None] = field(default_factory=dict)
    without_logs: bool = False

    @property
    def status(self) -> str:
        return str(self.state.get("buildBatchStatus" if self.batch else "buildStatus", "IN_PROGRESS"))

    @property
    def url(self) -> str | None:
        """The URL of the build in the AWS console."""
        arn = str(self.state.get("arn", "")).split(":")
        if len(arn) < 6:
            return None
        kind, region, account = ("batch" if self.batch else "build"), arn[3], arn[4]
        project = self.id.partition(":")[0]
        return (
            f"https://{region}.console.aws.amazon.com/codesuite/codebuild/{account}/projects/{project}/{kind}/"
            f"{self.id.replace(':', '%3A')}/?region={region}"
        )


def run_in_codebuild(project: CodeBuildProject, build: WantedBuild, context: ActionContext) -> ActionResult:
    """Run a build in AWS and wait until it has ended.

    If the project has an `aws_location`, the inputs are uploaded there and the outputs are fetched from there; both
    are removed at the end. Otherwise the project builds its own source, at the commit of the primary source if that
    has one, and the outputs stay where the project stores them.

    Raises:
        ActionFailed: the build ended in a state other than SUCCEEDED (`JobFailed`), the deadline passed (`Timeout`),
            or AWS refused or did not answer (`PermissionError`, `ConfigurationError`, `SystemUnavailable`); the
            error has the id and the URL of the build if the build was started.
        ActionAbandoned: the execution was cancelled; the build is stopped.
    """
    clients = _Clients(project, project.aws_region or context.action.region)
    place = _place(project, context)
    try:
        request = _request(clients, project, build, context, place)
        watch = _start(clients, request, build, context)
        _follow(watch)
        _refuse_failure(watch)
        return ActionResult(
            summary=f"Build terminated with state: {watch.status}",
            output_artifacts=_outputs(watch, build, place),
            output_variables=_exported(watch),
            external_execution_id=watch.id,
            external_execution_url=watch.url,
        )
    finally:
        if place:
            clear(clients.s3, place)


def _place(project: CodeBuildProject, context: ActionContext) -> Place | None:
    if not project.aws_location:
        return None
    bucket, _, prefix = project.aws_location.removeprefix("s3://").partition("/")
    folder = "/".join(filter(None, [prefix.strip("/"), context.action_execution_id]))
    return Place(bucket, f"{folder}/")


def _request(
    clients: _Clients,
    project: CodeBuildProject,
    build: WantedBuild,
    context: ActionContext,
    place: Place | None,
) -> dict[str, Any]:
    name = project.aws_project_name or build.project_name
    known = _project_in_aws(clients, name)
    variables = {each.name: each for each in (*project.environment_variables, *build.variables)}
    timeout = "buildTimeoutInMinutesOverride" if build.batch else "timeoutInMinutesOverride"
    request = {
        "projectName": name,
        # If a worker restarts the action within five minutes, AWS returns the build that runs already.
        "idempotencyToken": context.action_execution_id,
        "environmentVariablesOverride": [each.model_dump() for each in variables.values()],
        "buildspecOverride": build.buildspec or project.buildspec,
        **_overrides(project, timeout),
        **(_artifacts(clients, build, context, place) if place else _own_source(known, build, context)),
    }
    if build.batch and build.combine_artifacts:
        request["buildBatchConfigOverride"] = {**known.get("buildBatchConfig", {}), "combineArtifacts": True}
    return {key: value for key, value in request.items() if value not in (None, [])}


def _project_in_aws(clients: _Clients, name: str) -> Mapping[str, Any]:
    with translated(f"looking up CodeBuild project {name!r}"):
        found = clients.codebuild.batch_get_projects(names=[name])["projects"]
    if not found:
        raise ActionFailed(
            f"there is no CodeBuild project {name!r} in {clients.codebuild.meta.region_name}; correct ProjectName, "
            "or aws_project_name or aws_region in the CodeBuildProject block",
            code="ConfigurationError",
        )
    return dict(found[0])


def _overrides(project: CodeBuildProject, timeout: str) -> dict[str, Any]:
    """Overrides for the fields that the block sets; for the other fields the project in AWS has its own values."""
    said = project.model_dump(exclude_defaults=True)
    overrides = {
        "imageOverride": said.get("image"),
        "computeTypeOverride": said.get("compute_type"),
        "privilegedModeOverride": said.get("privileged"),
    }
    if "timeout_in_minutes" in said:
        overrides[timeout] = max(project.timeout_in_minutes, _LEAST_MINUTES)
    if "queued_timeout_in_minutes" in said:
        overrides["queuedTimeoutInMinutesOverride"] = max(project.queued_timeout_in_minutes, _LEAST_MINUTES)
    return overrides


def _own_source(known: Mapping[str, Any], build: WantedBuild, context: ActionContext) -> dict[str, Any]:
    if known.get("source", {}).get("type") == "CODEPIPELINE":
        raise ActionFailed(
            f"CodeBuild project {known.get('name')!r} takes its source from CodePipeline; set aws_location of the "
            "CodeBuildProject block to 's3://bucket/prefix', where the artifacts can be exchanged",
            code="ConfigurationError",
        )
    if build.outputs:
        context.logger.warning(
            "Output artifacts %s are left out: the CodeBuildProject block has no aws_location to fetch them from",
            ", ".join(map(repr, build.outputs)),
        )
    revision = build.inputs[0].revision_id if build.inputs else None
    return {"sourceVersion": revision if revision and _COMMIT.fullmatch(revision) else None}


def _artifacts(clients: _Clients, build: WantedBuild, context: ActionContext, place: Place) -> dict[str, Any]:
    for tree in build.inputs:
        context.check()
        _upload(clients, tree, context, place)
    locations = [f"{place.bucket}/{place.key('in', tree.name)}" for tree in build.inputs]
    secondary = [
        {"type": "S3", "location": location, "sourceIdentifier": tree.name}
        for tree, location in zip(build.inputs[1:], locations[1:], strict=True)
    ]
    outputs = [_output(place, name) for name in build.outputs]
    alone = len(outputs) == 1
    return {
        "sourceTypeOverride": "S3" if locations else None,
        "sourceLocationOverride": locations[0] if locations else None,
        "secondarySourcesOverride": secondary,
        "artifactsOverride": outputs[0] if alone else {"type": "NO_ARTIFACTS"},
        "secondaryArtifactsOverride": []
        if alone
        else [
            {**each, "artifactIdentifier": name} for each, name in zip(outputs, build.outputs, strict=True)
        ],
    }


def _output(place: Place, name: str) -> dict[str, str]:
    return {
        "type": "S3",
        "location": place.bucket,
        "path": f"{place.prefix}out",
        "namespaceType": "NONE",
        "name": f"{name}.zip",
        "packaging": "ZIP",
    }


def _upload(clients: _Clients, tree: InputTree, context: ActionContext, place: Place) -> None:
    archive = context.scratch / f"input-{tree.name}.zip"
    key = place.key("in", tree.name)
    try:
        zip_tree(tree.directory, archive)
        with transfer(f"uploading input artifact {tree.name!r} to s3://{place.bucket}/{key}"):
            clients.s3.upload_file(str(archive), place.bucket, key)
    finally:
        archive.unlink(missing_ok=True)


def _start(clients: _Clients, request: dict[str, Any], build: WantedBuild, context: ActionContext) -> _Watch:
    name = request["projectName"]
    with translated(f"starting a build of CodeBuild project {name!r}"):
        if build.batch:
            state = clients.codebuild.start_build_batch(**request)["buildBatch"]
        else:
            state = clients.codebuild.start_build(**request)["build"]
    watch = _Watch(clients, state["id"], build.batch, context, state)
    context.logger.info("Started build %s: %s", watch.id, watch.url)
    return watch


def _follow(watch: _Watch) -> None:
    """Poll the build until it has ended; on cancellation, timeout or a permanent error, stop the build."""
    unanswered = 0
    try:
        while True:
            watch.context.check()
            try:
                _look(watch)
                unanswered = 0
            except ActionFailed as error:
                unanswered += 1
                if error.code != "SystemUnavailable" or unanswered >= _UNANSWERED_POLLS:
                    raise
                watch.context.logger.warning(
                    "Could not read the state of build %s, will retry: %s", watch.id, error
                )
            if not unanswered and watch.status != "IN_PROGRESS":
                _look_once_more(watch)
                return
            watch.context.cancellation.wait(min(POLL_SECONDS, max(watch.context.remaining_seconds, 0.0)))
    except ActionFailed as error:
        _stop(watch)
        raise ActionFailed(
            str(error), code=error.code, external_execution_id=watch.id, external_execution_url=watch.url
        ) from error
    except BaseException:
        _stop(watch)
        raise


def _look_once_more(watch: _Watch) -> None:
    """Read the log once more: CloudWatch gets the last lines shortly after CodeBuild reports the end."""
    if watch.tokens:
        watch.context.cancellation.wait(SETTLE_SECONDS)
        with suppress(ActionFailed):
            _look(watch)


def _look(watch: _Watch) -> None:
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
    watch.context.report_progress(summary=_progress(watch.state), external_id=watch.id, url=watch.url)
    for build in watch.builds:
        _stream(watch, build)


def _builds_of_batch(watch: _Watch) -> list[Mapping[str, Any]]:
    arns = [group.get("currentBuildSummary", {}).get("arn", "") for group in _groups(watch)]
    ids = [arn.partition(":build/")[2] for arn in arns if ":build/" in arn]
    builds: list[Mapping[str, Any]] = []
    for start in range(0, len(ids), 100):
        builds += watch.clients.codebuild.batch_get_builds(ids=ids[start : start + 100])["builds"]
    return builds


def _groups(watch: _Watch) -> list[Mapping[str, Any]]:
    return list(watch.state.get("buildGroups", ()))


def _progress(state: Mapping[str, Any]) -> str:
    groups = [group.get("currentBuildSummary", {}) for group in state.get("buildGroups", ())]
    if not groups:
        return str(state.get("currentPhase", ""))
    ended = sum(group.get("buildStatus", "IN_PROGRESS") != "IN_PROGRESS" for group in groups)
    return f"{state.get('currentPhase', '')}: {ended} of {len(groups)} builds ended"


def _stream(watch: _Watch, build: Mapping[str, Any]) -> None:
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
            watch.context.logger.warning("The log of build %s cannot be read: %s", build["id"], error)
    except BotoCoreError as error:
        watch.context.logger.warning(
            "The log of build %s could not be read, will retry: %s", build["id"], error
        )


def _new_lines(watch: _Watch, build_id: str, group: str, stream: str) -> Iterator[list[str]]:
    before = f"[{_identifier(watch, build_id)}] " if watch.batch else ""
    while True:
        token = watch.tokens.get(build_id)
        asked = {"logGroupName": group, "logStreamName": stream, "startFromHead": True}
        answer = watch.clients.logs.get_log_events(**asked, **({"nextToken": token} if token else {}))
        lines = [before + event["message"].rstrip("\r\n") for event in answer["events"]]
        if lines:
            yield lines
        following = answer.get("nextForwardToken")
        watch.tokens[build_id] = following
        # CloudWatch returns the same token if there are no more lines for now.
        if not following or following == token:
            return


def _identifier(watch: _Watch, build_id: str) -> str:
    for group in _groups(watch):
        if str(group.get("currentBuildSummary", {}).get("arn", "")).endswith(f":build/{build_id}"):
            return str(group.get("identifier") or build_id)
    return build_id


def _stop(watch: _Watch) -> None:
    try:
        with translated(f"stopping build {watch.id}"):
            if watch.batch:
                watch.clients.codebuild.stop_build_batch(id=watch.id)
            else:
                watch.clients.codebuild.stop_build(id=watch.id)
    except ActionFailed as error:
        watch.context.logger.warning("Build %s may still run: %s; stop it at %s", watch.id, error, watch.url)


def _refuse_failure(watch: _Watch) -> None:
    if watch.status == "SUCCEEDED":
        return
    reasons = "; ".join(_reasons(watch))
    raise ActionFailed(
        f"Build terminated with state: {watch.status}" + (f": {reasons}" if reasons else ""),
        code="Timeout" if watch.status == "TIMED_OUT" else "JobFailed",
        external_execution_id=watch.id,
        external_execution_url=watch.url,
    )


def _reasons(watch: _Watch) -> Iterator[str]:
    """The failed phases, each with CodeBuild's message."""
    states = [watch.state, *watch.builds] if watch.batch else [watch.state]
    for state in states:
        which = f"{_identifier(watch, state['id'])} " if watch.batch and state is not watch.state else ""
        for phase in state.get("phases", ()):
            if phase.get("phaseStatus") not in (None, "SUCCEEDED", "IN_PROGRESS", "QUEUED"):
                said = " ".join(str(each.get("message", "")) for each in phase.get("contexts") or ()).strip()
                yield f"{which}{phase.get('phaseType')} {phase['phaseStatus']}" + (
                    f" ({said})" if said else ""
                )


def _exported(watch: _Watch) -> dict[str, str]:
    exported: dict[str, str] = {}
    for build in watch.builds:
        for variable in build.get("exportedEnvironmentVariables") or ():
            exported[variable["name"]] = variable.get("value", "")
    return exported


def _outputs(watch: _Watch, build: WantedBuild, place: Place | None) -> dict[str, OutputTree]:
    """The outputs that the build produced; a missing output is only a warning."""
    if place is None:
        return {}
    found = {}
    for name in build.outputs:
        directory = watch.context.scratch / f"output-{name}"
        directory.mkdir()
        archives = list(_archives(watch, build, place, name))
        fetched = [_fetch(watch, place, key, directory / folder, name) for folder, key in archives]
        if any(fetched):
            found[name] = OutputTree(directory)
        else:
            watch.context.logger.warning("Output artifact %r was not produced by build %s", name, watch.id)
    return found


def _archives(watch: _Watch, build: WantedBuild, place: Place, name: str) -> Iterator[tuple[str, str]]:
    """Folder and key of each archive of an output; a batch that does not combine its artifacts has one per build."""
    if not build.batch or build.combine_artifacts:
        yield "", place.key("out", name)
        return
    alone = len(build.outputs) == 1
    for group in _groups(watch):
        summary = group.get("currentBuildSummary", {})
        made = [summary.get("primaryArtifact") or {}] if alone else summary.get("secondaryArtifacts") or []
        for artifact in made:
            bucket, _, key = str(artifact.get("location", "")).rpartition(":")[2].partition("/")
            if (alone or artifact.get("identifier") == name) and bucket == place.bucket and key:
                yield re.sub(r"[^A-Za-z0-9_-]", "_", str(group.get("identifier") or "build")), key


def _fetch(watch: _Watch, place: Place, key: str, directory: Path, name: str) -> bool:
    from botocore.exceptions import ClientError

    archive = watch.context.scratch / "output.zip"
    what = f"fetching output artifact {name!r} from s3://{place.bucket}/{key}"
    try:
        with transfer(what):
            try:
                watch.clients.s3.download_file(place.bucket, key, str(archive))
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") in ("404", "NoSuchKey"):
                    return False
                raise
        directory.mkdir(exist_ok=True)
        unzip_tree(archive, directory)
    except UnfitTreeError as error:
        raise ActionFailed(
            f"{what}: {error}", external_execution_id=watch.id, external_execution_url=watch.url
        ) from error
    finally:
        archive.unlink(missing_ok=True)
    return True
