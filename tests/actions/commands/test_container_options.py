"""Builds in containers of a real engine: as root, as other users, with privileges, far away."""

from __future__ import annotations

import io
import json
import logging
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tarfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from textwrap import dedent

import pytest

from prefect_codepipeline.actions.codebuild.build.buildspec_files import read_buildspec
from prefect_codepipeline.actions.codebuild.build.cache import cache_place
from prefect_codepipeline.actions.codebuild.build.running import Build, BuildResult, run_build
from prefect_codepipeline.actions.commands.containers import (
    LABEL,
    Compute,
    ContainerOptions,
    container_engine,
)
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.actions.work import InputTree
from prefect_codepipeline.errors import ActionAbandoned, ActionFailed
from prefect_codepipeline.model.definition.action_settings import ActionSettings
from prefect_codepipeline.model.definition.declaration import ActionDeclaration

IMAGE = "localhost/bb:latest"
pytestmark = pytest.mark.docker


@pytest.fixture
def client():
    if not os.environ.get("DOCKER_HOST"):
        pytest.skip("DOCKER_HOST names no Docker engine")
    import docker

    try:
        client = docker.from_env()
        client.images.get(IMAGE)
    except docker.errors.DockerException as error:
        pytest.skip(f"no Docker engine with {IMAGE}: {error}")
    yield client
    client.close()


class Builder:
    """Builds of one source in containers, each with a scratch directory of its own."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self.source = folder / "source"
        self.source.mkdir(exist_ok=True)
        self.lines: list[str] = []
        self.image = IMAGE

    def context(self, seconds: float = 60, report=lambda *_, **__: None) -> ActionContext:
        logger = logging.Logger("build", logging.INFO)
        logger.addFilter(lambda record: bool(self.lines.extend(record.getMessage().split("\n"))))
        scratch = self.folder / f"scratch-{len(list(self.folder.glob('scratch-*')))}"
        scratch.mkdir()
        kind = {"category": "Build", "owner": "AWS", "provider": "CodeBuild", "version": "1"}
        return ActionContext(
            pipeline_name=self.name,
            pipeline_execution_id="e1",
            stage_name="Build",
            action=ActionDeclaration.model_validate({"name": "Build", "actionTypeId": kind}),
            action_execution_id="a1",
            scratch=scratch,
            deadline=time.monotonic() + seconds,
            input_artifacts=(InputTree("Source", self.source),),
            settings=ActionSettings(run_on="docker", image=self.image),
            logger=logger,
            report_progress=report,
        )

    def run(
        self, text: str, context: ActionContext | None = None, cache: str | None = None, **options
    ) -> BuildResult:
        context = context or self.context()
        spec = read_buildspec(dedent(text), self.source, context)
        wanted = ContainerOptions(**{"as_root": True, "fall_back": False, **options})
        place = cache_place("app", cache) if cache else None
        with container_engine(context, Compute(), wanted) as engine:
            return run_build(Build(spec, spec.env.variables, outputs=["Out"], cache=place), context, engine)

    @property
    def printed(self) -> list[str]:
        return [line for line in self.lines if not line.startswith(("$ ", "Phase ", "Running in", "Cache:"))]


@pytest.fixture
def builder(client, tmp_path, request) -> Builder:
    return Builder(tmp_path, request.node.name)


def left_over(client, builder: Builder) -> list[str]:
    found = client.containers.list(
        all=True, filters={"label": f"{LABEL}.pipeline={builder.name}"}, ignore_removed=True
    )
    return [each.name for each in found]


def commands(*lines: str) -> str:
    return json.dumps({"version": "0.2", "phases": {"build": {"commands": list(lines)}}})


def test_a_build_is_root_in_its_container_with_the_image_s_home(builder, client):
    result = builder.run(
        commands(
            "id -u", "cd ~ && pwd", "chown 12 $CODEBUILD_SRC_DIR && echo changed", "ls $CODEBUILD_SRC_DIR"
        )
    )

    assert result.failure is None
    assert builder.printed[0] == "0"
    assert builder.printed[2] == "changed"
    assert left_over(client, builder) == []


def test_a_phase_runs_as_another_user_of_the_image(builder):
    result = builder.run(
        """
        version: 0.2
        env: {exported-variables: [WHO]}
        phases:
          install:
            commands: ['echo "dev:x:1234:1234::/tmp:/bin/sh" >>/etc/passwd; echo "dev:x:1234:" >>/etc/group', 'export A=1; cd /tmp']
          build:
            run-as: dev
            commands: ['echo "$(id -u) $A $(pwd)"; export WHO=$(id -un)', 'echo mine >$CODEBUILD_SRC_DIR/mine']
          post_build:
            commands: ['id -u; echo $WHO']
        artifacts: {files: [mine]}
        """
    )

    assert result.failure is None, result.failure
    assert builder.printed == ["1234 1 /tmp", "0", "dev"]
    assert result.exported_variables == {"WHO": "dev"}
    assert (builder.source / "mine").read_text() == "mine\n"


def test_a_user_that_is_not_there_fails_the_phase(builder):
    with pytest.raises(ActionFailed, match="the shell of the build ended with exit status") as failed:
        builder.run("{version: 0.2, run-as: nobody-at-all, phases: {build: {commands: [id]}}}")
    assert "nobody-at-all" in str(failed.value)


def test_what_the_cache_keeps_of_the_home_is_there_again(builder, tmp_path):
    text = """
        version: 0.2
        phases: {build: {commands: ['cat /root/.m2/jar 2>/dev/null || echo none; mkdir -p /root/.m2; echo jar >/root/.m2/jar']}}
        cache: {paths: ['/root/.m2/**/*']}
    """
    for _ in range(2):
        assert builder.run(text, cache=str(tmp_path / "caches")).failure is None

    assert builder.printed == ["none", "jar"]


def test_the_engine_s_socket_is_there_only_when_it_is_asked_for(builder):
    builder.run(commands("test -S /var/run/docker.sock && echo there"), docker_socket=True)
    builder.run(commands("test -S /var/run/docker.sock || echo not there"))

    assert builder.printed == ["there", "not there"]


def test_privileges_that_an_engine_cannot_give_are_refused_with_its_reason(builder, client):
    refused = None
    try:
        builder.run(commands("echo ran"), privileged=True)
    except ActionFailed as error:
        refused = error

    if refused:  # by the engine, for its own lack of rights
        assert refused.code == "ConfigurationError"
        assert "cannot run image 'localhost/bb:latest'" in str(refused)
        assert "operation not permitted" in str(refused)
    assert ("ran" in builder.printed) == (refused is None)
    assert left_over(client, builder) == []


@pytest.mark.parametrize(
    ("image", "host", "message"),
    [
        (
            "127.0.0.1:9/nothing/here:1",
            None,
            "image '127.0.0.1:9/nothing/here:1' is not on this engine and cannot be pulled",
        ),
        (IMAGE, "unix:///nobody/there.sock", "no container engine is reachable"),
    ],
)
def test_a_build_that_must_not_be_on_the_host_is_not(builder, monkeypatch, image, host, message):
    builder.image = image
    if host:
        monkeypatch.setenv("DOCKER_HOST", host)
    with pytest.raises(ActionFailed, match=message) as failed:
        builder.run(commands("echo ran"))

    assert failed.value.code == "ConfigurationError"
    assert "ran" not in builder.printed


def test_an_image_without_a_shell_is_said_so(builder, client):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("empty"))
    client.api.import_image_from_data(archive.getvalue(), repository="localhost/empty", tag="1")
    builder.image = "localhost/empty:1"

    with pytest.raises(ActionFailed, match="image 'localhost/empty:1' has no `sh`, which every build needs"):
        builder.run(commands("true"))


def test_registry_credentials_are_looked_up_when_they_are_needed(builder, prefect_server):
    builder.image = "127.0.0.1:9/nothing/here:1"
    with pytest.raises(ActionFailed, match="DockerRegistryCredentials block 'nobody', which does not exist"):
        builder.run(commands("true"), registry_credentials="nobody")


@contextmanager
def proxy(target: str, tls: ssl.SSLContext | None = None):
    """A port of this machine that leads to the engine's socket."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=join, args=(connection,), daemon=True).start()

    def join(connection: socket.socket) -> None:
        with suppress(OSError):
            ours = tls.wrap_socket(connection, server_side=True) if tls else connection
            engine = socket.socket(socket.AF_UNIX)
            engine.connect(target)
            threading.Thread(target=pump, args=(engine, ours), daemon=True).start()
            pump(ours, engine)

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()


def engine_socket() -> str:
    return os.environ["DOCKER_HOST"].removeprefix("unix://")


def test_an_engine_behind_tls_is_used_like_any_other(builder, client, tmp_path, monkeypatch):
    if not shutil.which("openssl"):
        pytest.skip("there is no openssl to make certificates with")
    certificates = tmp_path / "certificates"
    certificates.mkdir()
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "1",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        cwd=certificates, check=True, capture_output=True,
    )  # fmt: skip
    shutil.copy(certificates / "cert.pem", certificates / "ca.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
    with proxy(engine_socket(), tls) as port:
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # win over what Docker's own variables name
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
        monkeypatch.setenv("DOCKER_CERT_PATH", str(certificates))
        monkeypatch.setenv("DOCKER_HOST", f"tcp://localhost:{port}")
        assert (
            builder.run(commands("head -c 300000 /dev/zero | tr '\\0' x | wc -c", "echo done")).failure
            is None
        )
        with pytest.raises(ActionFailed, match="ran out of time"):
            builder.run(commands("echo begun", "sleep 60"), builder.context(seconds=3))

    assert builder.printed[:3] == ["300000", "done", "begun"]
    assert left_over(client, builder) == []


FAR_AWAY = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.actions.commands.test_container_options import Builder
builder = Builder(Path(sys.argv[1]), "far-away")
(builder.source / "in.txt").write_text("hello")
(builder.source / "link").symlink_to("in.txt")
text = '''
version: 0.2
env: {exported-variables: [V]}
phases:
  build:
    commands:
      - cat in.txt link
      - mkdir out; echo made >out/new; ln -s new out/link; ln out/new out/hard; rm in.txt; mkfifo pipe
      - ls -ld /tmp | cut -c1-10; ln -s /etc out/away; export V=$(ls /root/.m2 | wc -l); echo jar >/root/.m2/jar
artifacts: {files: ['out/new', 'out/hard', 'out/link']}
cache: {paths: ['/root/.m2/**/*']}
'''
result = builder.run(text, cache=sys.argv[1] + "/caches")
again = builder.run(text.replace("mkdir out;", "rm -r out; mkdir out; touch in.txt;").replace("cat in.txt link", "true"), cache=sys.argv[1] + "/caches")
source = builder.source
print(json.dumps({
    "failure": result.failure or again.failure, "files": result.output_artifacts["Out"].files, "lines": builder.lines,
    "hard": (source / "out/hard").read_text(), "link": str((source / "out/link").readlink()),
    "gone": not (source / "in.txt").exists(), "variables": [result.exported_variables, again.exported_variables],
    "away": str((source / "out/away").readlink()),
}))
"""


def test_an_engine_that_sees_no_file_of_this_machine_gets_copies(client, tmp_path):
    if os.getuid() != 0 or not shutil.which("unshare"):
        pytest.skip("only root can hide files from the engine, by unshare")
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    root = Path(__file__).parent.parent.parent.parent
    with proxy(engine_socket()) as port:
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$1" && exec "$2" -c "$3" "$1" "$4"', "sh", str(hidden),
             sys.executable, FAR_AWAY, str(root)],
            env={**os.environ, "DOCKER_HOST": f"tcp://127.0.0.1:{port}"}, capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["failure"] is None
    assert "The container engine cannot see this machine's files, so they are copied" in told["lines"]
    assert "hellohello" in told["lines"]
    assert (
        client.containers.run(IMAGE, ["sh", "-c", "ls -ld /tmp | cut -c1-10"], remove=True).decode().strip()
        in told["lines"]
    )
    assert sorted(told["files"]) == ["out/hard", "out/link", "out/new"]
    assert (told["hard"], told["link"], told["away"], told["gone"]) == ("made\n", "new", "/etc", True)
    assert told["variables"] == [{"V": "0"}, {"V": "1"}]
    assert "pipe is not copied back from the container: it is not a file, a folder or a link" in told["lines"]
    assert (
        client.containers.list(all=True, filters={"label": f"{LABEL}.pipeline=far-away"}, ignore_removed=True)
        == []
    )


AS_NOBODY = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from prefect_codepipeline.errors import ActionFailed
from tests.actions.commands.test_container_options import Builder, commands
builder = Builder(Path(sys.argv[1]), "nobody")
builder.run(commands("id -u", "mkdir -m 700 private; echo x >private/f; chmod 600 private/f"))
try:
    builder.run(commands("echo y >late; chmod 600 late", "sleep 60"), builder.context(seconds=4))
except ActionFailed as error:
    print(error.code)
print(builder.printed[0], {path.stat().st_uid for path in builder.source.rglob("*")} == {os.getuid()})
print((builder.source / "private/f").read_text(), (builder.source / "late").read_text())
"""


def test_what_root_wrote_is_the_worker_s_afterwards(client, tmp_path):
    if os.getuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("only root can become somebody else, by setpriv")
    folder = tmp_path / "nobody"
    folder.mkdir()
    os.chown(folder, 4711, 4711)
    for parent in (tmp_path, *list(tmp_path.parents)[:3]):
        parent.chmod(0o755)
    root = Path(__file__).parent.parent.parent.parent
    somebody = ["setpriv", "--reuid=4711", "--regid=4711", "--clear-groups", sys.executable, "-c"]
    if subprocess.run(
        [*somebody, f"import docker, os; os.listdir({str(root)!r})"], cwd=folder, capture_output=True
    ).returncode:
        pytest.skip("this checkout and its Python are for their owner alone")
    with proxy(engine_socket()) as port:
        done = subprocess.run(
            [*somebody, AS_NOBODY, str(folder), str(root)],
            env={"DOCKER_HOST": f"tcp://127.0.0.1:{port}", "PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": os.environ.get("PYTHONPATH", "")},
            cwd=folder, capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["Timeout", "0", "True", "x", "y"]


def test_a_cancelled_build_leaves_no_container(builder, client):
    context = builder.context()
    threading.Timer(1.5, context.cancellation.cancel).start()
    with pytest.raises(ActionAbandoned):
        builder.run(commands("echo begun", "sleep 60"), context)

    assert left_over(client, builder) == []
