"""What the busy reconcile service counts on a real server: each end once, and what is there now."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from prefect.states import Scheduled
from prometheus_client import REGISTRY
from waiting import until

from prefect_codepipeline.deployments.create import find_deployment
from prefect_codepipeline.deployments.observing.executions import Observer
from prefect_codepipeline.engine.pool_runs.asking import TAG as ACTION_TAG
from prefect_codepipeline.engine.pool_runs.pools import put_action_deployment
from prefect_codepipeline.prefect_api.client import call, client

pytestmark = pytest.mark.live


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"codepipeline_{name}", labels) or 0.0


class Sent:
    """What a collector of traces gets."""

    def __init__(self) -> None:
        self.spans: dict[str, list[str]] = {}

    def send(self, execution_id: str, spans: Any) -> None:
        self.spans.setdefault(execution_id, []).extend(span.name for span in spans)


def test_each_end_of_an_execution_is_counted_once_also_after_a_retry(world: Any) -> None:
    def ended() -> float:
        return value("executions_total", pipeline=world.name, status="Failed")

    def at_gates() -> float:
        return value("execution_wait_seconds_count", waited_for="gate")

    def is_counted() -> bool:
        observer.look()
        return ended() > before

    sent = Sent()
    observer = Observer(sent)  # type: ignore[arg-type]  # it has what is used
    observer.look()
    before, entered = ended(), at_gates()
    failed = {"provider": "Test/Scripted", "status": "Failed", "error_code": "JobFailed"}
    actions = value("actions_total", **failed)
    known = world.ended(world.start(world.declare([world.action("Work", FailUnless="/does/not/exist")])))
    until(is_counted)
    observer.look()
    before = once = ended()
    world.retry(known.id)
    until(is_counted)

    assert known.status == "Failed"
    assert (once, ended()) == (1, 2)
    # Executions of other tests may end meanwhile.
    assert at_gates() >= entered + 3
    assert value("actions_total", **failed) >= actions + 2
    assert sent.spans[known.id].count(f"pipeline {world.name}") == 2
    assert sent.spans[known.id].count("action Work") == 2
    assert sent.spans[known.id].count("stage Source") == 1


def test_executions_that_wait_for_a_person_or_a_worker_are_there_to_see(world: Any) -> None:
    pool = f"{world.name.lower().replace('.', '-')}-empty"
    call("POST", "/work_pools/", {"name": pool, "type": "process"})
    world.suspended(world.start(world.declare([world.action("Ok", 1, "Approval")])))
    deployment = find_deployment(world.name)
    call("PATCH", f"/deployments/{deployment['id']}", {"work_pool_name": pool, "work_queue_name": "default"})
    run = call("POST", f"/deployments/{deployment['id']}/create_flow_run", {})[1]
    due = Scheduled(scheduled_time=datetime.now(timezone.utc) - timedelta(minutes=1), name="Late")
    client().set_flow_run_state(UUID(run["id"]), due, force=True)
    of_pool, _ = put_action_deployment(pool)
    wanted = {"tags": [ACTION_TAG], "parameters": {"pipeline_execution_id": "e", "action_execution_id": "a"}}
    action = call("POST", f"/deployments/{of_pool['id']}/create_flow_run", wanted)[1]
    client().set_flow_run_state(UUID(action["id"]), due, force=True)

    observer = Observer()
    observer.look()
    waiting = value("executions_in_flight", state="paused"), value("executions_late", work_pool=pool)
    actions = value("actions_late", work_pool=pool)
    call("DELETE", f"/flow_runs/{run['id']}")
    call("DELETE", f"/flow_runs/{action['id']}")
    observer.look()

    assert waiting[0] >= 1
    assert (waiting[1], actions) == (1, 1)
    assert value("actions_late", work_pool=pool) == 0
    assert value("executions_late", work_pool=pool) == 0
