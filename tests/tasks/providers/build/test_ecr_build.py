"""Build/AWS/ECRBuildAndPublish/1: with a docker that records its calls and, if there is an engine, with a real registry."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from faulty_endpoint import Fault, json_refusal
from provider_calls import call_to_its_end
from pydantic import ValidationError
from waiting import until

from prefect_codepipeline.actions.aws import client, remote_work
from prefect_codepipeline.actions.aws.image_registry import find_manifest
from prefect_codepipeline.actions.registry import ActionContext, ActionResult, Earlier
from prefect_codepipeline.actions.work import InputTree
from prefect_codepipeline.deployments.local.ports import free_port
from prefect_codepipeline.errors import ActionAbandoned, ActionFailed, ActionInterrupted
from prefect_codepipeline.model.definition.action_settings import ActionSettings
from prefect_codepipeline.model.definition.aws_settings import AwsSettings
from prefect_codepipeline.tasks.providers.build.ecr_build import EcrBuildConfiguration, build_and_publish

ACCOUNT = "123456789012"
IMAGE, DIGEST = f"sha256:{'1' * 64}", f"sha256:{'d' * 64}"
# As docker answers; the image that a tag has is remembered.
DOCKER = f"""
arguments, image, digest = sys.argv[1:], {IMAGE!r}, {DIGEST!r}
if arguments[0] == "build":
    open(arguments[arguments.index("--iidfile") + 1], "w").write(image)
    print("Successfully built 111111111111")
elif arguments[0] == "push":
    print("The push refers to repository [x]")
    print("latest: digest: " + digest + " size: 527")
elif arguments[:2] == ["image", "inspect"]:
    tags = [json.loads(line)["argv"] for line in open(os.path.join(folder, "calls"))]
    names = [each[3].rpartition(":")[0] for each in tags if each[:2] == ["image", "tag"]]
    print(json.dumps([name + "@" + digest for name in names]) if "{{{{json" in arguments[3] else image)
"""
BUILD = "docker build --iidfile {scratch}/image-id ."


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_work, "SHORTEST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(client, "ATTEMPTS", 1)


@pytest.fixture
def source(tmp_path: Path) -> InputTree:
    for folder in (".", "web"):
        (tmp_path / "source" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / folder / "Dockerfile").write_text(f"FROM localhost/bb\nCOPY . /{folder}\n")
    return InputTree("Source", tmp_path / "source")


@pytest.fixture
def make_context(make_aws_context: Any, source: InputTree) -> Callable[..., ActionContext]:
    return lambda **fields: make_aws_context(
        "Build/ECRBuildAndPublish", **{"input_artifacts": (source,), **fields}
    )


@pytest.fixture
def repository(aws: Any) -> str:
    name = f"team/app-{uuid4().hex[:8]}"
    aws("ecr").create_repository(repositoryName=name)
    return name


@pytest.fixture
def docker(recorded_programs: Any) -> Any:
    recorded_programs.add("docker", DOCKER)
    return recorded_programs


def build(name: str, context: ActionContext, **more: str) -> ActionResult:
    configuration = EcrBuildConfiguration.model_validate({"ECRRepositoryName": name, **more})
    return call_to_its_end(build_and_publish, configuration, context)


def in_registry(url: str, secret: str | None = None, **more: Any) -> ActionSettings:
    return ActionSettings(aws=AwsSettings(registry=url, registry_secret=secret), **more)


def test_an_image_is_built_and_pushed_with_each_tag(repository, make_context, docker, source):
    told: list[str] = []
    context = make_context(report_progress=lambda **progress: told.append(progress["summary"]))

    result = build(repository, context, ImageTags="latest, v1,latest")

    uri = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/{repository}"
    inspect = f"docker image inspect --format {{{{json .RepoDigests}}}} {IMAGE}"
    assert [str(call) for call in docker.calls()] == [
        BUILD.format(scratch=context.scratch),
        *(f"docker image tag {IMAGE} {uri}:latest", f"docker push {uri}:latest", inspect),
        *(f"docker image tag {IMAGE} {uri}:v1", f"docker push {uri}:v1", inspect),
    ]
    assert docker.calls()[0].cwd == str(source.directory)
    assert result.output_variables == {"ECRImageDigestId": DIGEST, "ECRRepositoryName": repository}
    assert result.summary == f"pushed {uri}:latest, v1"
    assert result.external_execution_id == DIGEST
    page = f"ecr/repositories/private/{ACCOUNT}/{repository}/_/image/{DIGEST}/details?region=us-east-1"
    assert result.external_execution_url == f"https://us-east-1.console.aws.amazon.com/{page}"
    assert told == ["building the image", "pushing latest (1 of 2)", "pushing v1 (2 of 2)"]


def test_docker_logs_in_by_a_private_file_and_sees_nothing_of_the_worker(
    repository, make_context, docker, monkeypatch, caplog
):
    monkeypatch.setenv("OF_THE_WORKER", "planted")
    monkeypatch.setenv("DOCKER_HOST", "tcp://engine:2376")
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    docker.add(
        "docker",
        DOCKER + "\nprint(open(os.environ['DOCKER_CONFIG'] + '/config.json').read(), file=sys.stderr)",
    )
    caplog.set_level("INFO")

    build(repository, make_context())

    host = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com"
    for call in docker.calls():
        text, mode = call.files["DOCKER_CONFIG"]
        auth = json.loads(text)["auths"][host]["auth"]
        assert base64.b64decode(auth).decode().startswith("AWS:")
        assert mode == "0o600"
        assert call.environment["DOCKER_HOST"] == "tcp://engine:2376"
        assert call.environment["DOCKER_CERT_PATH"] == f"{Path.home()}/.docker"
        assert not {"OF_THE_WORKER", "AWS_SECRET_ACCESS_KEY"} & call.environment.keys()
        assert auth not in str(call)
        assert auth not in caplog.text
    assert "***" in caplog.text


def test_the_folder_of_the_dockerfile_is_the_context(repository, make_context, docker, source):
    build(repository, make_context(), DockerFilePath="web")

    assert docker.calls()[0].cwd == str(source.directory / "web")


def test_without_network_the_build_has_none(make_context, docker):
    settings = in_registry("https://registry.example.com", network=False)

    build("app", make_context(settings=settings))

    assert "--network none" in str(docker.calls()[0])


def test_another_registry_needs_no_aws(make_context, docker, aws_endpoint):
    result = build("team/app", make_context(settings=in_registry("https://registry.example.com:5000")))

    assert "docker push registry.example.com:5000/team/app:latest" in map(str, docker.calls())
    assert result.external_execution_url is None
    assert aws_endpoint.requests == []
    assert json.loads(docker.calls()[0].files["DOCKER_CONFIG"][0])["auths"] == {}


def test_the_public_registry_has_its_own_service(make_context, docker):
    from aws_server import AwsServer

    server = AwsServer()
    token = base64.b64encode(b"AWS:public-token").decode()
    uri = "public.ecr.aws/team/app"
    described = {"repositories": [{"repositoryUri": uri, "repositoryName": "app"}]}
    server.answers["DescribeRepositories"] = lambda _: described
    server.answers["GetAuthorizationToken"] = lambda _: {"authorizationData": {"authorizationToken": token}}
    settings = ActionSettings(aws=AwsSettings(endpoint_url=server.url, region="eu-west-1"))
    try:
        result = build("app", make_context(settings=settings), RegistryType="public")
    finally:
        server.stop()

    assert set(server.regions) == {"us-east-1"}
    assert f"docker push {uri}:latest" in map(str, docker.calls())
    assert json.loads(docker.calls()[0].files["DOCKER_CONFIG"][0])["auths"].keys() == {"public.ecr.aws"}
    assert result.external_execution_url is None


@pytest.mark.parametrize("died", ["while it built", "while it pushed", "after the push"])
def test_another_process_pushes_the_image_that_was_built(make_context, docker, died):
    kept: dict[str, str] = {}
    settings = in_registry("https://registry.example.com")
    first = make_context(settings=settings, keep=lambda *_, **state: kept.update(state))
    if died != "after the push":
        verb = "build" if died == "while it built" else "push"
        stuck = f"if sys.argv[1] == {verb!r}:\n    import time; time.sleep(60)"
        docker.add("docker", f"{stuck}{DOCKER}")
        stop = threading.Thread(
            target=lambda: (
                until(lambda: any(call.argv[0] == verb for call in docker.calls())),
                first.cancellation.leave(),
            )
        )
        stop.start()
        with pytest.raises(ActionInterrupted):
            build("app", first)
        stop.join()
        docker.add("docker", DOCKER)
    else:
        build("app", first)
    before = len(docker.calls())

    result = build(
        "app", make_context(settings=settings, earlier=Earlier(datetime.now(timezone.utc), state=kept))
    )

    again = [call.argv[0] for call in docker.calls()[before:]]
    assert again.count("build") == (1 if died == "while it built" else 0)
    assert again.count("push") == (0 if died == "after the push" else 1)
    assert result.output_variables["ECRImageDigestId"] == DIGEST


def test_an_image_that_another_engine_has_is_built_again(make_context, docker):
    gone = "if sys.argv[1:3] == ['image', 'inspect'] and 'json' not in sys.argv[4]: sys.exit('No such image')"
    docker.add("docker", f"{gone}\n{DOCKER}")
    earlier = Earlier(datetime.now(timezone.utc), state={"image": f"sha256:{'7' * 64}"})

    build("app", make_context(settings=in_registry("https://registry.example.com"), earlier=earlier))

    assert [call.argv[0] for call in docker.calls()].count("build") == 1


def test_another_image_under_the_same_name_is_not_taken_for_ours(make_context, docker):
    other = DOCKER.replace('"@" + digest', '"@sha256:other"')
    docker.add("docker", other)

    with pytest.raises(ActionFailed, match="other builds on the same engine give another image the same"):
        build("app", make_context(settings=in_registry("https://registry.example.com")))


def test_an_abandoned_build_and_one_that_takes_too_long_are_ended(make_context, docker):
    docker.add("docker", "import time; open(folder + '/pid', 'w').write(str(os.getpid())); time.sleep(60)")
    settings = in_registry("https://registry.example.com")
    context = make_context(settings=settings)
    stop = threading.Thread(
        target=lambda: (until(lambda: docker.calls()), context.cancellation.cancel()), daemon=True
    )
    stop.start()

    with pytest.raises(ActionAbandoned):
        build("app", context)
    with pytest.raises(ActionFailed, match=r"docker .*ran out of time") as failed:
        build("app", make_context(settings=settings, seconds=0.6))

    assert failed.value.code == "Timeout"
    assert not Path(f"/proc/{(docker.folder / 'pid').read_text()}").exists()


@pytest.mark.parametrize(
    ("when", "printed", "code", "message"),
    [
        ("build", "Step 2: The command '/bin/sh -c false' returned 1", "JobFailed", "The command"),
        ("build", "Cannot connect to the Docker daemon at unix:///x", "ConfigurationError", "start the container"),
        ("build", "write /x: No space left on device", "JobFailed", "the disk is full"),
        ("push", "denied: requested access to the resource is denied", "PermissionError", "allow the action to push"),
        ("push", "tag invalid: the tag is immutable", "ConfigurationError", "choose a tag"),
        ("push", "dial tcp 127.0.0.1:1: connect: connection refused", "SystemUnavailable", "when the registry"),
        ("push", "something else", "JobFailed", "failed with exit code 1"),
    ],
)  # fmt: skip
def test_a_failure_says_what_docker_said(make_context, docker, when, printed, code, message):
    docker.add(
        "docker", f"if sys.argv[1] == {when!r}:\n    print({printed!r}, file=sys.stderr); sys.exit(1){DOCKER}"
    )

    with pytest.raises(ActionFailed) as failed:
        build("app", make_context(settings=in_registry("https://registry.example.com")))

    assert failed.value.code == code
    assert message in str(failed.value)
    assert f"docker {when}" in str(failed.value)
    assert printed in str(failed.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"DockerFilePath": "../x"}, "leads out of input artifact 'Source'"),
        ({"DockerFilePath": "web/Dockerfile"}, "is a file; give the folder of the Dockerfile"),
        ({"DockerFilePath": "none"}, "has no Dockerfile in folder 'none'"),
        ({"ImageTags": " , "}, "ImageTags has no tag"),
        ({"ImageTags": "v1,-rm"}, "ImageTags: '-rm' is not a tag"),
        ({"ImageTags": "v" * 129}, "at most 128"),
        ({"ECRRepositoryName": "--help"}, "'--help' is not the name of a repository"),
        ({"ECRRepositoryName": "host:5000/app"}, "give it without registry and tag"),
    ],
)
def test_what_cannot_be_is_refused_before_docker_runs(make_context, docker, change, message):
    given = {"ECRRepositoryName": "app", **change}
    with pytest.raises(ActionFailed, match=message) as failed:
        build(
            given.pop("ECRRepositoryName"),
            make_context(settings=in_registry("https://registry.example.com")),
            **given,
        )
    assert failed.value.code == "ConfigurationError"
    assert docker.calls() == []


def test_a_worker_without_docker_is_named(make_context, recorded_programs):
    with pytest.raises(ActionFailed, match="the program 'docker' is not on the PATH of the worker") as failed:
        build("app", make_context(settings=in_registry("https://registry.example.com")))
    assert failed.value.code == "ConfigurationError"


@pytest.mark.parametrize(
    ("fault", "message", "code"),
    [
        (None, "there is no ECR repository 'nothing' in region us-east-1; create it", "ConfigurationError"),
        (json_refusal(400, "AccessDeniedException", "no"), "AWS refused", "PermissionError"),
        (json_refusal(400, "ExpiredTokenException"), "renew the credentials", "PermissionError"),
    ],
)
def test_what_ecr_refuses(make_context, docker, aws_endpoint, fault, message, code):
    aws_endpoint.faults = [Fault("POST", "DescribeRepositories", fault)] if fault else []

    with pytest.raises(ActionFailed, match=message) as failed:
        build("nothing", make_context())
    assert failed.value.code == code
    assert docker.calls() == []


def test_throttling_and_a_broken_connection_are_borne(repository, make_context, docker, aws_endpoint):
    aws_endpoint.faults = [
        Fault("POST", "DescribeRepositories", json_refusal(400, "ThrottlingException")),
        Fault("POST", "GetAuthorizationToken", "drop"),
    ]

    assert build(repository, make_context()).output_variables["ECRImageDigestId"] == DIGEST


@pytest.mark.parametrize(
    ("change", "message"),
    [({"RegistryType": "secret"}, "'private' or 'public'"), ({"X": "1"}, "Extra inputs")],
)
def test_rejects_configuration(change, message):
    with pytest.raises(ValidationError, match=message):
        EcrBuildConfiguration.model_validate({"ECRRepositoryName": "app", **change})


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real registry, which the engine of the tests can reach on loopback."""
    if not os.environ.get("DOCKER_HOST", "").startswith("unix://"):
        pytest.skip("DOCKER_HOST names no Docker engine of this machine")
    for name in ("docker", "docker-registry"):
        if shutil.which(name) is None:
            pytest.skip(f"the program {name} is not installed")
    folder = tmp_path_factory.mktemp("registry")
    address = f"127.0.0.1:{free_port()}"
    (folder / "config.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
        f"http: {{addr: '{address}'}}\n"
    )
    server = subprocess.Popen(
        ["docker-registry", "serve", str(folder / "config.yml")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: _answers(f"http://{address}/v2/"), 10)
        yield address
    finally:
        server.terminate()
        server.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.docker
def test_a_real_engine_pushes_to_a_real_registry(registry, make_context, source, caplog):
    caplog.set_level("INFO")
    (source.directory / "web" / "page").write_text(uuid4().hex)
    context = make_context(settings=in_registry(f"http://{registry}"))

    result = build("team/app", context, DockerFilePath="web", ImageTags="latest,v1")

    digest = result.output_variables["ECRImageDigestId"]
    for tag in ("latest", "v1", digest):
        assert find_manifest(f"http://{registry}", "team/app", tag, None).digest == digest
    assert "COPY . /web" in caplog.text
    kept = {"image": json.loads(_inspected(f"{registry}/team/app:v1"))[0]["Id"]}

    again = build("team/app", replace(make_context(settings=in_registry(f"http://{registry}")),
                                      earlier=Earlier(datetime.now(timezone.utc), state=kept)))  # fmt: skip

    assert again.output_variables["ECRImageDigestId"] == digest


def _inspected(name: str) -> str:
    return subprocess.run(
        ["docker", "image", "inspect", name], capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.docker
def test_a_real_build_that_fails_shows_the_command(registry, make_context, source):
    (source.directory / "Dockerfile").write_text("FROM localhost/bb\nRUN echo broken; exit 3\n")

    with pytest.raises(ActionFailed, match=r"(?s)docker build of folder .*broken") as failed:
        build("team/app", make_context(settings=in_registry(f"http://{registry}")))

    assert failed.value.code == "JobFailed"
