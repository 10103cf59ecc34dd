"""What reconcile knows of an execution that was cancelled in Prefect: whether only its worker can end its work."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from prefect_codepipeline.engine.operations.ending import has_work_elsewhere
from prefect_codepipeline.model.definition.conditions import RuleWait
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.record.condition_facts import RuleAsked, RuleWaits
from prefect_codepipeline.model.record.facts import AnyFact, ExecutionPinned, StageEntered
from prefect_codepipeline.model.record.folding import fold
from prefect_codepipeline.model.record.state import ExecutionState

NOW = datetime(2026, 11, 28, 12, tzinfo=timezone.utc)
OF: dict[str, Any] = {"stage": "Deploy", "attempt": 1}


def waiting(provider: str, looks: int = 1) -> ExecutionState:
    """An execution whose rule waits."""
    rule = {
        "name": "Check",
        "ruleTypeId": {"category": "Rule", "owner": "AWS", "provider": provider, "version": "1"},
    }
    kind = {"category": "Source", "owner": "AWS", "provider": "S3", "version": "1"}
    stages = [
        {
            "name": name,
            "actions": [{"name": name, "actionTypeId": kind}],
            "beforeEntry": {"conditions": [{"result": "FAIL", "rules": [rule]}]},
        }
        for name in ("Source", "Deploy")
    ]
    pipeline = {"name": "shop", "roleArn": "arn:aws:iam::123456789012:role/x", "stages": stages}
    facts: list[AnyFact] = [
        ExecutionPinned(
            at=NOW,
            pipeline_name="shop",
            pipeline_version=1,
            definition_id="d",
            variables={},
            source_revisions={},
            trigger_type="StartPipelineExecution",
        ),
        StageEntered(at=NOW, **OF),
        RuleAsked(at=NOW, **OF, condition="beforeEntry", rule="Check", rule_execution_id="r"),
    ]
    for number in range(1, looks + 1):
        at = NOW + timedelta(minutes=number)
        wait = RuleWait(rule="Check", rule_execution_id="r", started_at=NOW, at=at, memory={"build": "b"})
        facts.append(RuleWaits(at=at, **OF, condition="beforeEntry", number=number, wait=wait))
    state = fold("x", PipelineDeclaration.model_validate(pipeline), facts)
    assert state
    return state


@pytest.mark.parametrize(("provider", "expected"), [("CodeBuild", True), ("DeploymentWindow", False)])
def test_a_rule_that_started_work_elsewhere_is_ended_by_a_process_with_its_credentials(
    provider: str, expected: bool
) -> None:
    assert has_work_elsewhere(waiting(provider)) is expected


def test_a_rule_waits_since_it_waited_first_however_often_it_was_looked_at() -> None:
    (wait,) = waiting("CodeBuild", looks=3).waits

    assert (wait.since, wait.until) == (NOW + timedelta(minutes=1), NOW + timedelta(minutes=3))
