"""`codepipeline schedule`: the schedules that start a pipeline."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from prefect_codepipeline.cli.output import answer, print_json, print_table
from prefect_codepipeline.cli.parameters import AsJson, PipelineName, Variables
from prefect_codepipeline.cli.session import connect, pairs
from prefect_codepipeline.errors import ValidationException
from prefect_codepipeline.model.problem import nearest

Rule = Annotated[str, Parameter(help="Name of the schedule, as `codepipeline schedule list` prints it.")]


def add(
    name: PipelineName,
    *,
    cron: str,
    timezone: str = "UTC",
    rule: str | None = None,
    variable: Variables = [],  # noqa: B006
    replace: Annotated[bool, Parameter(negative=())] = False,
    json: AsJson = False,
) -> int:
    """Start a deployed pipeline on a schedule.

    Parameters
    ----------
    cron:
        The schedule: '0 6 * * MON-FRI', or EventBridge's 'cron(0 6 ? * MON-FRI *)' or 'rate(1 hour)'.
    timezone:
        The time zone of the cron fields, such as Europe/Zurich.
    rule:
        Name of the schedule, recorded as the trigger of its executions; derived from the expression by default.
    replace:
        Replace the schedule of that name.
    """
    connect()
    from prefect_codepipeline.deployments.resource_schedules import add_schedule

    schedule, is_new = add_schedule(name, cron, timezone, pairs(variable, "--variable"), rule, replace)
    answer(
        json,
        {"pipelineName": name, **schedule.model_dump(exclude={"anchor"}), "added": is_new},
        f"{name}: schedule {schedule.rule!r} {'added' if is_new else 'exists already'}: {cron}, {timezone}",
    )
    return 0


def list_schedules(name: PipelineName, *, json: AsJson = False) -> int:
    """List the schedules of a pipeline."""
    found = _schedules(name)
    if json:
        print_json(found)
        return 0
    rows = [[*_texts(each), "" if each["active"] else "paused"] for each in found]
    print_table(("Name", "When", "Time zone", "Variables", ""), rows)
    return 0


def show(name: PipelineName, rule: Rule, *, json: AsJson = False) -> int:
    """Show a schedule."""
    found = _schedules(name)
    schedule = next((each for each in found if each["rule"] == rule), None)
    if schedule is None:
        hint = nearest(rule, [each["rule"] for each in found]) or f"see: codepipeline schedule list {name}"
        raise ValidationException(f"schedule {rule!r} of pipeline {name!r} does not exist; {hint}")
    answer(json, schedule, *(f"{key}: {value}" for key, value in schedule.items()))
    return 0


def _schedules(name: str) -> list[dict[str, Any]]:
    connect()
    from prefect_codepipeline.engine.operations.schedules import schedules_of
    from prefect_codepipeline.engine.operations.starting import find_deployment

    deployed = {each["slug"]: each for each in find_deployment(name)["schedules"]}
    return [
        {
            **schedule.model_dump(exclude={"anchor"}),
            "active": bool(deployed.get(schedule.rule, {}).get("active")),
        }
        for schedule in schedules_of(name)
    ]


def _texts(schedule: dict[str, Any]) -> list[str]:
    given = ", ".join(f"{key}={value}" for key, value in schedule["variables"].items())
    return [schedule["rule"], schedule["expression"], schedule["timezone"], given]


def remove(name: PipelineName, rule: Rule, *, json: AsJson = False) -> int:
    """Remove a schedule."""
    connect()
    from prefect_codepipeline.engine.operations.schedules import remove_schedule
    from prefect_codepipeline.engine.operations.starting import find_deployment

    remove_schedule(find_deployment(name), rule)
    answer(json, {"pipelineName": name, "rule": rule, "removed": True}, f"{name}: schedule {rule!r} removed")
    return 0
