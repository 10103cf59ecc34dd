"""`codepipeline schedule`: the schedules that start a pipeline."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from prefect_codepipeline.cli.output import print_json, print_line
from prefect_codepipeline.cli.parameters import AsJson, PipelineName, Variables
from prefect_codepipeline.cli.session import connect, console, pairs


def add(
    name: PipelineName,
    *,
    cron: str,
    timezone: str = "UTC",
    rule: str | None = None,
    variable: Variables = [],  # noqa: B006
    replace: Annotated[bool, Parameter(negative=())] = False,
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
    print_line(
        f"{name}: schedule {schedule.rule!r} {'added' if is_new else 'exists already'}: {cron}, {timezone}"
    )
    return 0


def list_schedules(name: PipelineName, *, json: AsJson = False) -> int:
    """List the schedules of a pipeline."""
    connect()
    from prefect_codepipeline.engine.operations.schedules import schedules_of
    from prefect_codepipeline.engine.operations.starting import find_deployment

    deployed = {each["slug"]: each for each in find_deployment(name)["schedules"]}
    found = [
        {
            **schedule.model_dump(exclude={"anchor"}),
            "active": bool(deployed.get(schedule.rule, {}).get("active")),
        }
        for schedule in schedules_of(name)
    ]
    if json:
        print_json(found)
        return 0
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("Name", "When", "Time zone", "Variables", ""):
        table.add_column(column)
    for each in found:
        given = ", ".join(f"{key}={value}" for key, value in each["variables"].items())
        texts = (each["rule"], each["expression"], each["timezone"], given)
        table.add_row(*map(Text, (*texts, "" if each["active"] else "paused")))
    console.print(table)
    return 0


def remove(name: PipelineName, rule: str) -> int:
    """Remove a schedule.

    Parameters
    ----------
    rule:
        Name of the schedule, as `codepipeline schedule list` prints it.
    """
    connect()
    from prefect_codepipeline.engine.operations.schedules import remove_schedule
    from prefect_codepipeline.engine.operations.starting import find_deployment

    remove_schedule(find_deployment(name), rule)
    print_line(f"{name}: schedule {rule!r} removed")
    return 0
