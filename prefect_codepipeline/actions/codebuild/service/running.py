"""Run a build, or a batch of builds, in AWS CodeBuild: start it, poll it, stream its log, fetch its outputs.

https://docs.aws.amazon.com/codebuild/latest/APIReference/API_StartBuild.html
https://docs.aws.amazon.com/codebuild/latest/APIReference/API_StartBuildBatch.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

from prefect_codepipeline.actions.aws.client import translated
from prefect_codepipeline.actions.aws.remote_work import Work, started
from prefect_codepipeline.actions.codebuild.service.clients import Clients
from prefect_codepipeline.actions.codebuild.service.following import Watch, follow, identifier, stop_build
from prefect_codepipeline.actions.codebuild.service.outputs import exported, outputs
from prefect_codepipeline.actions.codebuild.service.place import Place, clear
from prefect_codepipeline.actions.codebuild.service.request import build_request
from prefect_codepipeline.actions.codebuild.wanted_build import WantedBuild
from prefect_codepipeline.actions.registry import ActionContext, ActionResult, WorkGoesOn
from prefect_codepipeline.blocks.codebuild_project import CodeBuildProject
from prefect_codepipeline.errors import ActionFailed, PrefectUnavailable

# Under this name the id of the build is kept.
_STEP = "build"
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
    clients = Clients(project, context.settings.aws, context.action.region)
    place = _place(project, context.action_execution_id)
    with _cleared_after_a_failure(clients, place, context):
        watch = _started(clients, build, context, place)
        follow(watch)
        _refuse_failure(watch)
        return ActionResult(
            summary=f"Build terminated with state: {watch.status}",
            output_artifacts=outputs(watch, build, place),
            output_variables=exported(watch),
            external_execution_id=watch.id,
            external_execution_url=watch.url,
            cleanup=lambda: clear(clients.s3, place) if place else None,
        )


@contextmanager
def _cleared_after_a_failure(clients: Clients, place: Place | None, context: ActionContext) -> Iterator[None]:
    """Remove what was exchanged through S3, unless the build continues."""
    try:
        yield
    except (WorkGoesOn, PrefectUnavailable):
        raise
    except BaseException:
        if place and not context.cancellation.left:
            clear(clients.s3, place)
        raise


def build_in_aws(context: ActionContext) -> Work | None:
    """The build that this action or rule has in AWS already, whatever its project's block has become since."""
    earlier = context.earlier
    build_id = earlier.state.get(_STEP) if earlier else None
    return Work(build_id, earlier.url if earlier else None) if build_id else None


def project_is_gone(project_name: str, build: Work) -> ActionFailed:
    """The failure of who has a build in AWS, but no block any more that says where."""
    return ActionFailed(
        f"the CodeBuildProject block of {project_name!r} was deleted while build {build.id} ran in AWS; the build may "
        "still run: look in the console, and stop it there",
        code="ConfigurationError",
        external_execution_id=build.id,
        external_execution_url=build.url,
    )


def can_find_again(project: CodeBuildProject | None, context: ActionContext) -> bool:
    """Whether the build that an earlier process started, or was about to start, is found and not started twice."""
    if project is None or project.where != "aws" or context.earlier is None:
        return False
    return bool(context.earlier.external_id) or _has_token(context)


def abandon_in_codebuild(clients: Clients, build_id: str, batch: bool, action_execution_id: str) -> None:
    """Stop a build that is no longer followed. Raises `ActionFailed` if that is not possible."""
    stop_build(clients, build_id, batch)
    if place := _place(clients.project, action_execution_id):
        clear(clients.s3, place)


def _has_token(context: ActionContext) -> bool:
    return datetime.now(timezone.utc) - context.began < _TOKEN_LIFETIME


def _place(project: CodeBuildProject, action_execution_id: str) -> Place | None:
    if not project.aws_location:
        return None
    bucket, _, prefix = project.aws_location.removeprefix("s3://").partition("/")
    folder = "/".join(filter(None, [prefix.strip("/"), action_execution_id]))
    return Place(bucket, f"{folder}/")


def _started(clients: Clients, build: WantedBuild, context: ActionContext, place: Place | None) -> Watch:
    """The build, started or found again. Its log is read on from where an earlier look had come."""
    states: list[Mapping[str, Any]] = []

    def start() -> Work:
        if not _has_token(context):
            raise ActionFailed(
                "AWS did not answer in time, and a further attempt could start the build twice; look in the console "
                f"whether a build of {build.project_name!r} runs",
                code="InternalError",
            )
        states.append(_start(clients, build_request(clients, build, context, place), build.batch))
        return Watch(clients, states[0]["id"], build.batch, context, states[0]).work

    def find() -> Work | None:
        """By its id, as earlier versions kept it. A token finds it, too."""
        earlier = context.earlier
        return Work(earlier.external_id, earlier.url) if earlier and earlier.external_id else None

    work = started(context, _STEP, start, find)
    return Watch(clients, work.id, build.batch, context, next(iter(states), {}))


def _start(clients: Clients, request: Mapping[str, Any], batch: bool) -> Mapping[str, Any]:
    with translated(f"starting a build of CodeBuild project {request['projectName']!r}"):
        if batch:
            return dict(clients.codebuild.start_build_batch(**request)["buildBatch"])
        return dict(clients.codebuild.start_build(**request)["build"])


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
