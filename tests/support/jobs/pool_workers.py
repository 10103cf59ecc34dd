"""Work pools of a test's own, and their workers: processes with folders, a home and caches of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from waiting import until

from prefect_codepipeline.deployments.setup import make_pool
from prefect_codepipeline.engine.executions.lookup import execution_tag
from prefect_codepipeline.engine.pool_runs.asking import TAG
from prefect_codepipeline.engine.pool_runs.pools import find_unserved
from prefect_codepipeline.prefect_api.client import call_all


def count_pool_runs(execution_id: str) -> int:
    """How many flow runs an execution has made for its actions."""
    tags = {"all_": [TAG, execution_tag(execution_id)]}
    return len(call_all("/flow_runs/filter", {"flow_runs": {"tags": tags}}))


class PoolWorker:
    """A worker of a work pool, with the settings of this process for Prefect and nothing else of it."""

    def __init__(self, folder: Path, kind: str = "codepipeline", pool: str | None = None) -> None:
        self.pool = pool or f"pool-{uuid4().hex[:8]}"
        self.kind = kind
        self.folder = folder / f"worker-{uuid4().hex[:8]}"
        self.process: subprocess.Popen[bytes] | None = None
        make_pool(self.pool, kind)

    def start(self) -> PoolWorker:
        """Start it, and wait until it asks for work."""
        self.folder.mkdir()
        kept = ("PATH", "LANG", "PYTHONPATH", "PREFECT_API_URL", "PREFECT_PROFILES_PATH", "NO_PROXY")
        of_folder = ("HOME", "TMPDIR", "PREFECT_HOME", "PREFECT_CODEPIPELINE_HOME")
        environment = {name: os.environ[name] for name in kept if name in os.environ}
        environment |= {name: str(self.folder) for name in of_folder}
        environment |= {
            "PREFECT_CODEPIPELINE_CACHE": str(self.folder / "cache"),
            "PREFECT_CODEPIPELINE_LEASE_SECONDS": os.environ.get("PREFECT_CODEPIPELINE_LEASE_SECONDS", "10"),
            "PREFECT_WORKER_QUERY_SECONDS": "1",  # Prefect's own workers hear of work only when they ask
            "DO_NOT_TRACK": "1",
        }
        start = [sys.executable, "-m", "prefect", "worker", "start"]
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [*start, "--pool", self.pool, "--type", self.kind, "--name", self.folder.name],
                env=environment,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(lambda: find_unserved(self.pool, "default") is None, seen=self.log)
        return self

    def log(self) -> str:
        """What it has said."""
        return (self.folder / "log").read_text(errors="replace")[-3000:]

    def kill(self) -> None:
        """End it and its processes at once, as if the machine had lost its power."""
        if self.process:
            for pid in _processes_of(self.process.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait()

    def stop(self) -> None:
        """End it as an operator does."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()


def _processes_of(pid: int) -> list[int]:
    """A process and all its descendants, the youngest last."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):  # of each thread
            with suppress(OSError):
                found += [int(child) for child in children.read_text().split()]
    return found
