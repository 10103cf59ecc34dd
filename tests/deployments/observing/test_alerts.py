"""The alerts and the dashboard ask for metrics that exist, and the alerts fire when they should."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, generate_latest

from prefect_codepipeline.deployments.observing import executions, routes, workers
from prefect_codepipeline.deployments.observing.rounds import RoundsCollector
from prefect_codepipeline.deployments.reconciling.rounds import Rounds

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy" / "prometheus"
PROMTOOL = shutil.which("promtool") or ""
needs_promtool = pytest.mark.skipif(not PROMTOOL, reason="promtool, of Prometheus, is not installed")


@pytest.fixture
def exposed() -> Iterator[str]:
    """What all processes together expose."""
    assert all((executions, routes, workers))
    rounds = Rounds(threading.Event())
    rounds.ended = time.monotonic()
    collector = RoundsCollector(rounds, lambda: True)
    collector.register()
    yield generate_latest().decode()
    REGISTRY.unregister(collector)


def metrics_in(text: str) -> set[str]:
    """The families of metrics that a text names."""
    found = set(re.findall(r"\bcodepipeline_[a-z_]+[a-z]", text))
    return {re.sub(r"_(total|bucket|count|sum)$", "", name) for name in found}


@pytest.mark.parametrize(
    "path",
    [FOLDER / "alerts.yaml", FOLDER / "dashboard.json", ROOT / "docs" / "monitoring.md"],
    ids=lambda path: path.name,
)
def test_only_metrics_that_exist_are_asked_for(path: Path, exposed: str) -> None:
    known = metrics_in(exposed)

    asked = metrics_in(path.read_text()) - {
        "codepipeline_reconcile_round"
    }  # of an expression for two of them

    assert asked
    assert asked - known == set()


def test_each_metric_is_explained(exposed: str) -> None:
    assert metrics_in(exposed) - metrics_in((ROOT / "docs" / "monitoring.md").read_text()) == set()


def test_the_dashboard_has_a_query_in_each_panel() -> None:
    panels = json.loads((FOLDER / "dashboard.json").read_text())["panels"]

    assert len({panel["id"] for panel in panels}) == len(panels) > 8
    assert all(panel["targets"][0]["expr"] for panel in panels)


@needs_promtool
def test_promtool_finds_nothing_wrong_with_the_metrics(exposed: str) -> None:
    ours = "".join(line for line in exposed.splitlines(True) if "codepipeline_" in line)

    done = subprocess.run(
        [PROMTOOL, "check", "metrics"], input=ours, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_promtool
def test_each_alert_fires_when_it_should(tmp_path: Path) -> None:
    for path in (FOLDER / "alerts.yaml", ROOT / "tests" / "data" / "alerts-test.yaml"):
        shutil.copy(path, tmp_path)

    command = [PROMTOOL, "test", "rules", "alerts-test.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
