"""Which executions are kept."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from prefect_codepipeline.engine.retention.keeping import Keeper, Limits, digests_in, own_definitions
from prefect_codepipeline.model.names import slug
from prefect_codepipeline.model.record.format import FORMAT
from prefect_codepipeline.model.stored.retention import StoredRemovals, StoredRetention

NOW = datetime(2026, 6, 1, tzinfo=timezone.utc)
OLD = 400


def run(number: int, days: int, state: str = "COMPLETED", pipeline: str = "site") -> dict[str, Any]:
    ended = (NOW - timedelta(days=days)).isoformat()
    tags = ["codepipeline", f"pipeline:{pipeline}", "trigger:Webhook"]
    return {
        "id": str(number),
        "deployment_id": "d",
        "state_type": state,
        "end_time": ended,
        "created": ended,
        "tags": tags,
        "state": {},
    }


def facts(
    *succeeded: str, version: int = 1, failed: tuple[str, ...] = (), kind: str = "STANDARD"
) -> list[Any]:
    pinned = {
        "kind": "execution-pinned",
        "pipeline_name": "site",
        "pipeline_version": version,
        "execution_type": kind,
    }
    ends = [(stage, "Failed", 1) for stage in failed]
    ends += [(stage, "Succeeded", 2) for stage in succeeded]
    found = [
        pinned,
        *(
            {"kind": "stage-finished", "stage": stage, "attempt": attempt, "status": status}
            for stage, status, attempt in ends
        ),
    ]
    return [{"nonce": "n", "fact": each} for each in found]


def keeper(needed: frozenset[str] = frozenset(), limits: Limits | None = None) -> Keeper:
    return Keeper(limits or Limits(), NOW, {"site": NOW - timedelta(days=1000)}, needed)


@pytest.mark.parametrize(
    ("one", "is_kept"),
    [
        (run(1, 364), True),
        (run(1, 366), False),
        (run(1, 366, "RUNNING"), True),
        (run(1, 366, "PAUSED"), True),
        (run(1, 366, "CRASHED"), True),
        (run(1, 366, "SCHEDULED"), True),
        (run(1, 366, "FAILED"), False),
        (run(1, 366, "CANCELLED"), False),
        (run(7, 366), True),  # a gate names it
    ],
)
def test_what_is_young_in_flight_or_named_by_others_is_kept(one, is_kept):
    assert keeper(frozenset({"7"})).keeps(one, facts()) is is_kept


def test_what_a_newer_release_wrote_is_left_alone():
    newer = {"format": FORMAT + 1, "needs": "9.0.0", "fact": {"kind": "of-tomorrow"}}
    assert keeper().keeps(run(1, OLD), [*facts(), newer])


def test_the_last_success_of_each_stage_is_kept_and_no_other():
    decides = keeper()
    kept = [
        decides.keeps(run(number, OLD), values)
        for number, values in enumerate(
            [
                facts("Source", kind="ROLLBACK"),  # no target of a rollback
                facts("Source", failed=("Build",)),  # the last of Source
                facts("Source", "Build", failed=("Build", "Prod")),  # the last of Build, by a retry
                facts("Source", "Build"),
                facts("Source", "Build", "Prod"),  # the last of Prod
                facts("Source", "Build", "Prod"),
            ]
        )
    ]
    assert kept == [False, True, True, False, True, False]


def test_the_last_success_of_a_newer_version_is_kept_too():
    decides = keeper()
    # The execution of version 1 began later, for example by a rollback's sibling that waited.
    assert decides.keeps(run(1, OLD), facts("Prod", version=1))
    assert decides.keeps(run(2, OLD), facts("Prod", version=2))
    assert not decides.keeps(run(3, OLD), facts("Prod", version=2))
    assert not decides.keeps(run(4, OLD), facts("Prod", version=1))


def test_a_success_in_the_foreground_takes_the_place_of_none():
    """A rollback goes back to executions of deployments only. The version of a foreground run is what its file says."""
    decides = keeper()
    assert not decides.keeps({**run(1, OLD), "deployment_id": None}, facts("Prod", version=9))
    assert decides.keeps(run(2, OLD), facts("Prod"))


def test_young_successes_count():
    decides = keeper()
    assert decides.keeps(run(1, 1), facts("Source", "Prod"))
    assert not decides.keeps(run(2, OLD), facts("Source", "Prod"))


def test_executions_of_a_deleted_pipeline_are_no_targets():
    decides = keeper()
    assert not decides.keeps(run(1, 1001), facts("Prod", version=9))
    assert decides.keeps(run(2, 999), facts("Prod", version=1))
    assert not Keeper(Limits(), NOW, {}, frozenset()).keeps(run(3, OLD), facts("Prod"))


def test_a_block_is_for_its_pipeline_or_for_all():
    blocks = {"default": StoredRetention(execution_days=30), slug("site"): StoredRetention(execution_days=90)}
    limits = Limits(blocks)
    assert limits.of("site") == timedelta(days=90)
    assert limits.of("other") == timedelta(days=30)
    assert Limits().of("site") == timedelta(days=365)
    assert Limits(blocks, timedelta(days=1)).of("site") == timedelta(days=1)
    assert Limits({"default": StoredRetention(execution_days=None)}).of("site") is None
    assert keeper(limits=Limits({"default": StoredRetention(execution_days=None)})).keeps(
        run(1, 9999), facts()
    )


@pytest.mark.parametrize("days", [999_999, 10**30])
def test_a_time_of_many_thousand_years_is_for_ever(days: int) -> None:
    limits = Limits({"default": StoredRetention(execution_days=days)})
    assert keeper(limits=limits).keeps(run(1, OLD), facts())
    assert keeper(limits=Limits(of_all=timedelta(days=999_999))).keeps(run(1, OLD), facts())


def test_trees_are_found_in_facts_of_any_release():
    one, two = "a" * 64, "0123456789abcdef" * 4
    values = [
        {"kind": "of-tomorrow", "deep": [{"tree": one}]},
        {"output_artifacts": [{"sha256": two, "size": 1}]},
    ]
    assert digests_in(values) == {one, two}


def test_removed_executions_are_known_by_the_beginnings_of_their_ids(monkeypatch):
    known = StoredRemovals().with_more(["0b1c2d3e-4f50-4a6b-8c7d-000000000001"])
    assert known.has("0b1c2d3e-4f50-4a6b-8c7d-000000000001")
    assert known.has("0b1c2d3e")
    assert not known.has("1c2d")
    assert not known.has("4f50")
    assert not known.has("0b1c2d3e-4f51-4a6b-8c7d-000000000001")

    monkeypatch.setattr("prefect_codepipeline.model.stored.retention.MOST_REMOVALS", 2)
    known = known.with_more(["b" * 36, "c" * 36])
    assert not known.has("0b1c2d3e")
    assert known.with_more(["c" * 36]) == known


def test_the_definitions_that_nothing_else_has_are_those_of_actions_and_of_the_foreground() -> None:
    asked = [{"kind": "pool-run-asked", "secrets_id": each} for each in ("secret", None)]
    stored = [{"fact": each} for each in ({"kind": "execution-pinned", "definition_id": "own"}, *asked)]

    assert own_definitions({"deployment_id": "d"}, stored) == ["secret"]
    assert own_definitions({"deployment_id": None}, stored) == ["secret", "own"]
