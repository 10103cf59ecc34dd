"""What the worker takes from Prefect's inside (docs/decisions/0009) and would miss in silence, or only under load."""

from __future__ import annotations

import inspect

import pytest
from prefect.runner._flow_run_executor import FlowRunExecutorContext
from prefect.workers.base import BaseJobConfiguration, BaseWorker


@pytest.mark.parametrize(
    "name",
    [
        "_stack",
        "_hook_runner",
        "_event_emitter",
        "_state_proposer",
        "_cancellation_manager",
        "process_manager",
    ],
)
def test_a_part_that_is_replaced_is_one_that_prefect_uses(name: str) -> None:
    entered = inspect.getsource(FlowRunExecutorContext.__aenter__)
    used = inspect.getsource(FlowRunExecutorContext.create_executor) + entered

    assert f"self.{name} = " in entered or f"self.{name}." in entered
    assert used.count(f"self.{name}") > 1


@pytest.mark.parametrize(
    ("caller", "called"),
    [
        ("get_and_submit_flow_runs", "_submit_scheduled_flow_runs"),
        ("_submit_scheduled_flow_runs", "_submit_run"),
        ("_submit_scheduled_flow_runs", "_submitting_flow_run_ids"),
        ("_submit_run", "_release_limit_slot"),
        ("_submit_run_and_capture_errors", "_release_limit_slot"),
        ("_submit_run_and_capture_errors", "_propose_crashed_state"),
    ],
)
def test_a_method_that_is_replaced_is_one_that_prefect_calls(caller: str, called: str) -> None:
    assert f"self.{called}" in inspect.getsource(getattr(BaseWorker, caller))


def test_the_usual_command_of_a_job_can_be_told_from_one_of_its_own() -> None:
    assert BaseJobConfiguration._base_flow_run_command()
