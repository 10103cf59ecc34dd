"""A worker serves how many flow runs it has, as long as it runs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from prefect_codepipeline.deployments.observing import pages
from prefect_codepipeline.deployments.worker.execution import Executions, Launch
from prefect_codepipeline.deployments.worker.fork_client import ForkClient
from prefect_codepipeline.deployments.worker.worker import _Pages


def test_a_worker_says_how_many_flow_runs_it_has(
    free_tcp_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(pages.PORT_VARIABLE, str(free_tcp_port))
    address = f"http://127.0.0.1:{free_tcp_port}"

    async def served() -> tuple[str, str]:
        executions = Executions(ForkClient())
        async with _Pages(executions):
            for _ in range(2):
                executions.launches[uuid4()] = Launch({}, str(tmp_path), False, None, None)
            async with httpx.AsyncClient() as http:
                health, metrics = [await http.get(f"{address}/{page}") for page in ("health", "metrics")]
        return health.text, metrics.text

    health, metrics = asyncio.run(served())

    assert health == "ok: runs 2 flow runs\n"
    assert "codepipeline_worker_flow_runs 2.0\n" in metrics
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{address}/health")
