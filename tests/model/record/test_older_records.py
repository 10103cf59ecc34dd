"""Records that earlier versions wrote are read as they were then: facts, and what they amount to."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.record.condition_facts import override_key
from prefect_codepipeline.model.record.facts import parse_fact
from prefect_codepipeline.model.record.folding import fold
from prefect_codepipeline.model.record.state import ExecutionState

RECORDS = sorted((Path(__file__).parents[2] / "data" / "records").glob("*.json"))


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_of_an_earlier_version_means_what_it_meant(path: Path) -> None:
    kept = json.loads(path.read_text())
    facts = [parse_fact(fact) for _, fact in kept["facts"]]

    assert [fact.key for fact in facts] == [key for key, _ in kept["facts"]]
    assert [fact.model_dump(mode="json") for fact in facts] == [fact for _, fact in kept["facts"]]
    state = fold(kept["execution_id"], PipelineDeclaration.model_validate(kept["definition"]), facts)
    assert state
    assert view(state) == kept["expected"]


@pytest.mark.parametrize("what", ["approval", "rule"])
def test_an_execution_that_waited_under_an_earlier_version_still_does(what: str) -> None:
    (path,) = (path for path in RECORDS if f"-waiting-{what}-" in path.name)
    kept = json.loads(path.read_text())
    facts = [parse_fact(fact) for _, fact in kept["facts"]]
    state = fold(kept["execution_id"], PipelineDeclaration.model_validate(kept["definition"]), facts)
    assert state
    (wait,) = state.waits
    before, keys = wait.until - timedelta(seconds=1), {fact.key for fact in facts}

    assert not wait.has_ended(before, keys, None)
    assert wait.has_ended(wait.until, keys, None)
    assert wait.has_ended(before, keys, "stop")
    if what == "approval":
        (approval,) = state.waiting_actions
        decision = f"approval-{approval.request.token}-decision"  # type: ignore[union-attr]
    else:
        decision = override_key("beforeEntry", "S1", 1)
    assert wait.has_ended(before, {*keys, decision}, None)


def test_the_records_hold_every_kind_of_fact_of_their_time() -> None:
    from prefect_codepipeline.model.record.facts import AnyFact

    kinds = {fact["kind"] for path in RECORDS for _, fact in json.loads(path.read_text())["facts"]}
    declared = {fact.model_fields["kind"].default for fact in AnyFact.__args__[0].__args__}

    later = {"process-replaced", "action-kept", "action-waits"}
    later |= {"job-created", "job-handed-out", "job-taken", "job-progressed", "job-ended"}
    later |= {"pool-run-asked", "pool-run-unserved", "pool-run-taken", "pool-run-lost", "pool-run-ended"}
    assert declared - kinds == later, "the kinds that came later"
    assert kinds < declared


def view(state: ExecutionState) -> dict[str, Any]:
    """What an execution's record amounts to, as far as users and the engine ask for it."""
    return {
        "status": state.status,
        "summary": state.summary,
        "epoch": state.epoch,
        "processes": state.processes,
        "stop": state.stop.ends_as if state.stop else None,
        "source_revisions": {
            name: revision.model_dump(mode="json") for name, revision in state.source_revisions.items()
        },
        "artifacts": sorted(state.artifacts),
        "namespaces": {name: dict(values) for name, values in state.namespaces.items()},
        "stages": [
            {
                "name": stage.name,
                "status": stage.status,
                "attempt": stage.attempt,
                "automatic_retries": stage.automatic_retries,
                "manual_retries": stage.manual_retries,
                "actions": [
                    {
                        "name": action.name,
                        "status": action.status,
                        "attempt": action.attempt,
                        "summary": action.summary,
                        "percent_complete": action.percent_complete,
                        "votes": len(action.votes),
                        "refusals": len(action.refusals),
                        "decision": action.decision.status if action.decision else None,
                    }
                    for action in stage.actions
                ],
                "conditions": [
                    {
                        "kind": condition.kind,
                        "status": condition.status,
                        "consequence": condition.consequence if condition.ended else None,
                        "summary": condition.summary,
                    }
                    for condition in stage.conditions
                ],
            }
            for stage in state.stages
        ],
    }
