"""Deploy/AWS/AppConfig/1: make a file the next version of a configuration, and deploy it to an environment.

https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-AppConfig.html
"""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from prefect_codepipeline.actions.artifacts.input_files import read_input_file
from prefect_codepipeline.actions.aws.account import client_of
from prefect_codepipeline.actions.aws.client import error_code, translated
from prefect_codepipeline.actions.aws.console import console_url
from prefect_codepipeline.actions.aws.remote_work import Following, Look, Work, failed, follow, started
from prefect_codepipeline.actions.registry import (
    ActionConfiguration,
    ActionContext,
    ActionResult,
    Lookup,
    action_provider,
)
from prefect_codepipeline.errors import ActionFailed, wrong_configuration

MOST_BYTES = 4 << 20  # the largest quota that AWS gives
ALL_AT_ONCE = "AppConfig.AllAtOnce"
_HOSTED = "hosted"
_GOOD, _BAD = "COMPLETE", ("ROLLED_BACK", "REVERTED")
_LISTED = 50  # the newest ones, as many as one page has
_TYPES = {".yaml": "application/x-yaml", ".yml": "application/x-yaml", ".toml": "application/toml"}


class AppConfigConfiguration(ActionConfiguration):
    """The configuration of an action."""

    application: str
    environment: str
    configuration_profile: str
    input_artifact_configuration_path: str
    deployment_strategy: str | None = None


@dataclass(frozen=True)
class _Place:
    """The profile and the environment of an action; `label` names the version that the action makes."""

    configuration: AppConfigConfiguration
    context: ActionContext
    appconfig: Any

    @property
    def label(self) -> str:
        return self.context.action_execution_id

    @property
    def region(self) -> str:
        return str(self.appconfig.meta.region_name)

    @property
    def profile(self) -> str:
        """For messages."""
        given = self.configuration
        return f"configuration profile {given.configuration_profile!r} of application {given.application!r} in {self.region}"

    @property
    def environment(self) -> str:
        """For messages."""
        given = self.configuration
        return f"environment {given.environment!r} of application {given.application!r} in {self.region}"

    def of_profile(self) -> dict[str, str]:
        given = self.configuration
        return {
            "ApplicationId": given.application,
            "ConfigurationProfileId": given.configuration_profile,
        }

    def of_environment(self) -> dict[str, str]:
        return {
            "ApplicationId": self.configuration.application,
            "EnvironmentId": self.configuration.environment,
        }

    def work(self, number: int | str) -> Work:
        given, partition = self.configuration, self.appconfig.meta.partition
        path = f"applications/{given.application}/environments/{given.environment}/deployments/{number}"
        arn = f"arn:{partition}:appconfig:{self.region}::{path}"
        return Work(str(number), console_url(arn, f"systems-manager/appconfig/{path}?region={{region}}"))


def _named(configuration: AppConfigConfiguration, context: ActionContext) -> Iterator[Lookup]:
    application, profile = configuration.application, configuration.configuration_profile
    named = {"ApplicationId": application}
    what = f"profile {profile!r} of application {application!r}"
    yield Lookup(what, "appconfig", "get_configuration_profile", {**named, "ConfigurationProfileId": profile})
    what = f"environment {configuration.environment!r} of application {application!r}"
    yield Lookup(what, "appconfig", "get_environment", {**named, "EnvironmentId": configuration.environment})


@action_provider(
    category="Deploy", provider="AppConfig", inputs=(1, 1), outputs=(0, 0), restartable=True, online=_named
)
def deploy_configuration(configuration: AppConfigConfiguration, context: ActionContext) -> ActionResult:
    """Make a version out of the file, and follow its deployment.

    The label of the version is the action execution id: by it what an earlier process started is found again.
    """
    place = _Place(configuration, context, client_of(context, "appconfig"))
    work = started(context, "deployment", lambda: _start(place), lambda: _find(place))
    what = f"deployment {work.id} to {place.environment}"
    state = _follow(place, work, what)
    if state["State"] != _GOOD:
        raise failed(f"{what} ended as {state['State']}: {_cause(state)}", work)
    return ActionResult(
        f"deployed version {state.get('ConfigurationVersion')} of configuration profile "
        f"{configuration.configuration_profile!r} to {place.environment}",
        external_execution_id=work.id,
        external_execution_url=work.url,
    )


def _start(place: _Place) -> Work:
    from botocore.exceptions import ClientError

    given = place.configuration
    path, content = _read(place)
    _check_profile(place)
    # No token exists: no request is repeated, what it made is looked for first.
    appconfig = client_of(place.context, "appconfig", attempts=0)
    version = _find_version(place) or _make_version(replace(place, appconfig=appconfig), path, content)
    doing = f"starting a deployment to {place.environment}"
    with translated(doing):
        try:
            answer = appconfig.start_deployment(
                **place.of_environment(),
                ConfigurationProfileId=given.configuration_profile,
                ConfigurationVersion=str(version),
                DeploymentStrategyId=given.deployment_strategy or ALL_AT_ONCE,
                Description=place.context.mark,
            )
        except ClientError as error:
            if error_code(error) == "ConflictException":
                raise wrong_configuration(
                    f"{doing}: another deployment is in progress there; retry the action when it has ended: {error}"
                ) from error
            if why := _invalid(error):
                raise wrong_configuration(f"{doing}: {path!r} is no valid configuration: {why}") from error
            raise
    return place.work(answer["DeploymentNumber"])


def _find(place: _Place) -> Work | None:
    """The deployment of the version that has the label."""
    with translated(f"looking up the deployments to {place.environment}"):
        found = place.appconfig.list_deployments(**place.of_environment(), MaxResults=_LISTED)["Items"]
    number = next(
        (each["DeploymentNumber"] for each in found if each.get("VersionLabel") == place.label), None
    )
    return None if number is None else place.work(number)


def _read(place: _Place) -> tuple[str, bytes]:
    """The path and the content of the file. AWS's examples name the artifact itself, `/`, if it has one file."""
    key = "InputArtifactConfigurationPath"
    (tree,) = place.context.input_artifacts
    path = place.configuration.input_artifact_configuration_path.lstrip("/")
    if not path:
        files = [each for each in tree.directory.rglob("*") if each.is_file()]
        if len(files) != 1:
            raise wrong_configuration(
                f"{key} '/': input artifact {tree.name!r} has {len(files)} files; set {key} to the path of one of them"
            )
        path = files[0].relative_to(tree.directory).as_posix()
    return path, read_input_file(place.context.input_artifacts, f"{tree.name}::{path}", key, MOST_BYTES)


def _check_profile(place: _Place) -> None:
    """Refuse a profile that reads its configuration from another place than AppConfig's own store."""
    from botocore.exceptions import ClientError

    with translated(f"looking up {place.profile}"):
        try:
            found = place.appconfig.get_configuration_profile(**place.of_profile())
        except ClientError as error:
            if error_code(error) == "ResourceNotFoundException":
                raise wrong_configuration(
                    f"there is no {place.profile}; correct Application and ConfigurationProfile, which are ids"
                ) from error
            raise
    location = found.get("LocationUri", "")
    if location != _HOSTED:
        source = "a pipeline in AWS" if location.startswith("codepipeline:") else repr(location)
        raise wrong_configuration(
            f"{place.profile} reads its configuration from {source}, to which nothing is deployed from here; create a "
            "profile whose location is 'hosted', and set ConfigurationProfile to its id"
        )


def _find_version(place: _Place) -> int | None:
    with translated(f"looking up the versions of {place.profile}"):
        found = place.appconfig.list_hosted_configuration_versions(
            **place.of_profile(), VersionLabel=place.label
        )["Items"]
    return int(found[0]["VersionNumber"]) if found else None


def _make_version(place: _Place, path: str, content: bytes) -> int:
    with translated(f"making a version of {place.profile}"):
        answer = place.appconfig.create_hosted_configuration_version(
            **place.of_profile(),
            Content=content,
            ContentType=_content_type(path, content),
            Description=place.context.mark,
            VersionLabel=place.label,
        )
    return int(answer["VersionNumber"])


def _follow(place: _Place, work: Work, what: str) -> Mapping[str, Any]:
    """The deployment when it has ended."""
    from botocore.exceptions import ClientError

    state: dict[str, Any] = {}
    named = {**place.of_environment(), "DeploymentNumber": int(work.id)}

    def look() -> Look:
        with translated(f"reading the state of {what}"):
            try:
                state.update(place.appconfig.get_deployment(**named))
            except ClientError as error:
                if error_code(error) == "ResourceNotFoundException":
                    raise ActionFailed(f"{what} was deleted in the meantime, not by this action") from error
                raise
        percent = round(state.get("PercentageComplete", 0))
        return Look(state["State"] in (_GOOD, *_BAD), f"{what}: {state['State']}, {percent} %", percent)

    def stop() -> str:
        with translated(f"stopping {what}"):
            try:
                place.appconfig.stop_deployment(**named)
            except ClientError as error:
                if error_code(error) == "ResourceNotFoundException":
                    return ""
                raise
        return f"{what} is stopped, and AppConfig puts the former configuration back"

    follow(Following(what, work, look, stop), place.context)
    return state


def _cause(state: Mapping[str, Any]) -> str:
    """The event that ended the deployment; the newest is first."""
    events = state.get("EventLog", ())
    found = next((each for each in events if each.get("EventType") == "ROLLBACK_STARTED"), None)
    event: Mapping[str, Any] = found or next(iter(events), {})
    said = [event.get("TriggeredBy"), event.get("Description")]
    return ": ".join(filter(None, said)) or "AppConfig gives no reason"


def _invalid(error: Any) -> str:
    """What AppConfig's validators say, without the values: these may be secret."""
    details = error.response.get("Details", {}).get("InvalidConfiguration", ())
    shown = [
        " ".join(filter(None, [each.get("Location"), each.get("Constraint"), each.get("Reason")]))
        for each in details
    ]
    return "; ".join(filter(None, shown))


def _content_type(path: str, content: bytes) -> str:
    suffix = PurePosixPath(path).suffix.lower()
    known = _TYPES.get(suffix) or mimetypes.guess_type(path)[0]
    if known:
        return known
    try:
        content.decode()
    except UnicodeDecodeError:
        return "application/octet-stream"
    return "text/plain"
