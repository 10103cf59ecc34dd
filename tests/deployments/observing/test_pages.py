"""`/health` and `/metrics`: off by default, on an address of their own, in a text that Prometheus reads."""

from __future__ import annotations

import re
import socket
import threading
import time
from datetime import datetime, timedelta, timezone
from typing import Any

import httpx
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from prefect_codepipeline.deployments.observing import executions, pages, workers
from prefect_codepipeline.deployments.observing.pages import serving_pages
from prefect_codepipeline.deployments.observing.rounds import RoundsCollector
from prefect_codepipeline.deployments.observing.routes import route_of
from prefect_codepipeline.deployments.reconciling.busy_lease import BusyLease
from prefect_codepipeline.deployments.reconciling.rounds import Rounds
from prefect_codepipeline.deployments.reconciling.service import STUCK_SECONDS, health_of
from prefect_codepipeline.errors import CodePipelineError

RUN = "0d1fa0a6-0b0f-4b5a-9d1c-6f1f3f0f5a11"


def test_nothing_listens_unless_the_port_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(pages.PORT_VARIABLE, raising=False)

    with serving_pages(lambda: (True, "is well")) as address:
        assert address is None


def test_health_and_metrics_are_served_on_this_machine_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(pages.PORT_VARIABLE, "0")
    answers = iter([(True, "is well"), (False, "hangs")])

    with serving_pages(lambda: next(answers)) as address:
        well, ill = httpx.get(f"{address}/health"), httpx.get(f"{address}/health?x=1")
        metrics, other = httpx.get(f"{address}/metrics"), httpx.get(f"{address}/")

    assert address
    assert address.startswith("http://127.0.0.1:")
    assert (well.status_code, well.text) == (200, "ok: is well\n")
    assert (ill.status_code, ill.text) == (503, "not ok: hangs\n")
    assert metrics.headers["content-type"].startswith("text/plain; version=")
    assert list(text_string_to_metric_families(metrics.text))
    assert other.status_code == 404


@pytest.mark.parametrize("port", ["taken", "many", "70000"])
def test_a_port_that_cannot_be_used_is_named_with_its_variable(
    port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        wanted = str(other.getsockname()[1]) if port == "taken" else port
        monkeypatch.setenv(pages.PORT_VARIABLE, wanted)

        with (
            pytest.raises(CodePipelineError, match=f"at 127.0.0.1:{wanted} .* correct {pages.PORT_VARIABLE}"),
            serving_pages(lambda: (True, "")),
        ):
            pass


@pytest.mark.parametrize(
    ("path", "route"),
    [
        (f"/api/flow_runs/{RUN}/input/final-1", "/api/flow_runs/{}/input/{}"),
        ("/api/flow_runs/filter", "/api/flow_runs/filter"),
        (
            "/api/block_types/slug/x/block_documents/name/My-Secret",
            "/api/block_types/slug/{}/block_documents/name/{}",
        ),
        ("/api/deployments/name/pipeline/Acc.90", "/api/deployments/name/{}/{}"),
        ("/tenant-7/api/variables/name/codepipeline-lease-1", "/{}/api/variables/name/{}"),
    ],
)
def test_a_route_has_no_ids_and_no_names_of_users(path: str, route: str) -> None:
    assert route_of(path) == route


def metrics_of(collector: Any) -> dict[str, float]:
    return {sample.name: sample.value for metric in collector.collect() for sample in metric.samples}


def test_the_rounds_of_reconcile_are_told_as_they_are_when_asked() -> None:
    rounds = Rounds(threading.Event())
    busy = [True]
    collector = RoundsCollector(rounds, lambda: busy[0])
    before = metrics_of(collector)
    hour_ago = datetime.now(timezone.utc) - timedelta(hours=1)
    rounds.ended, rounds.seconds, rounds.failed = time.monotonic() - 130, 0.5, 2
    rounds.memory = {
        "open": ("a b c", hour_ago), "approvals a": ("2", hour_ago), "approvals b": ("0", hour_ago - timedelta(hours=1)), "approvals z": ("9", hour_ago),
    }  # fmt: skip

    after = metrics_of(collector)
    busy[0] = False
    waiting = metrics_of(collector)

    assert "codepipeline_reconcile_round_age_seconds" not in before, "there was no round yet"
    assert after["codepipeline_reconcile_round_age_seconds"] == pytest.approx(130, abs=5)
    assert after["codepipeline_reconcile_round_duration_seconds"] == 0.5
    assert after["codepipeline_reconcile_failed_rounds_total"] == 2
    assert after["codepipeline_approvals_open"] == 2, "z has ended, and b waits for something else"
    assert after["codepipeline_approvals_oldest_seconds"] == pytest.approx(3600, abs=60)
    assert waiting["codepipeline_reconcile_busy"] == 0
    assert "codepipeline_approvals_open" not in waiting, "the busy one says it"


def test_a_service_whose_round_hangs_is_not_well() -> None:
    rounds, lease = Rounds(threading.Event()), BusyLease()

    assert health_of(rounds, lease) == (True, "begins")
    rounds.trouble = "Prefect's API did not answer"
    assert health_of(rounds, lease) == (True, "waits for Prefect, or failed: Prefect's API did not answer")
    rounds.began = time.monotonic() - STUCK_SECONDS - 1
    assert not health_of(rounds, lease)[0]


def test_the_metrics_are_named_as_promtool_wants_them() -> None:
    assert executions
    assert workers
    text = generate_latest().decode()

    ours = [each for each in text_string_to_metric_families(text) if each.name.startswith("codepipeline_")]
    assert len(ours) >= 7
    for metric in ours:
        assert re.fullmatch(r"[a-z_]+", metric.name)
        assert metric.documentation.endswith(".")
        assert not metric.name.endswith(("_count", "_sum", "_bucket", "_info")), metric.name
        assert metric.type != "gauge" or not metric.name.endswith("_total"), metric.name
        assert metric.type in ("gauge", "counter", "histogram")
