"""A worker keeps the caches of its machine small enough, as long as it runs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from prefect_codepipeline.deployments.worker import worker
from prefect_codepipeline.engine.retention.caches import GIB_VARIABLE


def test_a_worker_goes_on_with_the_caches_after_it_could_not_make_them_smaller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PREFECT_CODEPIPELINE_CACHE", str(tmp_path))
    monkeypatch.setenv(GIB_VARIABLE, "much")
    monkeypatch.setattr(worker, "_CACHES_SECONDS", 0.01)
    archive = tmp_path / "artifacts" / "zips" / "b.zip"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"x")

    async def prune() -> None:
        caches = asyncio.create_task(worker._prune_caches())
        async with asyncio.timeout(60):
            while "could not be made smaller" not in caplog.text:
                await asyncio.sleep(0.01)
            monkeypatch.setenv(GIB_VARIABLE, "0")
            while archive.exists():
                await asyncio.sleep(0.01)
        caches.cancel()

    asyncio.run(prune())

    assert GIB_VARIABLE in caplog.text
