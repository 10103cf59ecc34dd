"""`codepipeline plan`: show what an execution would do, without starting one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect_codepipeline.cli.definitions.named import FileOrName, deployed_declaration, file_of
from prefect_codepipeline.cli.output import Style, print_json, print_line
from prefect_codepipeline.cli.parameters import AsJson, Variables
from prefect_codepipeline.cli.session import connect, find_own_type, pairs
from prefect_codepipeline.errors import CodePipelineError, PrefectUnavailable
from prefect_codepipeline.model.validation import Problem, nearest

if TYPE_CHECKING:
    from prefect_codepipeline.deployments.checking.blocks_needed import Blocks, Need
    from prefect_codepipeline.deployments.checking.plan import Plan, PlannedAction, PlannedStage
    from prefect_codepipeline.deployments.checking.readiness import Lack
    from prefect_codepipeline.deployments.files.resources import Beside
    from prefect_codepipeline.model.definition.action_settings import ActionSettings
    from prefect_codepipeline.model.definition.declaration import ActionDeclaration, PipelineDeclaration
    from prefect_codepipeline.model.stored.settings import StoredSettings

_KINDS = (
    "git-connection",
    "secret",
    "artifact-store",
    "codebuild-project",
    "codedeploy-application",
    "aws-credentials",
    "deploy-hosts",
)
_COLOURS: dict[str, Style] = {
    "present": "green",
    "created by deploy": "green",
    "missing": "red",
    "unknown": "yellow",
}
_LONGEST = 100
Line = tuple[str | tuple[str, Style], ...]


def plan(
    name: FileOrName,
    *,
    variable: Variables = [],  # noqa: B006
    json: AsJson = False,
) -> int:
    """Show what an execution would do and what is missing. Changes nothing. Exits with 1 if it could not run.

    NAME.settings.yaml and NAME.resources.yaml beside a file are read too.
    """
    from prefect_codepipeline.deployments.checking import plan as planning
    from prefect_codepipeline.deployments.checking.accounts import blocks_of_settings
    from prefect_codepipeline.deployments.checking.deployment_groups import problems_of_groups
    from prefect_codepipeline.deployments.checking.inline_buildspecs import names_with_block, problems_of_used
    from prefect_codepipeline.deployments.checking.needed import needed_values, values_of_variables
    from prefect_codepipeline.deployments.checking.readiness import lacks_of
    from prefect_codepipeline.deployments.files.resources import Beside, beside_path, read_beside
    from prefect_codepipeline.model.validation import declare_or_problems
    from prefect_codepipeline.model.validation.lenient import declare_anyway

    file = file_of(name)
    wire = _wire(name, file)
    declaration, _ = declare_or_problems(wire)
    declaration = declaration or declare_anyway(wire)
    given = pairs(variable, "--variable")
    _check_names(given, declaration)
    settings = _settings(file, declaration)
    beside = read_beside(file) if file else Beside()
    place = file or Path(f"{name}.json")  # for the commands that are proposed
    blocks = _blocks()
    present = names_with_block(wire, blocks or {})
    needed = needed_values(wire, beside, present)
    planned = planning.plan(
        declaration,
        given,
        _where(declaration, settings, blocks, beside),
        beside,
        blocks,
        settings.artifact_store or "",
        needed,
        blocks_of_settings(declaration, settings),
    )
    waiting = {path for value in needed for path in value.paths}
    problems = [problem for problem in _check(wire, beside) if problem.path not in waiting]
    problems += problems_of_used(wire, beside_path(place), blocks or {})
    if blocks is not None:  # else a group may be known, but not to be seen
        problems += problems_of_groups(declaration, settings, beside)
    errors = [problem for problem in problems if problem.severity == "error"]
    lacks = list(lacks_of(planned, needed, errors, place, beside))
    lacking = [value.name for value in values_of_variables(wire, beside, present)]
    notes = _notes(blocks, lacking, place, beside)
    if json:
        found = {"problems": [vars(problem) for problem in problems], "lacks": [vars(lack) for lack in lacks]}
        print_json({**asdict(planned), **found, "notes": notes})
    else:
        for line in (*_lines(planned, errors), _last_line(lacks, notes)):
            print_line(*line)
    return 1 if lacks else 0


def _check(wire: Any, beside: Beside) -> list[Problem]:
    from prefect_codepipeline.deployments.checking.files import check_wire
    from prefect_codepipeline.deployments.checking.runnable import check_runnable
    from prefect_codepipeline.deployments.files.own_types import finder_with

    return check_wire(wire, partial(check_runnable, find_own=finder_with(beside.resources, find_own_type)))


def _notes(blocks: Blocks | None, lacking: list[str], place: Path, beside: Beside) -> list[str]:
    """What prevents no execution, but should be known."""
    from prefect_codepipeline.deployments.checking.needed import import_command

    notes = ["blocks are not checked without a Prefect server"] if blocks is None else []
    if lacking:
        notes.append(f"builds lack variables: {import_command(place, beside, lacking)}")
    return notes


def _wire(name: str, file: Path | None) -> Any:
    """The definition as it is written, or as it was deployed."""
    if file is None:
        return deployed_declaration(name).to_wire()
    from prefect_codepipeline.deployments.files.definition import pipeline_in, read_file

    return pipeline_in(read_file(file)).wire


def _check_names(given: dict[str, str], declaration: PipelineDeclaration) -> None:
    known = {each.name for each in declaration.variables or []}
    for name in given.keys() - known:
        hint = nearest(name, known)
        raise CodePipelineError(f"the pipeline has no variable {name!r}" + (f"; {hint}" if hint else ""))


def _settings(file: Path | None, declaration: PipelineDeclaration) -> StoredSettings:
    """The settings beside the file, or those with which the pipeline was deployed."""
    from prefect_codepipeline.deployments.files.settings import read_settings_beside
    from prefect_codepipeline.engine.executions.definitions import settings_of
    from prefect_codepipeline.model.stored.settings import StoredSettings

    written = read_settings_beside(file, declaration) if file else settings_of(declaration.name)
    return written or StoredSettings()


def _where(
    declaration: PipelineDeclaration, settings: StoredSettings, blocks: Blocks | None, beside: Beside
) -> dict[tuple[str, str], str]:
    """Where each action runs."""
    from prefect_codepipeline.deployments.checking.deployment_groups import places_of_groups

    return {
        (stage.name, action.name): _place(action, settings.for_action(stage.name, action.name))
        for stage in declaration.stages
        for action in stage.actions
    } | places_of_groups(declaration, blocks, beside)


def _place(action: ActionDeclaration, settings: ActionSettings) -> str:
    """Where an action runs, and on which work pool if it has one of its own."""
    place = _machine(action, settings)
    return (
        f"{place}, from work pool {settings.work_pool!r}"
        if settings.work_pool and not action.is_approval
        else place
    )


def _machine(action: ActionDeclaration, settings: ActionSettings) -> str:
    """Where an action works; the region of an action counts only for services of AWS."""
    from prefect_codepipeline.deployments.checking.accounts import deploys_to_hosts_of, uses_aws

    if inventory := deploys_to_hosts_of(action.action_type_id, settings):
        return f"on hosts of inventory {inventory!r}"
    if uses_aws(action.action_type_id):
        region = action.region or settings.aws.region
        return f"in AWS, in region {region}" if region else "in AWS, in the worker's region"
    place = "on the worker's host" if settings.run_on == "host" else f"in a container of {settings.image}"
    return f"{place}, not in {action.region}" if action.region else place


def _blocks() -> Blocks | None:
    """The server's blocks, or None without a server: a plan does not need one."""
    from prefect_codepipeline.prefect_api.block_documents import fields_by_name

    try:
        connect()
        return {kind: fields_by_name(kind) for kind in _KINDS}
    except PrefectUnavailable:
        return None


def _last_line(lacks: list[Lack], notes: list[str]) -> Line:
    if lacks:
        return ((f"missing: {'; '.join(map(str, lacks))}", "red"),)
    return (("; ".join(["ready", *notes]), "green"),)


def _lines(planned: Plan, errors: list[Problem]) -> Iterator[Line]:
    yield (planned.name, "bold"), f"  {planned.pipeline_type}, {planned.execution_mode}"
    for variable in planned.variables:
        if variable.source == "missing":
            sentence = f"no value, pass --variable {variable.name}=VALUE"
            yield ((f"  variable {variable.name}: {sentence}", "red"),)
        else:
            yield (f"  variable {variable.name}: {variable.value} ({variable.source})",)
    for need in planned.needs:
        yield _need(need, "  ")
    for number, stage in enumerate(planned.stages, 1):
        yield from _stage(number, stage)
    if planned.resources:
        yield (("Additional resources", "bold"),)
        yield from ((f"  {sentence}",) for sentence in planned.resources)
    if planned.placeholders:
        yield (("Placeholders, for values that are not used here", "bold"),)
        yield from ((f"  {path}",) for path in planned.placeholders)
    if planned.missing:
        yield (("Unknown values", "red"),)
        yield from ((f"  {name}: {_short(paths)}",) for name, paths in planned.missing.items())
    if errors:
        yield (("Errors that prevent an execution", "red"),)
        yield from (((f"  {problem}".replace("\n", " "), "red"),) for problem in errors)


def _stage(number: int, stage: PlannedStage) -> Iterator[Line]:
    yield ((f"{number}. {stage.name}", "bold"),)
    yield from (((f"   {condition}", "dim"),) for condition in stage.conditions)
    for step in stage.steps:
        together = ", in parallel" if len(step.actions) > 1 else ""
        what = "approval" if step.is_approval else "run order"
        yield ((f"   {what} {step.run_order}{together}", "dim"),)
        for action in step.actions:
            yield from _action(action)


def _action(action: PlannedAction) -> Iterator[Line]:
    yield "     ", (action.name, "bold"), f"  {action.action_type}  {action.where}"
    if action.inputs:
        yield (f"       inputs: {', '.join(action.inputs)}",)
    if action.outputs:
        yield (f"       outputs: {', '.join(action.outputs)}",)
    for key, value in action.values.items():
        yield ((f"       {key}: {_short(value)}", "dim"),)
    for need in action.needs:
        yield _need(need, "       ")
    yield from (((f"       {sentence}", "yellow"),) for sentence in action.waits_for)


def _need(need: Need, indent: str) -> Line:
    state = need.state if need.state != "unknown" else "not checked, no Prefect server"
    return f"{indent}block {need.kind}/{need.name}: ", (state, _COLOURS[need.state])


def _short(value: Any) -> str:
    text = str(value).replace("\n", " ")
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
