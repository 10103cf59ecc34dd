"""Schedules of deployed pipelines: those that users add, and those of EventBridge rules beside a definition."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from prefect_codepipeline.deployments.files.resource_kinds import is_schedule
from prefect_codepipeline.engine.executions.definitions import newest_version
from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.engine.operations.schedules import keep_schedule
from prefect_codepipeline.engine.operations.starting import find_deployment, mistakes_in_variables
from prefect_codepipeline.errors import ValidationException
from prefect_codepipeline.model.triggers.schedules import Schedule, read_expression

_INVALID_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


def add_schedule(
    pipeline_name: str,
    expression: str,
    timezone: str = "UTC",
    variables: Mapping[str, str] | None = None,
    rule: str | None = None,
    replace: bool = False,
) -> tuple[Schedule, bool]:
    """Start a pipeline on a schedule. Returns the schedule, and whether it is new.

    Args:
        pipeline_name: the name of a deployed pipeline.
        expression: five-field cron, or EventBridge's `cron(…)` or `rate(…)`.
        timezone: the time zone of the cron fields, such as Europe/Zurich.
        variables: values of pipeline variables.
        rule: the name of the schedule; derived from the expression by default.
        replace: replace an existing schedule of that name.

    Raises:
        PipelineNotFoundException: the pipeline does not exist.
        ValidationException: the expression, time zone, name or a variable is not valid, or the name is in use.
    """
    deployment = find_deployment(pipeline_name)
    _, definition = newest_version(pipeline_name, int(deployment["version"] or 1))
    if mistakes := list(mistakes_in_variables(definition.masked(), variables or {})):
        raise ValidationException(
            f"no schedule was added to pipeline {pipeline_name!r}: {'; '.join(mistakes)}"
        )
    schedule = _schedule(expression, timezone, variables or {}, rule)
    return schedule, keep_schedule(deployment, schedule, replace)


def add_declared(pipeline_name: str, resources: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Add the schedules of the EventBridge rules beside a definition. Returns a sentence for each.

    A changed rule replaces its schedule. The schedule of a rule that was removed from the file stays; users remove it.
    """
    rules = ((logical_id, each["Properties"]) for logical_id, each in resources.items() if is_schedule(each))
    return [_add_rule(pipeline_name, logical_id, properties) for logical_id, properties in rules]


def _add_rule(pipeline_name: str, logical_id: str, properties: Mapping[str, Any]) -> str:
    what = f"{logical_id} (AWS::Events::Rule)"
    if properties.get("State") == "DISABLED":
        return f"{what}: disabled, no schedule created"
    named = str(properties.get("Name") or "")
    rule = _INVALID_IN_NAMES.sub("-", named if named and "${" not in named else logical_id)[:64]
    expression = str(properties["ScheduleExpression"])
    try:
        variables = _variables_of(properties)
        schedule, is_new = add_schedule(pipeline_name, expression, "UTC", variables, rule, replace=True)
    except ValidationException as error:
        return f"{what}: no schedule created: {error}"
    return (
        f"{what}: {'created schedule' if is_new else 'schedule'} {schedule.rule!r}: {schedule.expression}"
        + ("" if is_new else " exists")
    )


def _variables_of(properties: Mapping[str, Any]) -> dict[str, str]:
    """The pipeline variables in the Input of the rule's targets."""
    found: dict[str, str] = {}
    for target in properties.get("Targets") or []:
        text = target.get("Input") if isinstance(target, dict) else None
        try:
            given = json.loads(text).get("variables", []) if isinstance(text, str) else []
            found |= {str(each["name"]): str(each["value"]) for each in given}
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ValidationException(f"the Input of its target cannot be read: {error}") from None
    return found


def _schedule(expression: str, timezone: str, variables: Mapping[str, str], rule: str | None) -> Schedule:
    try:
        read_expression(expression)
        _check_zone(timezone)
        return Schedule(
            rule=rule or _INVALID_IN_NAMES.sub("-", expression.replace("*", "x")).strip("-.")[:64],
            expression=expression.strip(),
            timezone=timezone,
            variables=dict(variables),
            anchor=utc_now().isoformat(timespec="seconds"),
        )
    except ValidationError:
        raise ValidationException(
            f"the schedule name {rule!r} is not valid: use 1 to 64 letters, digits, '.', '_' or '-'"
        ) from None
    except ValueError as error:
        raise ValidationException(str(error)) from None


def _check_zone(timezone: str) -> None:
    try:
        ZoneInfo(timezone)
    except (ValueError, OSError, LookupError):
        raise ValueError(f"time zone {timezone!r} does not exist; use a name such as Europe/Zurich") from None
