"""Whether the deployment groups of Deploy/AWS/CodeDeploy/1 actions are known: here, or by AWS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from prefect_codepipeline.actions.aws.online import Answer, look_up
from prefect_codepipeline.actions.codedeploy_service.deployments import group_lookup
from prefect_codepipeline.blocks.codedeploy_application import CodeDeployApplication
from prefect_codepipeline.deployments.checking.accounts import context_of, with_values
from prefect_codepipeline.deployments.checking.blocks_needed import Blocks, blocks_of_deploy
from prefect_codepipeline.deployments.files.resources import Beside
from prefect_codepipeline.errors import CodePipelineError
from prefect_codepipeline.model.codedeploy.applications import application_block
from prefect_codepipeline.model.codedeploy.group import DeploymentGroup
from prefect_codepipeline.model.definition.declaration import (
    ActionDeclaration,
    ActionTypeId,
    PipelineDeclaration,
)
from prefect_codepipeline.model.definition.variables import find_references
from prefect_codepipeline.model.problem import InvalidDefinition, Problem
from prefect_codepipeline.model.stored.settings import StoredSettings
from prefect_codepipeline.prefect_api.block_documents import field_problems, fields_by_name

_KIND = ActionTypeId(category="Deploy", owner="AWS", provider="CodeDeploy", version="1")
_RULE = "deployment-group"
_MOST_NAMES = 5


@dataclass(frozen=True)
class GroupOfAction:
    """The deployment group that an action names, as far as its name is known before an execution."""

    path: str
    stage: str
    action: ActionDeclaration
    application: str
    name: str

    @property
    def what(self) -> str:
        """For messages."""
        return f"deployment group {self.name!r} of application {self.application!r}"


class KnownApplications:
    """The applications that have a block, and those for which `deploy` creates one."""

    def __init__(self, blocks: Mapping[str, Mapping[str, Any]], beside: Beside) -> None:
        self._blocks = blocks
        self._created = {
            str(block.fields["application_name"]): block.fields
            for block in blocks_of_deploy(beside)
            if block.kind == "codedeploy-application" and block.fields
        }

    def find(self, application: str) -> CodeDeployApplication | None:
        """The block of an application, or None. Raises `CodePipelineError` if it cannot be used."""
        name = application_block(application, self._blocks)
        fields = self._blocks[name] if name else self._created.get(application)
        try:
            return CodeDeployApplication(**fields) if fields is not None else None
        except ValidationError as error:
            raise CodePipelineError(
                f"the CodeDeployApplication block of {application!r} cannot be used: {field_problems(error)}"
            ) from None


def groups_of_actions(declaration: PipelineDeclaration) -> Iterator[GroupOfAction]:
    """The groups of a pipeline's actions, except for those whose names depend on an execution."""
    for stage_index, stage in enumerate(declaration.stages):
        for index, action in enumerate(stage.actions):
            if action.action_type_id != _KIND:
                continue
            configuration = with_values(action, declaration).configuration
            names = [configuration.get(key, "") for key in ("ApplicationName", "DeploymentGroupName")]
            if all(names) and not any(any(find_references(name)) or "${" in name for name in names):
                yield GroupOfAction(f"stages[{stage_index}].actions[{index}]", stage.name, action, *names)


def problems_of_groups(
    declaration: PipelineDeclaration, settings: StoredSettings, beside: Beside
) -> list[Problem]:
    """An error for each action whose group is known neither here nor by AWS, and warnings about the others.

    Args:
        declaration: the pipeline.
        settings: with which it will run.
        beside: its resources file.
    """
    groups = list(groups_of_actions(declaration))
    if not groups:
        return []
    known = KnownApplications(fields_by_name(CodeDeployApplication), beside)
    return [problem for group in groups for problem in _problems(group, declaration, settings, known)]


def check_groups(
    declaration: PipelineDeclaration, settings: StoredSettings, beside: Beside, name: str
) -> list[Problem]:
    """The warnings about a pipeline's deployment groups; `name` is that of the file, for the message.

    Raises:
        InvalidDefinition: a group is known neither here nor by AWS.
    """
    problems = problems_of_groups(declaration, settings, beside)
    if errors := [problem for problem in problems if problem.severity == "error"]:
        raise InvalidDefinition(errors, name)
    return problems


def places_of_groups(
    declaration: PipelineDeclaration, blocks: Blocks | None, beside: Beside
) -> dict[tuple[str, str], str]:
    """Where the hosts of each action's group are, by stage and action, except for groups in AWS."""
    known = KnownApplications((blocks or {}).get("codedeploy-application", {}), beside)
    found = {}
    for each in groups_of_actions(declaration):
        with suppress(CodePipelineError):  # is a problem, which `problems_of_groups` reports
            application = known.find(each.application)
            group = application.group(each.name) if application else None
            if group and group.place != "aws":
                found[each.stage, each.action.name] = _place(group)
    return found


def _place(group: DeploymentGroup) -> str:
    if group.place == "local":
        return "on the worker's machine, by CodeDeploy's rules"
    if group.inventory:
        return f"on hosts of inventory {group.inventory!r}"
    if group.hosts_command:
        return f"on the hosts that {group.hosts_command[0]!r} prints"
    names = ", ".join(host.name for host in group.hosts[:_MOST_NAMES])
    more = len(group.hosts) - _MOST_NAMES
    return f"on host{'s' if len(group.hosts) > 1 else ''} {names}" + (f" and {more} more" if more > 0 else "")


def _problems(
    group: GroupOfAction,
    declaration: PipelineDeclaration,
    settings: StoredSettings,
    known: KnownApplications,
) -> Iterator[Problem]:
    try:
        application = known.find(group.application)
    except CodePipelineError as error:
        yield Problem(group.path, str(error), rule=_RULE)
        return
    found = application.group(group.name) if application else None
    if found and found.place != "aws":
        yield from (_warning(group, sentence) for sentence in found.warnings())
        return
    if not (found and found.where == "aws"):
        answer = _asked(group, declaration, settings)
        if answer.status in ("missing", "not known"):
            yield _unknown(group, answer)
            return
        if answer.status == "not allowed":
            yield _warning(group, f"{group.what} is not known here, and may not be looked up in AWS")
    own = settings.for_action(group.stage, group.action.name).aws
    if not (application and application.aws_location) and not (own.location or own.locations):
        yield _warning(
            group,
            f"{group.what} is in AWS, and its bundles have no place in S3; set aws_location of the "
            "CodeDeployApplication block, or 'location' of 'aws' in the pipeline's settings",
        )


def _asked(group: GroupOfAction, declaration: PipelineDeclaration, settings: StoredSettings) -> Answer:
    """What AWS answers about a group, with the account of its action."""
    context = context_of(declaration.name, group.stage, group.action, settings)
    try:
        return look_up(group_lookup(group.application, group.name), context)
    except CodePipelineError as error:
        return Answer("not known", detail=str(error))


def _unknown(group: GroupOfAction, answer: Answer) -> Problem:
    where = f" in {answer.region}" if answer.region else ""
    why = (
        f"AWS does not have it{where}"
        if answer.status == "missing"
        else f"AWS was not asked: {answer.detail}"
    )
    return Problem(
        group.path,
        f"{group.what} is known neither here nor by AWS: no CodeDeployApplication block has it, and {why}",
        rule=_RULE,
        hint="add it to the block of the application, with its hosts, or with where: aws if only the worker can ask AWS",
    )


def _warning(group: GroupOfAction, sentence: str) -> Problem:
    return Problem(group.path, sentence, severity="warning", rule=_RULE)
