"""The speed of artifacts for workers: boto3's `download_file` and `upload_file` against the gateway, and the gateway's memory.

    python benchmarks/aws_artifacts.py [--mib 1024] [--files 1000] [--folder FOLDER]

The tree is of random bytes, so nothing is won by compression. `first` is the download for which the ZIP archive is made, `again` one
of the archive that was kept. All runs on this machine, so the client's work counts: boto3 hashes each byte twice. The target is
100 MB/s, and less than 100 MB more memory.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
from bench_setup import BIN, DEADLINE_SECONDS, leave, seconds, set_up
from results import record

MIB = 1 << 20
MB = 1_000_000
BUCKET, SOURCE, BUILT = "artifacts", "shop/Source/aaaaaaa", "shop/Built/bbbbbbb"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mib", type=int, default=1024, help="size of the tree")
    parser.add_argument("--files", type=int, default=1000, help="number of its files")
    parser.add_argument("--folder", help="where to write, by default the folder for temporary files")
    arguments = parser.parse_args()
    with (
        set_up(),
        tempfile.TemporaryDirectory(prefix="codepipeline-bench-", dir=arguments.folder) as folder,
        gateway() as (url, pid),
    ):
        measure(Path(folder), url, pid, arguments.mib, arguments.files)
    leave()


def measure(folder: Path, url: str, pid: int, mib: int, files: int) -> None:
    from prefect_codepipeline.actions.artifacts.storing import load_artifact_store, store_tree
    from prefect_codepipeline.actions.work import OutputTree

    make_tree(folder / "tree", mib * MIB, files)
    with zipfile.ZipFile(folder / "out.zip", "w") as packed:
        for path in (folder / "tree").iterdir():
            packed.write(path, path.name)
    stored = store_tree(load_artifact_store(None), "Source", OutputTree(folder / "tree"))
    s3 = worker(url, json.loads(stored.model_dump_json()))
    before = memory(pid)
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak begins anew
    speeds = {}
    for what, work in {
        "download, first": lambda: s3.download_file(BUCKET, SOURCE, str(folder / "in.zip")),
        "download, again": lambda: s3.download_file(BUCKET, SOURCE, str(folder / "in.zip")),
        "upload": lambda: s3.upload_file(str(folder / "out.zip"), BUCKET, BUILT),
    }.items():
        took = seconds(work)
        speeds[what] = mib * MIB / MB / took
        print(f"{what:18} {took:7.2f} s {speeds[what]:8.0f} MB/s", flush=True)
    record("aws-artifact-down", [speeds["download, first"]])
    record("aws-artifact-up", [speeds["upload"]])
    record("aws-artifact-memory", [memory(pid, "VmHWM") - before])


def worker(url: str, source: dict[str, Any]) -> Any:
    import boto3

    from prefect_codepipeline.gateway.aws.signing.job_credentials import JobGrant, issue

    keys = issue(
        JobGrant(
            job_id="benchmark",
            reads={f"/{BUCKET}/{SOURCE}": source},
            writes={f"/{BUCKET}/{BUILT}": "Built"},
            expires=datetime.now(timezone.utc) + timedelta(hours=1),
            pipeline_name="shop",
            definition_id="benchmark",
        )
    )
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=keys["accessKeyId"],
        aws_secret_access_key=keys["secretAccessKey"],
        aws_session_token=keys["sessionToken"],
    )


@contextmanager
def gateway() -> Iterator[tuple[str, int]]:
    """A gateway of its own; its address and its process."""
    from prefect_codepipeline.deployments.local.ports import free_port

    port = free_port()
    process = subprocess.Popen([str(BIN / "codepipeline"), "gateway", "--port", str(port)])
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + DEADLINE_SECONDS
    try:
        while not answers(url):
            if time.monotonic() > deadline or process.poll() is not None:
                raise SystemExit("the gateway does not answer")
            time.sleep(0.1)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait()


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").status_code == 200
    except httpx.TransportError:
        return False


def make_tree(tree: Path, size: int, files: int) -> None:
    tree.mkdir()
    for number in range(files):
        (tree / f"{number:06}.bin").write_bytes(os.urandom(size // files))


def memory(pid: int, field: str = "VmRSS") -> float:
    """In MB."""
    found = re.search(rf"^{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) * 1024 / MB


if __name__ == "__main__":
    main()
