"""Run a build, or a batch of builds, in AWS CodeBuild: start it, poll it, stream its log, fetch its outputs.

https://docs.aws.amazon.com/codebuild/latest/APIReference/API_StartBuild.html
https://docs.aws.amazon.com/codebuild/latest/APIReference/API_StartBuildBatch.html
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

from prefect_codepipeline.actions.aws.client import translated
from prefect_codepipeline.actions.codebuild.service.clients import Clients
from prefect_codepipeline.actions.codebuild.service.following import Watch, follow, identifier
from prefect_codepipeline.actions.codebuild.service.outputs import exported, outputs
from prefect_codepipeline.actions.codebuild.service.place import Place, clear
from prefect_codepipeline.actions.codebuild.service.request import build_request
from prefect_codepipeline.actions.codebuild.wanted_build import WantedBuild
from prefect_codepipeline.actions.registry import ActionContext, ActionResult
from prefect_codepipeline.blocks.codebuild_project import CodeBuildProject
from prefect_codepipeline.errors import ActionFailed

# For five minutes AWS answers the same idempotency token with the build that it started. A margin for the clocks is left.
_TOKEN_LIFETIME = timedelta(minutes=4)


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
        ActionInterrupted: only this process ends; the build continues, and the next process follows it.
    """
    clients = Clients(project, context)
    place = _place(project, context)
    try:
        watch = _find_again(clients, build, context) or _start(clients, project, build, context, place)
        follow(watch)
        _refuse_failure(watch)
        return ActionResult(
            summary=f"Build terminated with state: {watch.status}",
            output_artifacts=outputs(watch, build, place),
            output_variables=exported(watch),
            external_execution_id=watch.id,
            external_execution_url=watch.url,
        )
    finally:
        if place and not context.cancellation.left:
            clear(clients.s3, place)


def can_find_again(project: CodeBuildProject | None, context: ActionContext) -> bool:
    """Whether the build that an earlier process started, or was about to start, is found and not started twice."""
    if project is None or project.where != "aws" or context.earlier is None:
        return False
    age = datetime.now(timezone.utc) - context.earlier.started_at
    return bool(context.earlier.external_id) or age < _TOKEN_LIFETIME


def _find_again(clients: Clients, build: WantedBuild, context: ActionContext) -> Watch | None:
    """The build that an earlier process started. Its log is read from the beginning again."""
    if context.earlier is None or context.earlier.external_id is None:
        return None
    watch = Watch(clients, context.earlier.external_id, build.batch, context)
    context.logger.info("Following build %s, which an earlier process started", watch.id)
    return watch


def _place(project: CodeBuildProject, context: ActionContext) -> Place | None:
    if not project.aws_location:
        return None
    bucket, _, prefix = project.aws_location.removeprefix("s3://").partition("/")
    folder = "/".join(filter(None, [prefix.strip("/"), context.action_execution_id]))
    return Place(bucket, f"{folder}/")


def _start(
    clients: Clients,
    project: CodeBuildProject,
    build: WantedBuild,
    context: ActionContext,
    place: Place | None,
) -> Watch:
    request = build_request(clients, project, build, context, place)
    name = request["projectName"]
    context.check()  # nothing starts in an action that must end
    with translated(f"starting a build of CodeBuild project {name!r}"):
        if build.batch:
            state = clients.codebuild.start_build_batch(**request)["buildBatch"]
        else:
            state = clients.codebuild.start_build(**request)["build"]
    watch = Watch(clients, state["id"], build.batch, context, state)
    context.keep(watch.id, watch.url)
    context.logger.info("Started build %s: %s", watch.id, watch.url)
    return watch


def _refuse_failure(watch: Watch) -> None:
    if watch.status == "SUCCEEDED":
        return
    reasons = "; ".join(_reasons(watch))
    raise ActionFailed(
        f"Build terminated with state: {watch.status}" + (f": {reasons}" if reasons else ""),
        code="Timeout" if watch.status == "TIMED_OUT" else "JobFailed",
        external_execution_id=watch.id,
        external_execution_url=watch.url,
    )


def _reasons(watch: Watch) -> Iterator[str]:
    """The failed phases, each with CodeBuild's message."""
    states = [watch.state, *watch.builds] if watch.batch else [watch.state]
    for state in states:
        which = f"{identifier(watch, state['id'])} " if watch.batch and state is not watch.state else ""
        for phase in state.get("phases", ()):
            if phase.get("phaseStatus") not in (None, "SUCCEEDED", "IN_PROGRESS", "QUEUED"):
                said = " ".join(str(each.get("message", "")) for each in phase.get("contexts") or ()).strip()
                yield f"{which}{phase.get('phaseType')} {phase['phaseStatus']}" + (
                    f" ({said})" if said else ""
                )
