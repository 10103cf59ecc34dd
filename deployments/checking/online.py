"""Whether what a definition names in AWS is there: the lookups of its actions' providers."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from prefect_codepipeline.actions.aws.online import Answer, look_up
from prefect_codepipeline.actions.lookups import Lookup
from prefect_codepipeline.actions.registry import ActionContext, ActionProvider, providers
from prefect_codepipeline.deployments.checking.accounts import context_of, with_values
from prefect_codepipeline.deployments.checking.deployment_groups import places_of_groups
from prefect_codepipeline.deployments.checking.files import CheckedFile, is_definition
from prefect_codepipeline.deployments.files.definition import pipeline_in, read_file
from prefect_codepipeline.deployments.files.resources import read_beside
from prefect_codepipeline.deployments.files.settings import read_settings_beside
from prefect_codepipeline.errors import CodePipelineError
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.problem import Problem
from prefect_codepipeline.model.stored.settings import StoredSettings

_AT_ONCE = 8
_LATER = "its name is known only when the execution runs"


@dataclass(frozen=True)
class Seen:
    """The answer about one thing that an action names. `path` is that of the action in the definition."""

    action: str
    path: str
    what: str
    answer: Answer

    @property
    def is_fault(self) -> bool:
        """Whether the action fails for want of it."""
        return self.answer.status == "missing" and not self.answer.detail

    def __str__(self) -> str:
        where = ", ".join(
            filter(None, [self.answer.region, self.answer.account_id and f"account {self.answer.account_id}"])
        )
        status = self.answer.status if not self.answer.detail or self.is_fault else self._explained()
        return f"{self.what}: {status}" + (f" ({where})" if where else "")

    def _explained(self) -> str:
        word = "not there yet" if self.answer.status == "missing" else self.answer.status
        return f"{word}: {self.answer.detail}"


def with_lookups(file: CheckedFile) -> CheckedFile:
    """A checked file with what AWS answers about its pipeline; each missing thing is an error.

    A definition with errors is not looked up, nor is anything but a definition.
    """
    path = Path(file.name)
    if file.unreadable or file.has_errors or not is_definition(path):
        return file
    written = pipeline_in(read_file(path))
    declaration = PipelineDeclaration.model_validate(written.wire)
    settings = read_settings_beside(path, declaration) or StoredSettings()
    # `deploy` creates these groups from the file beside the definition.
    on_hosts = places_of_groups(declaration, None, read_beside(path))
    seen = look_up_all(declaration, settings, on_hosts)
    problems = [
        Problem(
            each.path,
            str(each),
            severity="error" if each.is_fault else "warning",
            rule="online",
            hint="create it, or correct its name, the region or the account" if each.is_fault else "",
        )
        for each in seen
        if each.is_fault or each.answer.status == "not allowed"
    ]
    placed = [
        replace(each, line=place.line, column=place.column) for each, place in _places(problems, written)
    ]
    lines = tuple(written.document.lines) if placed else file.lines
    return replace(file, problems=(*file.problems, *placed), lines=lines, online=tuple(seen))


def look_up_all(
    declaration: PipelineDeclaration,
    settings: StoredSettings,
    without: Collection[tuple[str, str]] = (),
) -> list[Seen]:
    """What AWS answers about each thing that the actions of a pipeline name, in their order.

    Args:
        declaration: the pipeline.
        settings: with which it will run.
        without: the stages and names of actions that use nothing in AWS.
    """
    wanted = [
        each
        for each in _wanted(declaration, settings)
        if (each[1].stage_name, each[1].action.name) not in without
    ]
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="codepipeline-online") as pool:
        return list(pool.map(lambda each: _seen(*each), wanted))


def _places(problems: list[Problem], written: Any) -> Iterator[tuple[Problem, Any]]:
    for problem in problems:
        yield problem, written.place_of(problem.path)


def _wanted(
    declaration: PipelineDeclaration, settings: StoredSettings
) -> Iterator[tuple[str, ActionContext, Lookup | CodePipelineError]]:
    """Each lookup, with the path of its action; an error in place of the lookups that cannot be made."""
    known = providers()
    for stage_index, stage in enumerate(declaration.stages):
        for index, action in enumerate(stage.actions):
            provider = known.get(action.action_type_id)
            if provider is None or provider.online is None:
                continue
            path = f"stages[{stage_index}].actions[{index}]"
            context = context_of(declaration.name, stage.name, with_values(action, declaration), settings)
            try:
                yield from ((path, context, lookup) for lookup in _lookups(provider, context))
            except CodePipelineError as error:
                yield path, context, error


def _lookups(provider: ActionProvider, context: ActionContext) -> list[Lookup]:
    assert provider.online is not None
    try:
        configuration = provider.configuration.model_validate(context.action.configuration)
    except ValidationError:
        return []  # a value that a variable gives, or an error that the definition's checks report
    return list(provider.online(configuration, context))


def _seen(path: str, context: ActionContext, wanted: Lookup | CodePipelineError) -> Seen:
    action = f"{context.stage_name}/{context.action.name}"
    if isinstance(wanted, CodePipelineError):
        return Seen(action, path, "what it names", Answer("not known", detail=str(wanted)))
    if "#{" in json.dumps([wanted.what, dict(wanted.arguments)], default=str):
        return Seen(action, path, wanted.what, Answer("not known", detail=_LATER))
    try:
        answer = look_up(wanted, context)
    except CodePipelineError as error:
        answer = Answer("not known", detail=str(error))
    return Seen(action, path, wanted.what, answer)
