"""Many old executions that share trees, while others run: nothing needed is removed, and all else is.

`CODEPIPELINE_TEST_OLD=2000` makes it as large as a year of a busy pipeline. The short tests of the same are in `test_prune`.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.blocks.core import Block
from waiting import until

from prefect_codepipeline.blocks.retention import Retention
from prefect_codepipeline.deployments.create import start_pipeline_execution
from prefect_codepipeline.engine.executions.record import RecordOf, utc_now
from prefect_codepipeline.engine.retention.pace import Pace
from prefect_codepipeline.engine.retention.prune import Pruned, prune
from prefect_codepipeline.flows.reconcile import reconcile_once
from prefect_codepipeline.model.names import slug
from prefect_codepipeline.model.record.artifacts import StoredArtifact
from prefect_codepipeline.model.record.facts import ActionFinished, ExecutionPinned, StageFinished
from prefect_codepipeline.prefect_api.client import call, call_all
from prefect_codepipeline.prefect_api.leases import server_time
from prefect_codepipeline.prefect_api.together import together
from prefect_codepipeline.prefect_api.variables import read_variable

pytestmark = [pytest.mark.live, pytest.mark.long]
OLD = int(os.environ.get("CODEPIPELINE_TEST_OLD") or 160)
TREES, RUNNING = OLD // 4, 20 if OLD >= 2000 else 4
YEAR, DAY = timedelta(days=366), timedelta(days=1, minutes=1)
PRUNE = """
from datetime import timedelta
from prefect_codepipeline.engine.retention.pace import Pace
from prefect_codepipeline.engine.retention.prune import prune
from prefect_codepipeline.prefect_api.leases import server_time
prune(now=server_time() + timedelta(days={days}), pace=Pace(per_second={per_second}))
"""


class _Died(BaseException):
    """The process is killed."""


def digest(number: int) -> str:
    return hashlib.sha256(str(number % TREES).encode()).hexdigest()


def tree(number: int) -> StoredArtifact:
    return StoredArtifact(name="Out", sha256=digest(number), size=1, files=1)


def trees(store: Path) -> set[str]:
    return {path.stem for path in store.glob("trees/*/*.tar")}


def ids_of(pipeline: str) -> set[str]:
    wanted = {"flow_runs": {"tags": {"all_": ["codepipeline", f"pipeline:{pipeline}"]}}}
    return {run["id"] for run in call_all("/flow_runs/filter", wanted)}


def add_ended(pipeline: str, number: int) -> str:
    """An execution of long ago: its flow run and the facts that retention looks at."""
    flow = call("POST", "/flows/", {"name": "pipeline"})[1]["id"]
    tags = ["codepipeline", f"pipeline:{pipeline}"]
    body = {"flow_id": flow, "tags": tags, "state": {"type": "FAILED"}}
    execution_id = str(call("POST", "/flow_runs/", body)[1]["id"])
    record, now = RecordOf(execution_id), utc_now()
    pinned = ExecutionPinned(
        at=now, pipeline_name=pipeline, pipeline_version=1, definition_id="0", variables={}, source_revisions={},
        trigger_type="Webhook",
    )  # fmt: skip
    identity = {"stage": "Source", "action": "Src", "attempt": 1, "action_execution_id": "x"}
    done = ActionFinished(
        at=now, **identity, status="Succeeded", output_artifacts=[tree(number), tree(7 * number + 1)]
    )
    end = StageFinished(at=now, stage="Source", attempt=1, status="Failed")
    for fact in (pinned, done, end):
        record.write(fact)
    return execution_id


@pytest.fixture
def kept_for_ever(world: Any) -> Iterator[str]:
    """A pipeline with a block of its own."""
    name = f"{world.name}.kept"
    Retention(execution_days=None).save(slug(name))
    yield name
    block: Any = Block
    block.delete(f"pipeline-retention/{slug(name)}")


def test_nothing_needed_is_removed_and_all_else_is(
    world: Any, kept_for_ever: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, go = Path(os.environ["PREFECT_CODEPIPELINE_ARTIFACTS"]), world.folder / "go"
    for number in range(TREES):
        file = store / "trees" / digest(number)[:2] / f"{digest(number)}.tar"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")
    old = set(together([lambda number=n: add_ended(world.name, number) for n in range(OLD)]))
    some = range(0, OLD, 10)
    kept = set(together([lambda number=n: add_ended(kept_for_ever, number) for n in some]))
    needed = {digest(number) for n in some for number in (n, 7 * n + 1)}
    # Those that run have trees that an ended one has, too.
    source = world.action("Src", category="Source", Output="the same", OutputName="file")
    source["outputArtifacts"] = [{"name": "Src"}]
    last = {**world.action("Last", 2), "inputArtifacts": [{"name": "Src"}]}
    declared = world.declare([world.action("Hold", 1, Until=go), last])
    declared = type(declared).model_validate(
        {
            **declared.model_dump(mode="json", by_alias=True, exclude_none=True),
            "executionMode": "PARALLEL",
            "stages": [
                {"name": "Source", "actions": [source]},
                {"name": "S1", "actions": [world.action("Hold", 1, Until=go), last]},
            ],
        }
    )
    running = [world.start(declared)]
    running += [start_pipeline_execution(world.name, {}, {}, "tester") for _ in range(RUNNING - 1)]
    until(lambda: "S1/Hold" in world.ran(running[0]), seconds=60)

    _kill_a_round(world.name, YEAR, len(old) // 2 + RUNNING)
    assert 0 < len(ids_of(world.name) & old) < len(old)
    _prune(YEAR)
    assert ids_of(world.name) & old == set()
    assert set(running) <= ids_of(world.name)
    assert kept <= ids_of(kept_for_ever)

    for after in (3, 9, 40):
        left = [after]

        def die(self: _Counting, requests: int = 1, left: list[int] = left) -> None:
            left[0] -= 1
            if not left[0]:
                raise _Died

        with monkeypatch.context() as killing:
            killing.setattr(_Counting, "wait", die)
            with pytest.raises(_Died):
                _prune(YEAR + DAY)
    _prune(YEAR + DAY)
    everything = {digest(number) for number in range(TREES)}
    assert trees(store) & everything == needed & everything
    assert 0 < len(needed & everything) < TREES

    go.touch()
    ends = [world.ended(each) for each in running]
    assert [each.state.summary for each in ends if each.status != "Succeeded"] == []
    assert _prune(YEAR + 2 * DAY).executions >= RUNNING - 1


class _Counting(Pace):
    """As fast as it goes, and how many requests that took."""

    def __init__(self) -> None:
        super().__init__(per_second=100_000)
        self.requests = 0

    def wait(self, requests: int = 1) -> None:
        self.requests += requests
        super().wait(requests)


def _prune(later: timedelta) -> Pruned:
    pace, began = _Counting(), time.monotonic()
    done = prune(now=server_time() + later, pace=pace)
    assert done
    print(f"{time.monotonic() - began:.1f} s, {pace.requests} requests:", done)  # shown by -s
    return done


def _kill_a_round(pipeline: str, later: timedelta, left: int) -> None:
    """Start a round in a process of its own, and kill that when only so many executions are left."""
    program = PRUNE.format(days=later.days, per_second=400)
    with subprocess.Popen([sys.executable, "-c", program], start_new_session=True) as process:
        until(lambda: len(ids_of(pipeline)) <= left or process.poll() is not None, seconds=max(120, OLD / 4))
        assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
    assert prune(now=server_time() + later) is None
    # Its lease is that of a dead process. At a later time than now all executions would count as dead.

    def is_gone() -> bool:
        reconcile_once()
        return read_variable("codepipeline-lease-retention") is None

    until(is_gone, seconds=180)
