"""What a dead process held is freed by reconcile, once its lease tells that it is dead."""

from __future__ import annotations

import time
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from prefect import flow
from prefect.states import Failed, Running

from prefect_codepipeline.engine.executions import gate
from prefect_codepipeline.engine.executions.gate_state import Visit
from prefect_codepipeline.flows.reconcile import reconcile_once
from prefect_codepipeline.prefect_api import leases
from prefect_codepipeline.prefect_api.client import call, client
from prefect_codepipeline.prefect_api.leases import STALE_SECONDS, is_stale, server_time

pytestmark = pytest.mark.live


@flow
def nothing() -> None:
    """Only its runs are wanted."""


def visit(pipeline_name: str) -> Visit:
    """An execution whose process has begun: it holds a lease, which nobody will renew."""
    run = str(client().create_flow_run(nothing, state=Running()).id)
    call("POST", "/variables/", {"name": f"codepipeline-lease-{run}", "value": 1, "tags": ["codepipeline"]})
    return Visit(pipeline_name, "Prod", None, "QUEUED", run, 1, run)


def test_reconcile_frees_locks_tickets_and_leases_of_the_dead_and_of_nobody_else(prefect_server: str) -> None:
    pipeline_name = f"Lease.{uuid4().hex[:8]}"
    dead, dead_too, alive = (visit(pipeline_name) for _ in range(3))
    assert gate.try_enter(dead)[0]
    assert not gate.try_enter(dead_too)[0]
    assert not gate.try_enter(alive)[0]
    for each in (dead, dead_too):
        client().set_flow_run_state(UUID(each.execution), Failed(), force=True)

    early = reconcile_once()
    # Five seconds more than a lease may be old: the server's clock, a header, counts in seconds and may lag behind.
    # Twice, as the loop does: what others write and delete meanwhile may hide a page of what there is.
    late = [
        said
        for _ in range(2)
        for said in reconcile_once(server_time() + timedelta(seconds=STALE_SECONDS + 5))
    ]

    assert not [said for said in early if pipeline_name in said], "its process may still be about"
    assert len([said for said in late if pipeline_name in said and ": released the " in said]) == 2
    gates = gate.read_gates(pipeline_name)
    assert gates.holder("Prod") is None
    assert [ticket.execution for ticket in gates.tickets("Prod")] == [alive.execution]
    for each in (dead, dead_too):
        assert call("GET", f"/variables/name/codepipeline-lease-{each.execution}", expected=(404,))[0] == 404
    assert gate.try_enter(alive)[0]
    assert is_stale(str(uuid4()), server_time()), "without a lease nobody is at work"


def test_a_process_whose_lease_was_taken_for_that_of_a_dead_one_takes_it_again(
    prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.1)
    execution_id = str(uuid4())
    with leases.holding_lease(execution_id, 1):
        call("DELETE", f"/variables/name/codepipeline-lease-{execution_id}")
        until = time.monotonic() + 10
        while is_stale(execution_id, server_time()):
            assert time.monotonic() < until, "nobody took it again"
            time.sleep(0.02)

    assert is_stale(execution_id, server_time()), "it is given back at the end"
