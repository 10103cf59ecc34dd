"""`codepipeline deployment rollback`: deploy an earlier revision again, in the command's own process."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

from cyclopts import Parameter

from prefect_codepipeline.cli.deployments.as_json import deployment_as_json
from prefect_codepipeline.cli.output import print_json, without_control
from prefect_codepipeline.cli.parameters import AsJson
from prefect_codepipeline.cli.session import connect
from prefect_codepipeline.errors import ActionAbandoned, ActionFailed, ValidationException

if TYPE_CHECKING:
    from prefect_codepipeline.actions.registry import ActionContext
    from prefect_codepipeline.actions.work import CancellationToken
    from prefect_codepipeline.model.stored.deployment import StoredDeployment

Group = Annotated[
    str,
    Parameter(
        help="The deployment group as APPLICATION/GROUP; its name alone if only one application has it."
    ),
]


def roll_back(group: Group, *, to: str | None = None, json: AsJson = False) -> int:
    """Deploy an earlier revision to all hosts of a group, and wait for the end. Hosts that have it still get nothing sent.

    By default it is the revision of the last successful deployment, and if that is the latest deployment, the one
    before it. Ctrl-C stops the deployment.

    Parameters
    ----------
    to:
        Id of the deployment whose revision is deployed.
    """
    connect()
    from prefect_codepipeline.actions.deploying.finding import find_group
    from prefect_codepipeline.actions.deploying.records.deployments import find_deployment
    from prefect_codepipeline.actions.deploying.rollout.by_hand import redeploy_to_its_end
    from prefect_codepipeline.actions.deploying.rollout.target import Target

    deployments = _deployments_of(group)
    good = _of_group(to, deployments) if to else _before(deployments)
    if good.is_of_ec2_action:
        raise ValidationException(
            f"{good.application}/{good.group} is an EC2 action; roll back its stage: codepipeline rollback"
        )
    settings = find_group(good.application, good.group)
    if settings is None or settings.place == "aws":
        raise ValidationException(
            f"deployment group {good.group!r} of application {good.application!r} has no hosts here any more: no "
            "CodeDeployApplication block names them"
        )
    with _called_off_by_signals() as token, TemporaryDirectory(prefix="codepipeline-rollback-") as folder:
        target = Target(good.application, settings, _context(good, Path(folder), token))
        _say(f"deployment {target.deployment_id}: revision {good.revision[:12]} of {good.deployment_id}")
        try:
            said, code = redeploy_to_its_end(target, good).summary, 0
        except (ActionFailed, ActionAbandoned) as error:
            said, code = str(error), 1
    _say(said)
    if json and (recorded := find_deployment(target.deployment_id)):
        print_json(deployment_as_json(recorded.deployment))
    return code


def _deployments_of(group: str) -> list[StoredDeployment]:
    """The deployments of a group, the newest first. Raises `ValidationException` if there are none, or of several groups."""
    from prefect_codepipeline.actions.deploying.records.deployments import list_deployments

    every = list_deployments()
    found = [each for each in every if group in (each.group, f"{each.application}/{each.group}")]
    names = sorted({f"{each.application}/{each.group}" for each in found})
    if not names:
        known = ", ".join(sorted({f"{each.application}/{each.group}" for each in every})) or "none"
        raise ValidationException(
            f"deployment group {group!r} was never deployed to; those with deployments: {known}"
        )
    if len(names) > 1 and group not in names:
        raise ValidationException(
            f"several applications have a group {group!r}; name one of {', '.join(names)}"
        )
    return [
        each
        for each in found
        if f"{each.application}/{each.group}" == (names[0] if len(names) == 1 else group)
    ]


def _of_group(deployment_id: str, deployments: list[StoredDeployment]) -> StoredDeployment:
    for each in deployments:
        if each.deployment_id == deployment_id:
            return each
    group = f"{deployments[0].application}/{deployments[0].group}"
    raise ValidationException(
        f"deployment group {group!r} has no deployment {deployment_id!r}; see: codepipeline deployment list"
    )


def _before(deployments: list[StoredDeployment]) -> StoredDeployment:
    """The last successful deployment of another revision than the latest deployment, unless that has failed."""
    latest = deployments[0]
    succeeded = [each for each in deployments if each.status == "Succeeded"]
    is_current = latest.status == "Succeeded"
    for each in succeeded:
        if not is_current or each.revision != latest.revision:
            return each
    raise ValidationException(
        f"deployment group {latest.application}/{latest.group} has no earlier successful deployment to roll back to"
    )


def _context(good: StoredDeployment, folder: Path, token: CancellationToken) -> ActionContext:
    """A context as of an action of the pipeline that made the revision."""
    from prefect_codepipeline.actions.artifacts.storing import load_artifact_store
    from prefect_codepipeline.actions.registry import ActionContext
    from prefect_codepipeline.engine.executions.definitions import settings_of
    from prefect_codepipeline.model.definition.declaration import ActionDeclaration

    kind = {"category": "Deploy", "owner": "AWS", "provider": "CodeDeploy", "version": "1"}
    settings = settings_of(good.pipeline)
    return ActionContext(
        pipeline_name="",
        pipeline_execution_id="",
        stage_name="",
        action=ActionDeclaration.model_validate({"name": "rollback", "actionTypeId": kind}),
        action_execution_id=str(uuid4()),
        scratch=folder,
        deadline=float("inf"),
        settings=settings.defaults,
        cancellation=token,
        report_progress=_progress(),
        store=load_artifact_store(settings.artifact_store),
    )


def _progress() -> Callable[..., None]:
    """Print each sentence about the progress once."""
    told: list[str] = []

    def report(summary: str = "", percent: int | None = None, **_: object) -> None:
        if summary and summary not in told[-1:]:
            told.append(summary)
            _say(f"  {summary}")

    return report


def _say(sentence: str) -> None:
    """To the standard error, so that the standard output can be JSON."""
    print(without_control(sentence), file=sys.stderr, flush=True)


@contextmanager
def _called_off_by_signals() -> Iterator[CancellationToken]:
    """A token that Ctrl-C and SIGTERM fire: the deployment is stopped before the command ends."""
    from prefect_codepipeline.actions.work import CancellationToken

    token = CancellationToken()
    before = {
        number: signal.signal(number, lambda *_: token.cancel()) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield token
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
