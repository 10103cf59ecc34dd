"""`codepipeline reconcile`: one of several is busy, another takes its place, and it waits for a server that is away."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from commands import MAIN
from pool_workers import PoolWorker
from waiting import until

from prefect_codepipeline.deployments.create import deploy_pipeline, start_pipeline_execution
from prefect_codepipeline.deployments.reconciling import busy_lease
from prefect_codepipeline.deployments.reconciling.busy_lease import BusyLease
from prefect_codepipeline.engine.executions.record import utc_now
from prefect_codepipeline.flows.reconcile import reconcile_once
from prefect_codepipeline.model.record.facts import ApprovalDecided, ProcessStarted
from prefect_codepipeline.prefect_api.client import call

pytestmark = pytest.mark.live


class Service:
    """A `codepipeline reconcile`, and what it says of itself."""

    def __init__(self, folder: Path, every: str = "0.2", **environment: str) -> None:
        self._log = folder / f"reconcile-{len(list(folder.iterdir()))}.log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", MAIN, "reconcile", "--every", every, "--no-poll"],
                cwd=folder,
                env={**os.environ, "PREFECT_CODEPIPELINE_METRICS_PORT": "0", **environment},
                stderr=log,
            )
        until(self._address, seen=self.log)

    def log(self) -> str:
        return self._log.read_text()

    def _address(self) -> str | None:
        found = re.search(r"/metrics at (http:\S+)", self.log())
        return found[1] if found else None

    def health(self) -> tuple[int, str]:
        answer = httpx.get(f"{self._address()}/health")
        return answer.status_code, answer.text

    def says(self, sentence: str) -> None:
        until(lambda: sentence in self.health()[1], seen=lambda: (self.health(), self.log()))
        assert self.health()[0] == 200

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


@pytest.fixture
def start(prefect_server: str, tmp_path: Path) -> Iterator[Any]:
    started: list[Service] = []

    def start(**options: str) -> Service:
        started.append(Service(tmp_path, **options))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.end(signal.SIGKILL)


@contextmanager
def reached_through(listener: socket.socket, target: tuple[str, int]) -> Iterator[None]:
    """Pass what arrives at a socket on to a server, which answers to its own name only."""
    names = [f"Host: 127.0.0.1:{port}\r\n".encode() for port in (listener.getsockname()[1], target[1])]

    def copy(source: socket.socket, sink: socket.socket) -> None:
        with source, sink:
            while part := source.recv(1 << 16):
                sink.sendall(re.sub(re.escape(names[0]), names[1], part, flags=re.IGNORECASE))

    def serve() -> None:
        while True:
            try:
                incoming, _ = listener.accept()
            except OSError:
                return
            outgoing = socket.create_connection(target)
            for pair in ((incoming, outgoing), (outgoing, incoming)):
                threading.Thread(target=copy, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield
    listener.close()


@pytest.mark.long
def test_one_service_is_busy_and_another_takes_its_place_at_once(start: Any) -> None:
    first = start()
    first.says("reconciles; the last round ended")
    second = start()
    second.says(f"waits: {socket.gethostname()} (process {first.process.pid}) reconciles")

    assert first.end(signal.SIGTERM) == 0

    second.says("reconciles; the last round ended")
    assert second.end(signal.SIGINT) == 0
    assert call("GET", f"/variables/name/{busy_lease.NAME}", expected=(404,))[0] == 404


@pytest.mark.long
def test_a_service_waits_for_a_server_that_is_away(start: Any, prefect_server: str) -> None:
    server = urlsplit(prefect_server)
    assert server.hostname
    assert server.port
    with socket.socket() as closed:  # bound, and nobody listens yet
        closed.bind(("127.0.0.1", 0))
        service = start(PREFECT_API_URL=f"http://127.0.0.1:{closed.getsockname()[1]}/api")
        service.says("waits for Prefect, or failed: Prefect's API at")
        closed.listen()
        with reached_through(closed, (server.hostname, server.port)):
            service.says("reconciles; the last round ended")
            assert service.end(signal.SIGTERM) == 0
    assert service.log().count("did not answer") == 1


def test_the_lease_of_a_silent_holder_is_taken_by_one_of_those_that_wait(
    prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, alive, late = BusyLease(), BusyLease(), BusyLease()
    for each in (dead, alive, late):
        each.take_or_renew()
    assert [each.is_held for each in (dead, alive, late)] == [True, False, False]
    monkeypatch.setattr(busy_lease, "SILENCE_SECONDS", -5)  # the server's clock is told in whole seconds

    alive.take_or_renew()

    monkeypatch.undo()
    for each in (late, dead):  # the holder that was silent learns that it is not the holder
        each.take_or_renew()
    assert [each.is_held for each in (dead, alive, late)] == [False, True, False]
    alive.give_back()
    late.take_or_renew()
    assert late.is_held
    late.give_back()


def test_a_stop_ends_a_round_between_two_steps(prefect_server: str) -> None:
    asked: list[bool] = []

    def is_stopped() -> bool:
        asked.append(len(asked) >= 2)
        return asked[-1]

    reconcile_once(is_stopped=is_stopped)

    assert asked == [False, False, True]


@pytest.mark.long
@pytest.mark.timeout(540)
def test_it_is_in_time_on_a_machine_that_deployed_nothing_while_every_slot_is_taken(
    world: Any, start: Any, tmp_path: Path
) -> None:
    """The session's worker has four slots. AWS lets no approval expire before five minutes."""
    go = tmp_path / "go"
    approval = {**world.action("Ok", category="Approval"), "timeoutInMinutes": 5}
    waiting = world.suspended(world.start(world.declare([approval])))
    expires_at = waiting.state.open_approvals[0][1].request.expires_at
    busy, lost = (_another(world, tmp_path / name) for name in ("busy", "lost"))
    deploy_pipeline(busy.declare([busy.action("Work", Until=go)], executionMode="PARALLEL"))
    slots = [start_pipeline_execution(busy.name, {}, {}, "tester") for _ in range(4)]
    for each in slots:
        busy.wait(each, lambda _, each=each: "S1/Work" in busy.ran(each))
    workers = [PoolWorker(tmp_path).start()]
    deploy_pipeline(lost.declare([lost.action("Work", Until=go)]), workers[0].pool)
    execution = start_pipeline_execution(lost.name, {}, {}, "tester")
    lost.wait(execution, lambda _: "S1/Work" in lost.ran(execution))
    folders = ("HOME", "PREFECT_HOME", "PREFECT_CODEPIPELINE_HOME", "PREFECT_CODEPIPELINE_ARTIFACTS")
    start(every="5", **{name: str(tmp_path / "elsewhere") for name in folders})
    try:
        workers.append(PoolWorker(tmp_path, pool=workers[0].pool).start())
        killed = utc_now()
        workers[0].kill()
        known = lost.wait(execution, lambda known: len(_of(known, ProcessStarted)) > 1)
        assert (_of(known, ProcessStarted)[1].at - killed).total_seconds() < 75
        known = world.wait(waiting.id, lambda known: _of(known, ApprovalDecided), 330)
        assert 0 <= (_of(known, ApprovalDecided)[0].at - expires_at).total_seconds() < 15
    finally:
        go.touch()
        ended = [busy.ended(each).status for each in slots]
        for worker in workers:
            worker.stop()
    assert ended == ["Succeeded"] * 4


def _another(world: Any, folder: Path) -> Any:
    folder.mkdir()
    return type(world)(folder)


def _of(known: Any, kind: type) -> list[Any]:
    return [fact for fact in known.facts if isinstance(fact, kind)]
