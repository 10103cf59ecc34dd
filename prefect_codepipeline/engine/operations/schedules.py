"""The schedules of pipelines: each is stored in a Prefect variable, and copied to the deployment's schedules.

The variables are the source of truth: a deployment that was deleted is recreated with them. A schedule that a user
created in Prefect's UI has no variable; it exists only as long as the deployment.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from prefect_codepipeline.errors import ValidationException
from prefect_codepipeline.model.names import slug
from prefect_codepipeline.model.triggers.schedules import MAX_SCHEDULES, Cron, Schedule, read_expression
from prefect_codepipeline.prefect_api.client import call
from prefect_codepipeline.prefect_api.variables import (
    Variable,
    delete_variable,
    put_variable,
    read_variable,
    variables_with_tags,
)

if TYPE_CHECKING:
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.objects import FlowRun
    from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule

_TAG = "codepipeline-schedule"


def schedules_of(pipeline_name: str) -> list[Schedule]:
    """The schedules of a pipeline, by name."""
    found = [Schedule.model_validate(each["value"]["schedule"]) for each in schedule_variables(pipeline_name)]
    return sorted(found, key=lambda schedule: schedule.rule)


def schedule_variables(pipeline_name: str) -> list[Variable]:
    """The Prefect variables that store the schedules of a pipeline."""
    return variables_with_tags(*_tags(pipeline_name))


def keep_schedule(deployment: dict[str, Any], schedule: Schedule, replace: bool = False) -> bool:
    """Add a schedule to a deployed pipeline; False if it has the same one already.

    Args:
        deployment: of the pipeline, as Prefect's API returns it.
        schedule: the schedule to add.
        replace: replace a schedule of the same name.

    Raises:
        ValidationException: there is a different schedule of that name, or the limit of schedules is reached.
    """
    name = str(deployment["name"])
    there = {known.rule: known for known in schedules_of(name)}
    before = there.get(schedule.rule)
    if before and _is_same(before, schedule):
        schedule = before
    elif before and not replace:
        raise ValidationException(
            f"pipeline {name!r} has a schedule {schedule.rule!r} already: {before.expression}; remove it with: "
            f"codepipeline schedule remove {name} {schedule.rule}"
        )
    elif not before and len(there) >= MAX_SCHEDULES:
        raise ValidationException(
            f"pipeline {name!r} has {len(there)} schedules; the limit is {MAX_SCHEDULES}"
        )
    else:
        _write(name, schedule)
    _copy_to_deployment(deployment, schedule)
    return schedule is not before


def remove_schedule(deployment: dict[str, Any], rule: str) -> None:
    """Remove a schedule. Raises `ValidationException` if no schedule has that name."""
    name = str(deployment["name"])
    own = read_variable(_variable_name(name, rule))
    is_removed = own is not None and delete_variable(own)
    copies = [each for each in deployment["schedules"] if each["slug"] == rule]
    if not is_removed and not copies:
        known = ", ".join(schedule.rule for schedule in schedules_of(name)) or "none"
        raise ValidationException(f"pipeline {name!r} has no schedule {rule!r}; it has: {known}")
    for each in copies:
        call("DELETE", f"/deployments/{deployment['id']}/schedules/{each['id']}", expected=(404,))


def wanted_schedules(pipeline_name: str, there: list[dict[str, Any]]) -> list[DeploymentScheduleCreate]:
    """The schedules that the deployment must have: the pipeline's own, and those created in Prefect's UI.

    Args:
        pipeline_name: the pipeline.
        there: the deployment's current schedules; a paused one stays paused.
    """
    from prefect.client.schemas.actions import DeploymentScheduleCreate

    own = {schedule.rule: schedule for schedule in schedules_of(pipeline_name)}
    active = {each["slug"]: bool(each["active"]) for each in there}
    others = [
        DeploymentScheduleCreate(
            schedule=each["schedule"], active=each["active"], parameters=each["parameters"], slug=each["slug"]
        )
        for each in there
        if each["slug"] not in own
    ]
    ours = [_as_prefect_schedule(schedule, active.get(rule, True)) for rule, schedule in own.items()]
    return [*ours, *others]


def rule_of(run: FlowRun) -> str:
    """The name of the schedule that created a flow run, or `schedule` if it has no name."""
    maker = run.created_by
    # For a schedule without a name, Prefect returns the name of its class.
    is_named = maker and maker.display_value and not maker.display_value.endswith("Schedule")
    return str(maker.display_value) if maker and is_named else "schedule"


def _is_same(one: Schedule, other: Schedule) -> bool:
    # The user does not give the anchor of a rate: it is the time at which the schedule was added.
    return one == other.model_copy(update={"anchor": one.anchor})


def _write(pipeline_name: str, schedule: Schedule) -> None:
    value = {"pipeline": pipeline_name, "schedule": schedule.model_dump(mode="json")}
    put_variable(_variable_name(pipeline_name, schedule.rule), value, _tags(pipeline_name))


def _copy_to_deployment(deployment: dict[str, Any], schedule: Schedule) -> None:
    """Add the schedule to Prefect's deployment, or update it there."""
    path = f"/deployments/{deployment['id']}/schedules"
    body = _as_prefect_schedule(schedule).model_dump(mode="json", exclude_unset=True)
    there = [each["id"] for each in deployment["schedules"] if each["slug"] == schedule.rule]
    if there:
        call("PATCH", f"{path}/{there[0]}", {key: body[key] for key in ("schedule", "parameters")})
    else:
        call("POST", path, [body])
    # Prefect's scheduler runs only once a minute and would miss the first runs.
    call("POST", f"/deployments/{deployment['id']}/schedule", {})


def _as_prefect_schedule(schedule: Schedule, active: bool = True) -> DeploymentScheduleCreate:
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule

    read = read_expression(schedule.expression)
    converted: CronSchedule | IntervalSchedule
    if isinstance(read, Cron):
        converted = CronSchedule(cron=read.text, timezone=schedule.timezone)
    else:
        anchor = datetime.fromisoformat(schedule.anchor)
        converted = IntervalSchedule(interval=read.interval, anchor_date=anchor, timezone=schedule.timezone)
    parameters = {"variables": schedule.variables} if schedule.variables else {}
    return DeploymentScheduleCreate(
        schedule=converted, active=active, parameters=parameters, slug=schedule.rule
    )


def _variable_name(pipeline_name: str, rule: str) -> str:
    return f"codepipeline-schedule-{slug(pipeline_name, rule)}"


def _tags(pipeline_name: str) -> list[str]:
    return ["codepipeline", _TAG, f"pipeline:{pipeline_name}"]
