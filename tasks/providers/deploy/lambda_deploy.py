"""Deploy/AWS/Lambda/1: new code for a Lambda function, a version of it, and an alias that is shifted to the version.

https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-LambdaDeploy.html
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from prefect_codepipeline.actions.artifacts.zip_trees import zip_tree
from prefect_codepipeline.actions.aws.account import client_of
from prefect_codepipeline.actions.aws.client import error_code, translated
from prefect_codepipeline.actions.aws.console import console_url
from prefect_codepipeline.actions.aws.lambda_alias import (
    Shift,
    Strategy,
    check_alarms,
    parse_strategy,
    read_alias,
)
from prefect_codepipeline.actions.aws.location import upload_tree
from prefect_codepipeline.actions.aws.remote_work import Following, Look, Work, failed, follow
from prefect_codepipeline.actions.registry import (
    ActionConfiguration,
    ActionContext,
    ActionResult,
    Lookup,
    action_provider,
)
from prefect_codepipeline.errors import ActionFailed, wrong_configuration

MAX_DIRECT_BYTES = 50 << 20
MAX_ALARMS = 10
_LONGEST_PAUSE_SECONDS = 60.0
_LATEST = "$LATEST"
# The first moment that a ZIP archive can name, and so the same for all files.
_NO_TIME = datetime(1980, 1, 1, 12).timestamp()


class LambdaDeployConfiguration(ActionConfiguration):
    """The configuration of an action."""

    function_name: Annotated[str, Field(min_length=1)]
    function_alias: str | None = None
    published_target_version: str | None = None
    deploy_strategy: str = "AllAtOnce"
    alarms: str | None = None

    @property
    def alarm_names(self) -> list[str]:
        return [name for name in (each.strip() for each in (self.alarms or "").split(",")) if name]


def _named(configuration: LambdaDeployConfiguration, context: ActionContext) -> Iterator[Lookup]:
    function = {"FunctionName": configuration.function_name}
    what = f"function {configuration.function_name!r}"
    yield Lookup(what, "lambda", "get_function_configuration", function)
    if version := configuration.published_target_version:
        qualified = {**function, "Qualifier": version}
        yield Lookup(f"version {version!r} of {what}", "lambda", "get_function_configuration", qualified)
    if alias := configuration.function_alias:
        yield Lookup(f"alias {alias!r} of {what}", "lambda", "get_alias", {**function, "Name": alias})


@action_provider(
    category="Deploy", provider="Lambda", inputs=(0, 1), outputs=(0, 0), restartable=True, online=_named
)
def deploy_to_lambda(configuration: LambdaDeployConfiguration, context: ActionContext) -> ActionResult:
    """Update the code, publish a version, and shift the alias.

    Every step can be repeated after a crash: the same code publishes no second version, and where the alias leads shows
    which steps have been done.
    """
    strategy = _checked(configuration, context)
    functions = client_of(context, "lambda")
    alarms = client_of(context, "cloudwatch") if configuration.alarm_names else None
    if not context.kept("before"):  # later the shift looks at them, and puts the alias back
        check_alarms(alarms, configuration.alarm_names)
    before = _version_before(functions, configuration, context)
    version = _version(functions, configuration, context)
    work = _work(functions, configuration.function_name, version)
    if configuration.function_alias and before:
        _shift(functions, alarms, configuration, (before, version, strategy), work, context)
    alias = f", alias {configuration.function_alias!r} leads to it" if configuration.function_alias else ""
    return ActionResult(
        summary=f"function {configuration.function_name!r} has version {version}{alias}",
        output_variables={"FunctionVersion": version},
        external_execution_id=work.id,
        external_execution_url=work.url,
    )


def _checked(configuration: LambdaDeployConfiguration, context: ActionContext) -> Strategy:
    strategy = parse_strategy(configuration.deploy_strategy)
    if len(configuration.alarm_names) > MAX_ALARMS:
        raise wrong_configuration(
            f"Alarms has {len(configuration.alarm_names)} names; the limit is {MAX_ALARMS}"
        )
    for key, given in (
        ("DeployStrategy", len(strategy.percents) > 1),
        ("PublishedTargetVersion", configuration.published_target_version),
    ):
        if given and not configuration.function_alias:
            raise wrong_configuration(
                f"{key} needs FunctionAlias: without an alias there is nothing to shift"
            )
    if not configuration.published_target_version and not context.input_artifacts:
        raise wrong_configuration(
            "the action has neither an input artifact nor PublishedTargetVersion; give one of them"
        )
    if configuration.published_target_version and context.input_artifacts and not context.earlier:
        context.logger.warning("PublishedTargetVersion is given: the input artifact is not used")
    return strategy


def _version_before(
    functions: Any, configuration: LambdaDeployConfiguration, context: ActionContext
) -> str | None:
    """The version that the alias had when the action started: to this one it is put back."""
    alias, function = configuration.function_alias, configuration.function_name
    if not alias:
        return None
    if kept := context.kept("before"):
        return kept
    state = read_alias(functions, function, alias)
    if state.version == _LATEST:
        raise wrong_configuration(
            f"alias {alias!r} of function {function!r} leads to $LATEST; give it a published version"
        )
    if state.other:
        raise wrong_configuration(
            f"alias {alias!r} of function {function!r} is already being shifted: {state.percent} percent lead to version "
            f"{state.other}; end that deployment first"
        )
    context.keep(before=state.version)
    return state.version


def _version(functions: Any, configuration: LambdaDeployConfiguration, context: ActionContext) -> str:
    """The version to deploy: the given one, or one that is published from the input artifact."""
    if kept := context.kept("version"):
        return kept
    function = configuration.function_name
    if given := configuration.published_target_version:
        _check_published(functions, function, given)
        context.keep(version=given)
        return given
    digest = context.kept("code")
    if not digest:
        _wait_until_updated(functions, function, context)
        digest = _update_code(functions, function, context)
        context.keep(code=digest)
    _wait_until_updated(functions, function, context)
    # Lambda publishes nothing new if the code and the configuration are those of the newest version.
    with translated(f"publishing a version of function {function!r}"):
        version = str(functions.publish_version(FunctionName=function, CodeSha256=digest)["Version"])
    work = _work(functions, function, version)
    context.keep(work.id, work.url, version=version)
    context.logger.info("Published version %s of function %r", version, function)
    return version


def _check_published(functions: Any, function: str, version: str) -> None:
    if version == _LATEST:
        raise wrong_configuration("PublishedTargetVersion is $LATEST; give a published version")
    _configuration(functions, function, version)


def _configuration(functions: Any, function: str, version: str | None = None) -> Any:
    from botocore.exceptions import ClientError

    what = f"version {version!r} of function {function!r}" if version else f"function {function!r}"
    with translated(f"looking up {what}"):
        try:
            return functions.get_function_configuration(
                FunctionName=function, **({"Qualifier": version} if version else {})
            )
        except ClientError as error:
            if error_code(error) == "ResourceNotFoundException":
                raise wrong_configuration(
                    f"there is no {what} in region {functions.meta.region_name}; correct "
                    f"{'PublishedTargetVersion' if version else 'FunctionName'} or the region"
                ) from error
            raise


def _wait_until_updated(functions: Any, function: str, context: ActionContext) -> None:
    """Wait until an update of the function has ended: Lambda refuses another one meanwhile."""

    def look() -> Look:
        state = _configuration(functions, function)
        if state.get("PackageType") == "Image":
            raise wrong_configuration(
                f"function {function!r} is made from an image; this action deploys ZIP archives"
            )
        if state.get("LastUpdateStatus") == "Failed":
            raise ActionFailed(
                f"the update of function {function!r} failed: {state.get('LastUpdateStatusReason', 'no reason given')}"
            )
        return Look(
            state.get("LastUpdateStatus") != "InProgress" and state.get("State") != "Pending",
            f"updating function {function!r}",
        )

    follow(
        Following(f"function {function!r}", _work(functions, function, _LATEST), look, lambda: ""), context
    )


def _update_code(functions: Any, function: str, context: ActionContext) -> str:
    """Upload the code; its digest, as Lambda has it."""
    archive = context.scratch / "function.zip"
    tree = context.input_artifacts[0]
    _without_times(tree.directory)
    zip_tree(tree.directory, archive)
    if archive.stat().st_size > MAX_DIRECT_BYTES:
        uploaded = upload_tree(context, tree, functions.meta.region_name)
        code: dict[str, Any] = {"S3Bucket": uploaded.bucket, "S3Key": uploaded.key}
    else:
        code = {"ZipFile": archive.read_bytes()}
    digest = base64.b64encode(hashlib.sha256(archive.read_bytes()).digest()).decode()
    context.report_progress(f"uploading the code of function {function!r}")
    with translated(f"updating the code of function {function!r} in region {functions.meta.region_name}"):
        answer = functions.update_function_code(FunctionName=function, **code)
    return str(answer.get("CodeSha256", digest))


def _without_times(directory: Path) -> None:
    """The same files make the same archive, also in a later process; so they make no second version."""
    for path in directory.rglob("*"):
        os.utime(path, (_NO_TIME, _NO_TIME), follow_symlinks=False)


def _shift(
    functions: Any,
    alarms: Any,
    configuration: LambdaDeployConfiguration,
    plan: tuple[str, str, Strategy],
    work: Work,
    context: ActionContext,
) -> None:
    before, version, strategy = plan
    if before == version:
        context.logger.info("Alias %r has version %s already", configuration.function_alias, version)
        return
    stepped = context.kept("stepped")
    shift = Shift(
        functions=functions,
        alarms=alarms,
        function=configuration.function_name,
        alias=str(configuration.function_alias),
        before=before,
        version=version,
        strategy=strategy,
        keep=lambda at: context.keep(work.id, work.url, stepped=at.isoformat()),
        stepped=datetime.fromisoformat(stepped) if stepped else None,
        alarm_names=configuration.alarm_names,
    )
    what = f"alias {shift.alias!r} of function {shift.function!r}"
    try:
        # The alarms are looked at between the steps, too.
        requests = 2 if alarms else 1
        follow(Following(what, work, shift.look, shift.put_back, _LONGEST_PAUSE_SECONDS, requests), context)
    except ActionFailed as error:
        raise failed(str(error), work, error.code) from error


def _work(functions: Any, function: str, version: str) -> Work:
    """A version by its name; its page, if the function is given by its ARN or AWS shows it by its name."""
    name = function.rpartition(":function:")[2].partition(":")[0]
    arn = f"arn:{functions.meta.partition}:lambda:{functions.meta.region_name}::function:{name}"
    path = f"lambda/home?region={{region}}#/functions/{name}/versions/{version}"
    return Work(f"{name}:{version}", console_url(arn, path))
