"""Builds, compared with the simplest commands that do the same.

    python benchmarks/builds.py [--image localhost/bb:latest]

Ten trivial commands: `sh` on the host and a buildspec; `docker run` and a buildspec in a container. A source tree of 20,000 files
that is passed to a container and collected again: `docker run -v` with `tar`, and a build with artifacts. Without an engine or
the image, the measurements with containers are left out.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

ROUNDS = 7
COMMANDS = [f"echo {number}; export V{number}={number}" for number in range(10)]
FILES = 20_000
_numbers = count()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--image", default="localhost/bb:latest")
    image = parser.parse_args().image
    with tempfile.TemporaryDirectory(prefix="codepipeline-bench-") as temporary:
        folder = Path(temporary)
        source = folder / "source"
        source.mkdir()
        script = "\n".join(COMMANDS)
        spec = _spec(COMMANDS)
        _compare(
            "ten commands on the host",
            ("sh", lambda: subprocess.run(["sh", "-c", script], check=True, capture_output=True)),
            ("buildspec", lambda: _build(spec, folder, source, None)),
        )
        if not _has(image):
            print(f"no container engine with the image {image}: measurements with containers are left out")
            return
        _compare(
            "ten commands in a container",
            ("docker run", lambda: _docker_run(image, script)),
            ("buildspec", lambda: _build(spec, folder, source, image)),
        )
        _grow(source)
        _compare(
            f"{FILES} files in and out",
            ("docker run -v, tar", lambda: _docker_tar(image, source, folder)),
            (
                "buildspec",
                lambda: _pack(_build(_spec(["true"], artifacts=True), folder, source, image), folder),
            ),
            rounds=3,
        )


def _compare(what: str, *ways: tuple[str, Callable[[], object]], rounds: int = ROUNDS) -> None:
    took: dict[str, list[float]] = {name: [] for name, _ in ways}
    for _ in range(rounds):
        for name, work in ways:
            start = time.perf_counter()
            work()
            took[name].append(time.perf_counter() - start)
    (plain, first), (_, ours) = ((name, statistics.median(each)) for name, each in took.items())
    print(
        f"{what:28} {plain} {first:.3f} s, ours {ours:.3f} s: {ours - first:+.3f} s, {ours / first:.2f} times "
        f"(medians of {rounds})",
        flush=True,
    )


def _spec(commands: list[str], artifacts: bool = False) -> object:
    from prefect_codepipeline.model.buildspec.parsing import parse_buildspec

    data: dict[str, object] = {"version": "0.2", "phases": {"build": {"commands": commands}}}
    if artifacts:
        data["artifacts"] = {"files": ["**/*"]}
    spec, problems = parse_buildspec(data)
    assert spec, problems
    return spec


def _build(spec: object, folder: Path, source: Path, image: str | None) -> object:
    from prefect_codepipeline.actions.codebuild.build.running import Build, run_build
    from prefect_codepipeline.actions.commands.containers import Compute, ContainerOptions, container_engine
    from prefect_codepipeline.actions.registry import ActionContext
    from prefect_codepipeline.actions.work import InputTree
    from prefect_codepipeline.model.definition.action_settings import ActionSettings
    from prefect_codepipeline.model.definition.declaration import ActionDeclaration, ActionTypeId

    scratch = folder / f"scratch-{next(_numbers)}"
    scratch.mkdir()
    kind = ActionTypeId(category="Build", owner="AWS", provider="CodeBuild", version="1")
    logger = logging.getLogger("bench")
    logger.addHandler(logging.NullHandler())
    context = ActionContext(
        pipeline_name="bench",
        pipeline_execution_id="e",
        stage_name="Build",
        action=ActionDeclaration(name="Build", action_type_id=kind),
        action_execution_id="a",
        scratch=scratch,
        deadline=time.monotonic() + 300,
        input_artifacts=(InputTree("Source", source),),
        settings=ActionSettings(run_on="docker", image=image) if image else ActionSettings(run_on="host"),
        logger=logger,
    )
    with container_engine(context, Compute(), ContainerOptions(as_root=True, fall_back=False)) as engine:
        result = run_build(Build(spec, outputs=["Out"]), context, engine)
    assert result.failure is None, result.failure
    return result


def _pack(result: object, folder: Path) -> None:
    """Pack an output artifact, as the engine does."""
    from prefect_codepipeline.actions.artifacts.archive_packing import pack
    from prefect_codepipeline.blocks.artifact_store import ArtifactStore

    tree = result.output_artifacts["Out"]
    pack(tree, folder / f"archive-{next(_numbers)}", ArtifactStore(url=str(folder / "store")))


def _has(image: str) -> bool:
    import docker

    try:
        docker.from_env().images.get(image)
    except docker.errors.DockerException:
        return False
    return True


def _docker_run(image: str, script: str) -> None:
    import docker

    docker.from_env().containers.run(image, ["sh", "-c", script], remove=True)


def _docker_tar(image: str, source: Path, folder: Path) -> None:
    import docker

    volumes = {str(source): {"bind": str(source), "mode": "rw"}}
    docker.from_env().containers.run(image, ["true"], remove=True, volumes=volumes, working_dir=str(source))
    archive = folder / f"plain-{next(_numbers)}.tar.gz"
    subprocess.run(["tar", "-czf", archive, "-C", source, "."], check=True)


def _grow(source: Path) -> None:
    for number in range(FILES):
        place = source / f"d{number % 200}"
        place.mkdir(exist_ok=True)
        (place / f"f{number}.txt").write_text(f"file {number}\n" * 20)


if __name__ == "__main__":
    main()
