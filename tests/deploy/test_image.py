"""The image of deploy/Dockerfile, built by a real engine: who runs in it, where, and that its parts start."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from waiting import until

from prefect_codepipeline import __version__

pytestmark = [pytest.mark.docker, pytest.mark.live, pytest.mark.long, pytest.mark.timeout(1500)]
ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
OFFICIAL, OWN_BASE = "python:3.12-slim", "localhost/codepipeline-test-base:1"
PACKAGES = "ca-certificates,python3,python3-venv"
BASE_FILE = """\
FROM localhost/codepipeline-test-debian:1
COPY ca.crt /etc/ssl/certs/ca-certificates.crt
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt
"""


def docker(*words: str, check: bool = True) -> str:
    environment = {**os.environ, "DOCKER_BUILDKIT": "0"}  # Debian has no BuildKit
    done = subprocess.run(["docker", *words], env=environment, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, (
        f"docker {' '.join(words)}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    )
    return done.stdout.strip()


def base(tmp_path: Path) -> str:
    """The usual base, or where no registry is reached one of Debian's packages, with this machine's certificates."""
    for name in (OFFICIAL, OWN_BASE):
        if docker("images", "-q", name):
            return name
    if subprocess.run(["docker", "pull", "-q", OFFICIAL], capture_output=True, check=False).returncode == 0:
        return OFFICIAL
    if not shutil.which("mmdebstrap"):
        pytest.skip(f"{OFFICIAL} cannot be pulled, and mmdebstrap is not installed")
    archive = tmp_path / "debian.tar"
    command = [
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        f"--include={PACKAGES}",
        "bookworm",
        str(archive),
    ]
    subprocess.run(command, check=True, timeout=500)
    docker("import", str(archive), "localhost/codepipeline-test-debian:1")
    context = tmp_path / "base"
    context.mkdir()
    (context / "Dockerfile").write_text(BASE_FILE)
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", context / "ca.crt")
    docker("build", "-t", OWN_BASE, str(context))
    return OWN_BASE


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    if not os.environ.get("DOCKER_HOST") or not shutil.which("docker"):
        pytest.skip("no Docker engine")
    tag = f"prefect-codepipeline:{__version__}"
    docker(
        "build", "-f", "deploy/Dockerfile", "--build-arg", f"BASE={base(tmp_path_factory.mktemp('image'))}",
        "-t", tag, str(ROOT),
    )  # fmt: skip
    return tag


@pytest.fixture
def server(image: str) -> Iterator[str]:
    name = f"image-test-{uuid4().hex[:8]}"
    docker(
        "run",
        "-d",
        "--name",
        name,
        "-e",
        "PREFECT_SERVER_API_HOST=0.0.0.0",
        image,
        "prefect",
        "server",
        "start",
    )
    try:
        yield name
    finally:
        docker("rm", "-f", "-v", name, check=False)


def test_it_runs_as_a_user_without_rights_in_an_empty_folder(image: str) -> None:
    said = docker(
        "run",
        "--rm",
        "--read-only",
        image,
        "sh",
        "-c",
        "id -u; pwd; ls -A; git --version; codepipeline --version",
    )
    user, folder, *rest = said.splitlines()
    assert (user, folder) == ("10001", "/work")
    assert rest[0].startswith("git version")
    assert rest[1] == __version__


def test_it_has_what_each_part_needs_and_nothing_of_the_tests(image: str) -> None:
    script = """
import importlib.util, sys
needed = ["boto3", "s3fs", "prefect_redis", "prefect_kubernetes", "opentelemetry.sdk", "prefect_codepipeline.deployments.worker"]
print([name for name in needed if not importlib.util.find_spec(name)])
print([name for name in ("pytest", "moto", "pip", "setuptools") if importlib.util.find_spec(name)])
"""
    assert docker("run", "--rm", image, "python3", "-c", script).splitlines() == ["[]", "[]"]
    assert (
        docker(
            "run", "--rm", image, "sh", "-c", "find / -xdev -name secrets -path '*deploy*' 2>/dev/null; true"
        )
        == ""
    )


def test_the_server_becomes_healthy_and_can_be_set_up(server: str) -> None:
    until(lambda: health(server) == "healthy", 240, lambda: docker("logs", server)[-2000:])
    environment = ["-e", "PREFECT_API_URL=http://127.0.0.1:4200/api"]
    said = docker(
        "exec", *environment, server, "codepipeline", "setup", "--pool", "k8s", "--type", "kubernetes"
    )
    assert re.search(
        rf"work pool 'k8s': created, type kubernetes, image prefect-codepipeline:{__version__}", said
    )


class Terminal:
    """Commands of this machine, for the server in a container."""

    def __init__(self, server: str, folder: Path) -> None:
        until(lambda: health(server) == "healthy", 240, lambda: docker("logs", server)[-2000:])
        address = docker("inspect", "-f", "{{.NetworkSettings.IPAddress}}", server)
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")},
            "PREFECT_API_URL": f"http://{address}:4200/api",
            "PREFECT_HOME": str(folder / "prefect"),
            "HOME": str(folder),
            "NO_PROXY": "*",
        }

    def run(self, *words: str) -> str:
        command = [str(BIN / words[0]), *words[1:]]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout


def health(name: str) -> str:
    return docker("inspect", "-f", "{{.State.Health.Status}}", name)


def test_the_example_runs_in_containers_of_a_pool_of_type_docker(
    image: str, server: str, tmp_path: Path
) -> None:
    """Each process of the execution is a container, which shares a folder with the others and has no checkout."""
    terminal = Terminal(server, tmp_path)
    shared = tmp_path / "shared"
    repository = shared / "git/examples/hello"
    shutil.copytree(ROOT / "examples/hello", repository)
    git = ["git", "-C", str(repository), "-c", "user.name=T", "-c", "user.email=t@example.invalid"]
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "Hello"]):
        subprocess.run([*git, *words], check=True)
    subprocess.run(["chown", "-R", "10001:10001", str(shared)], check=True)
    definition = json.loads((ROOT / "examples/hello/pipeline.json").read_text())["pipeline"]
    arn = definition["stages"][0]["actions"][0]["configuration"]["ConnectionArn"]

    terminal.run(
        "codepipeline", "setup", "--pool", "containers", "--type", "docker", "--image", image,
        "--store", "/shared/artifacts",
    )  # fmt: skip
    url = "/shared/git/{FullRepositoryId}"
    terminal.run("codepipeline", "connection", "add", "examples", "--url", url, "--arn", arn)
    variables = f'volumes=["{shared}:/shared"]'
    definition_file = str(ROOT / "examples/hello/pipeline.json")
    terminal.run(
        "codepipeline", "deploy", definition_file, "--pool", "containers", "--job-variable", variables
    )
    with (tmp_path / "worker.log").open("wb") as log:
        worker = subprocess.Popen(
            [str(BIN / "prefect"), "worker", "start", "--pool", "containers", "--type", "docker"],
            env=terminal.environment, stdout=log, stderr=log, cwd=tmp_path, start_new_session=True,
        )  # fmt: skip
    try:
        publish_to = "PublishTo=/shared/production"
        terminal.run("codepipeline", "start", "hello", "--variable", publish_to, "--watch", "--approve")
        assert (shared / "production/current/release.json").exists()
        ran = docker("ps", "-a", "--filter", "label=io.prefect.deployment-name=hello", "-q").split()
        assert len(ran) >= 2, "before and after the approval"
    finally:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
        if left := docker("ps", "-aq", "--filter", "label=io.prefect.flow-run-id").split():
            docker("rm", "-f", "-v", *left, check=False)
