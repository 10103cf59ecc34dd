"""Another machine takes a store in a folder only if it is the same folder; and it does not run Windows."""

from __future__ import annotations

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from prefect_codepipeline.blocks.artifact_store import ArtifactStore
from prefect_codepipeline.deployments.worker.worker import CodePipelineWorker
from prefect_codepipeline.engine.pool_runs.asking import place_of_store
from prefect_codepipeline.engine.pool_runs.running import check_machine, open_store
from prefect_codepipeline.errors import ActionFailed, CodePipelineError


def test_a_folder_that_both_share_is_used(tmp_path: Path) -> None:
    store = ArtifactStore(url=str(tmp_path / "store"))

    assert open_store(place_of_store(store, None)).url == store.url


def test_a_folder_at_the_same_path_of_another_machine_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    place = place_of_store(ArtifactStore(url=str(folder)), None).model_copy(update={"host": "laptop"})

    shutil.rmtree(folder)  # what another machine has there: nothing
    with pytest.raises(
        ActionFailed,
        match=r"is the folder .*/store of machine 'laptop', which machine .* does not share; use",
    ):
        open_store(place)
    place_of_store(ArtifactStore(url=str(folder)), None)  # or a store of its own
    with pytest.raises(ActionFailed, match="does not share"):
        open_store(place)


def test_processes_that_mark_a_folder_at_once_agree(tmp_path: Path) -> None:
    store = ArtifactStore(url=str(tmp_path / "store"))
    with ThreadPoolExecutor(8) as threads:
        marks = {place.mark for place in threads.map(lambda _: place_of_store(store, None), range(32))}

    assert len(marks) == 1
    assert [path.name for path in (tmp_path / "store").iterdir()] == [".store-id"]


def test_an_object_store_is_found_by_its_block() -> None:
    place = place_of_store(ArtifactStore(url="s3://bucket/prefix"), "shared")

    assert (place.block, place.folder, place.mark) == ("shared", None, None)


def test_windows_is_refused_with_the_reason() -> None:
    check_machine("linux")
    with pytest.raises(
        ActionFailed, match="do not run on Windows: the processes that an action starts could outlive it"
    ):
        check_machine("win32")


def test_a_warm_worker_on_windows_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = CodePipelineWorker("any")
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(CodePipelineError, match="cannot run on Windows, which cannot fork"):
        worker.setup().send(None)


def test_flow_and_worker_are_imported_where_there_is_no_posix() -> None:
    """Else a worker on Windows could not say why it is refused."""
    program = (
        "import sys, prefect, fsspec, platformdirs\n"
        "sys.modules.update(dict.fromkeys(['fcntl', 'pwd', 'grp', 'resource', 'termios']))\n"
        "import prefect_codepipeline.flows.action, prefect_codepipeline.deployments.worker.worker"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
