"""Sixty actions on three pools whose workers share nothing but Prefect and an object store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pool_workers import count_pool_runs

from prefect_codepipeline.blocks.artifact_store import ArtifactStore
from prefect_codepipeline.blocks.pipeline_settings import PipelineSettings
from prefect_codepipeline.engine.executions.lookup import KnownExecution
from prefect_codepipeline.flows.reconcile import reconcile_once
from prefect_codepipeline.model.definition.action_settings import ActionOverride
from prefect_codepipeline.model.names import slug
from prefect_codepipeline.prefect_api.client import flow_run

pytestmark = [pytest.mark.live, pytest.mark.long, pytest.mark.timeout(560)]
REMOTE = {"category": "Test", "owner": "Custom", "provider": "Remote", "version": "1"}
STAGES, ACTIONS = 3, 20


def test_sixty_actions_run_once_and_where_they_should(
    world: Any, worker_of: Any, make_bucket: Callable[..., str], moto_url: str, tmp_path: Path
) -> None:
    """One worker is killed in mid-action, one pool has no worker at first, and that of another pipeline never has one."""
    never = type(world)(_made(tmp_path / "never"))
    PipelineSettings(
        overrides={"S1/Far": ActionOverride(work_pool=worker_of().pool, wait_minutes=1)},
    ).save(slug(never.name))
    hopeless = never.start(never.declare([never.action("Far")]))
    first, second, late = workers = [worker_of() for _ in range(3)]
    store = f"store-{uuid4().hex[:8]}"
    options = {"endpoint_url": moto_url, "key": "testing", "secret": "testing-secret"}
    ArtifactStore(url=f"s3://{make_bucket()}/a", storage_options=options).save(store)
    where = {
        f"S{stage}/A{number}": workers[number % 3].pool
        for stage in range(1, STAGES + 1)
        for number in range(ACTIONS)
    }
    PipelineSettings(
        artifact_store=store,
        overrides={name: ActionOverride(work_pool=pool) for name, pool in where.items()},
    ).save(slug(world.name))
    first.start()
    second.start()
    stages = [[_action(world, number) for number in range(ACTIONS)] for _ in range(STAGES)]
    (tmp_path / "may-keep").touch()
    stages[0][0] |= {"actionTypeId": REMOTE, "configuration": {"Work": str(tmp_path)}, "outputArtifacts": []}
    execution_id = world.start(world.declare(*stages))

    def unserved(known: KnownExecution) -> set[str]:
        return {a.name for s, a in known.state.actions if a.waits_for_a_worker} if known.state else set()

    of_late = {f"A{number}" for number in range(ACTIONS) if number % 3 == 2}
    world.wait(execution_id, lambda known: unserved(known) == of_late)
    world.wait(execution_id, lambda known: known.state.stage("S1").action("A0").kept)
    beside = [f"A{number}" for number in range(3, ACTIONS, 3)]  # what cannot run again has ended
    world.wait(
        execution_id, lambda known: all(known.state.stage("S1").action(name).finished for name in beside)
    )
    first.kill()
    worker_of(pool=first.pool).start()
    late.start()
    (tmp_path / "done").touch()

    def is_ended(known: KnownExecution) -> bool:
        reconcile_once()
        return known.run["state_type"] in ("COMPLETED", "FAILED", "CANCELLED")

    known = world.wait(execution_id, is_ended, 500)

    assert known.status == "Succeeded", known.state.summary
    ran = Counter(each for each in world.ran(execution_id) if each != "Source/Src")
    assert (set(ran.values()), len(ran)) == ({1}, STAGES * ACTIONS - 1)
    assert (tmp_path / "calls").read_text().split() == ["start"]
    assert count_pool_runs(execution_id) == STAGES * ACTIONS
    pools = {
        f"{stage.name}/{action.name}": flow_run(action.pool_run.last_taken.flow_run_id)["work_pool_name"]
        for stage, action in known.state.actions
        if action.pool_run
    }
    assert pools == where
    failed = never.ended(hopeless)
    assert failed.status == "Failed"
    assert "no worker took it within 1 min: no live worker serves work queue" in failed.state.summary
    assert never.ran(hopeless) == ["Source/Src"]


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _action(world: Any, number: int) -> dict[str, Any]:
    name = f"A{number}"
    return {**world.action(name, Output=name), "outputArtifacts": [{"name": f"{name}-{uuid4().hex[:6]}"}]}
