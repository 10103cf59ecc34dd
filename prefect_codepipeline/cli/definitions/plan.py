"""`codepipeline plan`: show what an execution would do, without starting one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect_codepipeline.cli.output import Style, print_json, print_line
from prefect_codepipeline.cli.parameters import AsJson, Variables
from prefect_codepipeline.cli.session import connect, pairs
from prefect_codepipeline.errors import CodePipelineError, PrefectUnavailable
from prefect_codepipeline.model.validation import Problem, nearest

if TYPE_CHECKING:
    from prefect_codepipeline.deployments.checking.plan import Blocks, Need, Plan, PlannedAction, PlannedStage
    from prefect_codepipeline.model.definition.declaration import PipelineDeclaration

_KINDS = ("git-connection", "secret", "artifact-store", "codebuild-project")
_COLOURS: dict[str, Style] = {"present": "green", "missing": "red", "unknown": "yellow"}
_LONGEST = 100
Line = tuple[str | tuple[str, Style], ...]


def plan(
    file: Path,
    *,
    variable: Variables = [],  # noqa: B006
    json: AsJson = False,
) -> int:
    """Show what an execution would do and what is missing. Changes nothing. Exits with 1 if it could not run.

    Parameters
    ----------
    file:
        A definition in JSON or YAML. NAME.settings.yaml and NAME.resources.yaml beside it are read too.
    """
    from prefect_codepipeline.deployments.checking import plan as planning
    from prefect_codepipeline.deployments.checking.files import check_wire
    from prefect_codepipeline.deployments.files.definition import pipeline_in, read_file
    from prefect_codepipeline.deployments.files.resources import read_beside
    from prefect_codepipeline.model.validation import declare_or_problems
    from prefect_codepipeline.model.validation.lenient import declare_anyway

    written = pipeline_in(read_file(file))
    declaration, _ = declare_or_problems(written.wire)
    declaration = declaration or declare_anyway(written.wire)
    given = pairs(variable, "--variable")
    _check_names(given, declaration)
    where, store = _where(file, declaration)
    beside = read_beside(file)
    planned = planning.plan(declaration, given, where, beside, _blocks(), store)
    waiting = {path for missing in beside.missing.values() for path in missing.paths}
    problems = [problem for problem in check_wire(written.wire) if problem.path not in waiting]
    errors = [problem for problem in problems if problem.severity == "error"]
    if json:
        print_json({**asdict(planned), "problems": [vars(problem) for problem in problems]})
    else:
        for line in _lines(planned, errors):
            print_line(*line)
    # A missing value that only an additional resource needs does not prevent an execution.
    own = any(not path.startswith("resources.") for path in waiting)
    is_incomplete = own or errors or any(each.source == "missing" for each in planned.variables)
    return 1 if is_incomplete or any(need.state == "missing" for need in _needs(planned)) else 0


def _check_names(given: dict[str, str], declaration: PipelineDeclaration) -> None:
    known = {each.name for each in declaration.variables or []}
    for name in given.keys() - known:
        hint = nearest(name, known)
        raise CodePipelineError(f"the pipeline has no variable {name!r}" + (f"; {hint}" if hint else ""))


def _where(file: Path, declaration: PipelineDeclaration) -> tuple[dict[tuple[str, str], str], str]:
    """Where each action's commands would run, and the name of the artifact store block."""
    from prefect_codepipeline.blocks.pipeline_settings import PipelineSettings
    from prefect_codepipeline.deployments.files.settings import read_settings_beside

    settings = read_settings_beside(file, declaration) or PipelineSettings()
    found = {}
    for stage in declaration.stages:
        for action in stage.actions:
            own = settings.for_action(stage.name, action.name)
            on_host = "on the worker's host"
            found[stage.name, action.name] = (
                on_host if own.run_on == "host" else f"in a container of {own.image}"
            )
    return found, settings.artifact_store or ""


def _blocks() -> Blocks | None:
    """The server's blocks, or None without a server: a plan does not need one."""
    from prefect_codepipeline.prefect_api.block_documents import fields_by_name

    try:
        connect()
        return {kind: fields_by_name(kind) for kind in _KINDS}
    except PrefectUnavailable:
        return None


def _needs(planned: Plan) -> Iterator[Need]:
    yield from planned.needs
    for stage in planned.stages:
        for step in stage.steps:
            for action in step.actions:
                yield from action.needs


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
    if planned.missing:
        yield (("Missing values; import again with --parameter NAME=VALUE", "red"),)
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
