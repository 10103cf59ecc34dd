"""What an import remarks about the parameters and conditions of a template."""

from __future__ import annotations

import shlex

from prefect_codepipeline.deployments.cloudformation.declared import allowed_values, parameters_of_condition
from prefect_codepipeline.deployments.cloudformation.template import Template
from prefect_codepipeline.deployments.cloudformation.unknown import as_text, names_in
from prefect_codepipeline.model.validation import Problem, nearest


def skipped(logical_id: str, condition: str, template: Template) -> Problem:
    """A resource is left out: its condition is false, with these parameters."""
    deciding = parameters_of_condition(condition, template.conditions, template.parameters)
    return Problem(
        f"Resources.{logical_id}",
        f"{logical_id} is skipped, because condition {condition} is false",
        severity="warning",
        rule="template",
        hint=f"it depends on {' and '.join(_choice(name, template) for name in deciding)}: "
        f"codepipeline import {shlex.quote(template.document.name)}"
        + "".join(f" --parameter {name}=VALUE" for name in deciding)
        if deciding
        else "",
    )


def undecided(name: str, path: str) -> Problem:
    """A condition compares a parameter that has no value."""
    return Problem(
        path,
        f"parameter {name} has no value: the condition takes it as different",
        severity="warning",
        rule="template",
        hint=f"pass --parameter {name}=VALUE",
    )


def _choice(name: str, template: Template) -> str:
    """A parameter with its value, and the values that it may have."""
    value = as_text(template.ref(name, f"Parameters.{name}")) or ""
    declared = template.parameters[name]
    allowed = ", ".join(allowed_values(declared)) if isinstance(declared, dict) else ""
    has = "has no value" if names_in(value) else f"is {value!r}"
    return f"{name}, which {has}" + (f" (allowed: {allowed})" if allowed else "")


def unused(names: set[str], known: set[str]) -> list[Problem]:
    """Given values that the document does not use."""
    return [
        Problem(
            "",
            f"--parameter {name} is not used by the document",
            severity="warning",
            hint=nearest(name, known),
            rule="template",
        )
        for name in sorted(names)
    ]
