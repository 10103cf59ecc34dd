"""Suspend the pipeline's flow run, with or without a form, and resume it.

Prefect's own `suspend_flow_run` raises at once, so an event between the last check and the suspension would be lost. Here
the condition is checked again after the suspension. The form is written after it too: with a suspension Prefect 3.9
deletes the inputs under the form's keys. Prefect resumes no run without its form, so reconcile writes a form that is
missing because the process died in between.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn
from uuid import uuid4

from prefect_codepipeline.prefect_api.client import call
from prefect_codepipeline.prefect_api.flow_runs import set_state, was_accepted

if TYPE_CHECKING:
    from prefect.input.run_input import Keyset


@dataclass(frozen=True)
class Form:
    """The form of Prefect's Resume button: a JSON schema, with markdown above it.

    `subject` (`[a-z0-9-]`) distinguishes the answers to this form from those to others.
    """

    subject: str
    schema: dict[str, Any]
    description: str


@dataclass(frozen=True)
class Wake:
    """Whether an execution must be resumed, and with which answer to its form."""

    needed: bool
    answer: dict[str, Any] | None = field(default=None)


def suspend(
    execution_id: str, message: str, check_again: Callable[[], Wake], form: Form | None = None
) -> NoReturn:
    """Suspend the run and end this process; no process runs while the execution waits.

    Args:
        execution_id: the flow run.
        message: what the run waits for, for users.
        check_again: called after the run is suspended; if it need not wait any more, it is resumed at once.
        form: the form of Prefect's Resume button.

    Raises:
        Pause: always, after the run is suspended.
        Abort: Prefect refused to suspend the run, because it was cancelled or ended meanwhile.
    """
    # `codepipeline approve` imports this module without Prefect.
    from prefect.exceptions import Abort, Pause
    from prefect.input.run_input import keyset_from_base_key
    from prefect.states import Suspended

    # If a key was used before, Prefect treats the pause as finished.
    key = f"{form.subject}-{uuid4().hex[:8]}" if form else uuid4().hex
    keyset = keyset_from_base_key(f"suspended-{key}") if form else None
    details = {"pause_reschedule": True, "pause_key": key, "run_input_keyset": keyset}
    result = set_state(execution_id, "PAUSED", "Suspended", message, details)
    if not was_accepted(result):
        raise Abort(f"the run could not be suspended: {result['details'].get('reason') or result['status']}")
    if form and keyset:
        _write_form(execution_id, keyset, form)
    wake = check_again()
    if wake.needed:
        resume(execution_id, wake.answer)
    raise Pause(state=Suspended(message=message))


def resume(execution_id: str, answer: dict[str, Any] | None = None) -> bool:
    """Resume a suspended run; False if it was not suspended, or the answer does not match its form."""
    status, result = call(
        "POST",
        f"/flow_runs/{execution_id}/resume",
        {"run_input": answer} if answer else {},
        expected=(404, 409),
    )
    return status < 400 and was_accepted(result)


def restore_form(run: dict[str, Any], form: Form) -> bool:
    """Write the form that a suspended run needs but does not have. True if it was missing.

    Args:
        run: the flow run, as the API returns it.
        form: the form. Nothing is written if the run needs the form of another subject.
    """
    keyset = run["state"]["state_details"].get("run_input_keyset") or {}
    key = keyset.get("schema", "")
    if not key.startswith(f"suspended-{form.subject}-"):
        return False
    status, _ = call("GET", f"/flow_runs/{run['id']}/input/{key}", expected=(404,))
    if status == 404:
        _write_form(run["id"], keyset, form)
    return status == 404


def answers(execution_id: str, subject: str) -> dict[str, dict[str, Any]]:
    """The answers of users to forms with that subject, oldest first, by key."""
    body = {"prefix": f"suspended-{subject}-", "limit": 1000, "exclude_keys": []}
    _, found = call("POST", f"/flow_runs/{execution_id}/input/filter", body)
    return {item["key"]: _decoded(item["value"]) for item in found if item["key"].endswith("-response")}


def _decoded(value: Any) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(value) if isinstance(value, str) else value
    return decoded


def _write_form(execution_id: str, keyset: Keyset, form: Form) -> None:
    _write_input(execution_id, keyset["description"], form.description)
    _write_input(execution_id, keyset["schema"], form.schema)  # last: with the schema the run can be resumed


def _write_input(execution_id: str, key: str, value: Any) -> None:
    body = {"key": key, "value": json.dumps(value), "sender": None}
    call("POST", f"/flow_runs/{execution_id}/input", body, expected=(409,))
