"""Deploy/AWS/ElasticBeanstalk/1: a new version of an application for an environment in Elastic Beanstalk.

https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Annotated, Any

from pydantic import Field

from prefect_codepipeline.actions.artifacts.zip_trees import zip_tree
from prefect_codepipeline.actions.aws.account import client_of
from prefect_codepipeline.actions.aws.client import error_code, transferring, translated
from prefect_codepipeline.actions.aws.console import console_url
from prefect_codepipeline.actions.aws.remote_work import (
    Following,
    Look,
    Work,
    bearing_silence,
    failed,
    follow,
    started,
)
from prefect_codepipeline.actions.registry import (
    ActionConfiguration,
    ActionContext,
    ActionResult,
    Lookup,
    action_provider,
)
from prefect_codepipeline.errors import ActionFailed, wrong_configuration

MOST_BYTES = 512 << 20
State = Mapping[str, Any]
# Under these names are kept: the request that started the update, which its events name; when that was; and the newest
# event that was logged.
_REQUEST, _UPDATED, _LOGGED = "request", "updated", "logged"
_CLOCKS_DIFFER = timedelta(minutes=1)
# Until this time after the start an answer may be older than the update.
_STALE = timedelta(seconds=30)
_ERRORS = ("ERROR", "FATAL")


class ElasticBeanstalkConfiguration(ActionConfiguration):
    """The configuration of an action."""

    application_name: Annotated[str, Field(min_length=1)]
    environment_name: Annotated[str, Field(min_length=1)]


@dataclass
class _Update:
    """The update of an environment to the version of the action.

    `request` is the id of the request that started it, empty if its answer was lost; `at` is when that was, or when the
    action began.
    """

    application: str
    environment: str
    context: ActionContext
    beanstalk: Any
    request: str
    at: datetime

    @classmethod
    def of(cls, configuration: ElasticBeanstalkConfiguration, context: ActionContext) -> _Update:
        kept = context.kept(_UPDATED)
        return cls(
            configuration.application_name,
            configuration.environment_name,
            context,
            client_of(context, "elasticbeanstalk"),
            context.kept(_REQUEST) or "",
            datetime.fromisoformat(kept) if kept else context.began,
        )

    @property
    def label(self) -> str:
        """The version's label, by which it is found again."""
        return f"codepipeline-{self.context.action_execution_id}"

    @property
    def what(self) -> str:
        region = self.beanstalk.meta.region_name
        return f"environment {self.environment!r} of application {self.application!r} in {region}"

    def describe(self) -> State | None:
        """The environment, or None if there is none."""
        with translated(f"looking up {self.what}"):
            answer = self.beanstalk.describe_environments(
                ApplicationName=self.application, EnvironmentNames=[self.environment], IncludeDeleted=False
            )
        found = [each for each in answer["Environments"] if not each["Status"].startswith("Terminat")]
        return dict(found[0]) if found else None

    def events(self, since: datetime) -> list[State]:
        """The events of the environment since a time; the oldest is first."""
        with translated(f"reading the events of {self.what}"):
            answer = self.beanstalk.describe_events(
                ApplicationName=self.application, EnvironmentName=self.environment, StartTime=since
            )
        return sorted(answer["Events"], key=lambda event: event["EventDate"])


def _named(configuration: ElasticBeanstalkConfiguration, context: ActionContext) -> Iterator[Lookup]:
    application, environment = configuration.application_name, configuration.environment_name
    named = {"ApplicationName": application, "EnvironmentNames": [environment], "IncludeDeleted": False}
    what = f"environment {environment!r} of application {application!r}"
    yield Lookup(what, "elasticbeanstalk", "describe_environments", named, "Environments")


@action_provider(
    category="Deploy",
    provider="ElasticBeanstalk",
    inputs=(1, 1),
    outputs=(0, 0),
    restartable=True,
    online=_named,
)
def deploy_to_elastic_beanstalk(
    configuration: ElasticBeanstalkConfiguration, context: ActionContext
) -> ActionResult:
    """Upload the artifact as a version, update the environment, and wait until it is ready with this version.

    What an earlier process did is found again by the version's label.
    """
    update = _Update.of(configuration, context)
    started(context, "version", lambda: _create_version(update), lambda: _find_version(update))
    work = started(context, "update", lambda: _start(update), lambda: _find_update(update))
    state = _follow(update, work)
    if reason := _why_failed(update, state):
        raise failed(f"the update of {update.what} to version {update.label!r} failed: {reason}", work)
    return ActionResult(
        summary=f"{update.what} has version {update.label!r}; its health is {(state or {}).get('Health', 'unknown')}",
        external_execution_id=work.id,
        external_execution_url=work.url,
    )


def _create_version(update: _Update) -> Work:
    """Upload the bundle and create the version. A label exists only once."""
    _check_ready(update)
    context, tree = update.context, update.context.input_artifacts[0]
    archive = context.scratch / "bundle.zip"
    zip_tree(tree.directory, archive)
    if (size := archive.stat().st_size) > MOST_BYTES:
        raise wrong_configuration(
            f"input artifact {tree.name!r} has {size:,} bytes as a ZIP archive; the limit of a bundle is {MOST_BYTES:,}"
        )
    with translated("looking up the storage bucket of Elastic Beanstalk"):
        bucket = update.beanstalk.create_storage_location()["S3Bucket"]
    key = f"{update.application}/{update.label}.zip"
    context.report_progress(f"uploading the bundle to s3://{bucket}/{key}")
    s3 = client_of(context, "s3", update.beanstalk.meta.region_name)
    with transferring(f"uploading the bundle to s3://{bucket}/{key}"):
        s3.upload_file(str(archive), bucket, key)
    archive.unlink()
    beanstalk = client_of(context, "elasticbeanstalk", attempts=0)
    with translated(f"creating version {update.label!r} of application {update.application!r}"):
        beanstalk.create_application_version(
            ApplicationName=update.application,
            VersionLabel=update.label,
            Description=f"Pipeline {context.pipeline_name}",
            SourceBundle={"S3Bucket": bucket, "S3Key": key},
            AutoCreateApplication=False,
        )
    return Work(update.label)


def _check_ready(update: _Update) -> None:
    state = update.describe()
    if state is None:
        raise wrong_configuration(
            f"there is no {update.what}; correct ApplicationName, EnvironmentName or the region"
        )
    if state["Status"] != "Ready":
        raise ActionFailed(
            f"{update.what} is {state['Status']}, and takes an update only when it is Ready; wait until that has ended, "
            "and retry"
        )


def _find_version(update: _Update) -> Work | None:
    with translated(f"looking for version {update.label!r} of application {update.application!r}"):
        answer = update.beanstalk.describe_application_versions(
            ApplicationName=update.application, VersionLabels=[update.label]
        )
    return Work(update.label) if answer["ApplicationVersions"] else None


def _start(update: _Update) -> Work:
    from botocore.exceptions import ClientError

    # No token exists: the request is not repeated, the update is looked for first.
    beanstalk = client_of(update.context, "elasticbeanstalk", attempts=0)
    with translated(f"updating {update.what}"):
        try:
            state = beanstalk.update_environment(
                ApplicationName=update.application,
                EnvironmentName=update.environment,
                VersionLabel=update.label,
            )
        except ClientError as error:
            if error_code(error) == "InvalidParameterValue" and "Ready" in str(error):
                message = error.response["Error"]["Message"]
                raise ActionFailed(
                    f"updating {update.what}: {message} Wait until its other update has ended, and retry"
                ) from error
            raise
    update.request = state.get("ResponseMetadata", {}).get("RequestId", "")
    update.at = datetime.now(timezone.utc)
    update.context.keep(**{_REQUEST: update.request, _UPDATED: update.at.isoformat()})
    return _work(update, state)


def _find_update(update: _Update) -> Work | None:
    """The update if it was started: the environment has the version, or had it and was put back."""
    state = update.describe()
    if state is None:
        return None
    has_been = state.get("VersionLabel") == update.label or any(
        event.get("VersionLabel") == update.label for event in update.events(update.at - _CLOCKS_DIFFER)
    )
    return _work(update, state) if has_been else None


def _follow(update: _Update, work: Work) -> State | None:
    """The environment when the update has ended, or None if it is gone."""
    seen: list[State | None] = []

    def look() -> Look:
        state = update.describe()
        seen[:] = [state]
        latest = _log_events(update)
        if state is None:
            return Look(True, f"{update.what} is gone")
        is_other = state.get("VersionLabel") != update.label
        is_young = datetime.now(timezone.utc) - update.at < _STALE
        is_stale = is_other and is_young and not _errors(update)
        summary = f"{state['Status']}, health {state.get('Health', 'unknown')}"
        return Look(
            state["Status"] == "Ready" and not is_stale, f"{summary}: {latest}" if latest else summary
        )

    follow(Following(update.what, work, look, lambda: _stop(update), requests=2), update.context)
    return seen[0]


def _log_events(update: _Update) -> str:
    """Log the events that are new; returns the message of the latest."""
    kept = update.context.kept(_LOGGED)
    since = datetime.fromisoformat(kept) if kept else update.at - _CLOCKS_DIFFER
    events = update.events(since)
    new = [event for event in events if not kept or event["EventDate"] > since]
    for event in new:
        update.context.logger.info("%s %s", event.get("Severity", "INFO"), event.get("Message", ""))
    if new:
        update.context.keep(**{_LOGGED: new[-1]["EventDate"].isoformat()})
    return str(events[-1].get("Message", "")) if events else ""


def _why_failed(update: _Update, state: State | None) -> str:
    """Why the update failed: its first error; empty if it succeeded."""
    if state is None:
        return "the environment was terminated in the meantime, not by this action"
    with bearing_silence(update.context, update.what):
        errors = _errors(update)
    first = errors[0] if errors else None
    if state.get("VersionLabel") != update.label:
        found = f"the environment has version {state.get('VersionLabel')!r}"
        return f"{first['Message']}; {found}" if first else found
    # As on AWS, an update that completed with errors has failed. Errors without a request may be of something else.
    own = next((each for each in errors if update.request and each.get("RequestId") == update.request), None)
    return f"it completed with errors: {own['Message']}" if own else ""


def _errors(update: _Update) -> list[State]:
    """The errors since the update that are of no other request; the oldest is first."""
    return [
        event
        for event in update.events(update.at - _CLOCKS_DIFFER)
        if event.get("Severity") in _ERRORS
        and (not update.request or event.get("RequestId", update.request) == update.request)
    ]


def _stop(update: _Update) -> str:
    state = update.describe()
    if state is None or state["Status"] == "Ready":
        return ""
    if state.get("VersionLabel") != update.label or not state.get("AbortableOperationInProgress"):
        return (
            f"{update.what} is {state['Status']}, which Elastic Beanstalk cannot abort: it continues in AWS"
        )
    with translated(f"aborting the update of {update.what}"):
        update.beanstalk.abort_environment_update(EnvironmentName=update.environment)
    return f"the update of {update.what} is aborted, and Elastic Beanstalk puts the version before back"


def _work(update: _Update, state: State) -> Work:
    path = f"elasticbeanstalk/home?region={{region}}#/environment/dashboard?environmentId={state.get('EnvironmentId')}"
    return Work(update.label, console_url(state.get("EnvironmentArn", ""), path))
