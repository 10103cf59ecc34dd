"""The time and memory to store and fetch an artifact, compared with `tar` in the same run.

    python benchmarks/artifacts.py [--mib 1024] [--files 20000] [--repeat 3] [--folder FOLDER] [--s3]

Each step runs in a separate process, so that its memory can be measured. Before each step all pending writes are flushed to the
disk. `written` is the time until the command ends, `on disk` the time until all data is on the disk. With `--s3` the same tree is
also stored on an S3 server (moto) on this machine and fetched again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

MIB = 1 << 20


class Measure(NamedTuple):
    """Seconds until the command ended, seconds until all data was on the disk, and the peak memory in MiB."""

    written: float
    on_disk: float
    memory: float


def main() -> None:
    arguments = _parser().parse_args()
    if arguments.step:
        print(json.dumps(STEPS[arguments.step](*arguments.places)))
        return
    with tempfile.TemporaryDirectory(prefix="codepipeline-bench-", dir=arguments.folder) as folder:
        tree = Path(folder) / "tree"
        _make_tree(tree, arguments.mib * MIB, arguments.files)
        os.environ["PREFECT_LOGGING_LEVEL"] = "ERROR"
        print(f"a tree of {arguments.mib} MiB in {arguments.files} files; medians of {arguments.repeat}")
        print(f"{'':24} {'written':>9} {'on disk':>9} {'of tar':>8} {'memory':>10}")
        _compare(Path(folder), tree, Path(folder) / "store", arguments.repeat, "local folder")
        if arguments.s3:
            with _s3_server() as url:
                _compare(Path(folder), tree, url, arguments.repeat, "S3")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mib", type=int, default=1024, help="size of the tree")
    parser.add_argument("--files", type=int, default=20_000, help="number of files in the tree")
    parser.add_argument("--repeat", type=int, default=3, help="number of runs; medians are printed")
    parser.add_argument(
        "--folder", type=Path, help="folder on the disk to measure; defaults to the system's temporary folder"
    )
    parser.add_argument("--s3", action="store_true", help="measure an S3 server on this machine, too")
    parser.add_argument("--step", choices=list(STEPS), help=argparse.SUPPRESS)
    parser.add_argument("places", nargs="*", help=argparse.SUPPRESS)
    return parser


def _make_tree(tree: Path, size: int, files: int) -> None:
    """Files of many sizes, a hundred to a folder, one in ten executable."""
    chance = random.Random(20_000)
    weights = [chance.lognormvariate(0, 1) for _ in range(files)]
    unit = size / sum(weights)
    for number, weight in enumerate(weights):
        path = tree / f"package-{number // 100}" / f"module-{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(int(weight * unit)))
        path.chmod(0o755 if number % 10 == 0 else 0o644)


def _compare(folder: Path, tree: Path, store: Path | str, repeat: int, name: str) -> None:
    """Run the four steps in turn, so that the load of the machine is the same for all; print their medians."""
    names = ("tar cf", f"store, {name}", "tar xf", f"fetch, {name}")
    measures: list[list[Measure]] = [[] for _ in names]
    for _ in range(repeat):
        archive, unpacked = folder / "tree.tar", folder / "unpacked"
        unpacked.mkdir()
        measures[0].append(_run_step("tar", "cf", archive, "-C", tree, "."))
        measures[1].append(_run_step("store", store, tree, folder / "stored.json"))
        measures[2].append(_run_step("tar", "xf", archive, "-C", unpacked))
        measures[3].append(_run_step("fetch", store, folder / "stored.json", folder / "fetched"))
        subprocess.run(["diff", "-r", tree, folder / "fetched"], check=True)
        for place in (archive, unpacked, folder / "fetched", store):
            _remove(place)
    medians = [Measure(*map(statistics.median, zip(*column, strict=True))) for column in measures]
    for row, (row_name, measure) in enumerate(zip(names, medians, strict=True)):
        tar = medians[row - row % 2]
        speed = f"{tar.written / measure.written:7.0%}" if row % 2 else ""
        print(
            f"{row_name:24} {measure.written:7.2f} s {measure.on_disk:7.2f} s {speed:>8} {measure.memory:6.0f} MiB"
        )


def _run_step(step: str, *places: object) -> Measure:
    os.sync()
    command = [sys.executable, __file__, "--step", step, "--", *map(str, places)]
    return Measure(*json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))


def _tar(*arguments: str) -> Measure:
    return _timed(lambda: subprocess.run(["tar", *arguments], check=True), resource.RUSAGE_CHILDREN)


def _store(url: str, tree: str, stored: str) -> Measure:
    from prefect_codepipeline.actions.artifacts.storing import store_tree
    from prefect_codepipeline.actions.work import OutputTree
    from prefect_codepipeline.blocks.artifact_store import ArtifactStore

    def work() -> None:
        artifact = store_tree(ArtifactStore(url=url), "Bench", OutputTree(Path(tree)))
        Path(stored).write_text(artifact.model_dump_json())

    return _timed(work)


def _fetch(url: str, stored: str, destination: str) -> Measure:
    from prefect_codepipeline.actions.artifacts.storing import fetch_tree
    from prefect_codepipeline.blocks.artifact_store import ArtifactStore
    from prefect_codepipeline.model.record.artifacts import StoredArtifact

    artifact = StoredArtifact.model_validate_json(Path(stored).read_text())
    return _timed(lambda: fetch_tree(ArtifactStore(url=url), artifact, Path(destination)))


STEPS: dict[str, Callable[..., Measure]] = {"tar": _tar, "store": _store, "fetch": _fetch}


def _timed(work: Callable[[], object], who: int = resource.RUSAGE_SELF) -> Measure:
    start = time.perf_counter()
    work()
    written = time.perf_counter() - start
    os.sync()
    on_disk = time.perf_counter() - start
    unit = 1 if sys.platform == "darwin" else 1024
    return Measure(written, on_disk, resource.getrusage(who).ru_maxrss * unit / MIB)


def _remove(place: Path | str) -> None:
    if isinstance(place, str):
        import s3fs

        s3fs.S3FileSystem().rm(place, recursive=True)
    elif place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink()


@contextmanager
def _s3_server() -> Iterator[str]:
    """A bucket on a server in a separate process, so that the server's memory is not measured."""
    import s3fs

    os.environ.update(
        AWS_ACCESS_KEY_ID="bench", AWS_SECRET_ACCESS_KEY="bench", AWS_DEFAULT_REGION="us-east-1"
    )
    code = (
        "import sys; from moto.server import ThreadedMotoServer; server = ThreadedMotoServer(port=0, verbose=False); "
        "server.start(); print(server.get_host_and_port()[1], flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as server:
        assert server.stdout
        os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{int(server.stdout.readline())}"
        s3fs.S3FileSystem().mkdir("bench")
        yield "s3://bench/artifacts"
        server.terminate()


if __name__ == "__main__":
    main()
