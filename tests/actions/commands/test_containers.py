"""A script in a container of a real engine, which DOCKER_HOST names."""

from __future__ import annotations

import logging
import os
import signal
import time

import pytest
from waiting import until

from prefect_codepipeline.actions.commands.container_run import run_in_container
from prefect_codepipeline.actions.commands.containers import (
    LABEL,
    Compute,
    container_engine,
    remove_orphaned_containers,
)
from prefect_codepipeline.actions.commands.processes import Script
from prefect_codepipeline.actions.registry import ActionContext
from prefect_codepipeline.actions.work import InputTree
from prefect_codepipeline.errors import ActionAbandoned, ActionFailed
from prefect_codepipeline.model.definition.action_settings import ActionSettings
from prefect_codepipeline.model.definition.declaration import ActionDeclaration

IMAGE = "localhost/bb:latest"
needs_engine = pytest.mark.docker


@pytest.fixture(scope="module")
def docker_client():
    if not os.environ.get("DOCKER_HOST"):
        pytest.skip("DOCKER_HOST names no Docker engine")
    import docker

    try:
        client = docker.from_env()
        client.images.get(IMAGE)
    except docker.errors.ImageNotFound:
        pytest.skip(f"the engine has no image {IMAGE}")
    except docker.errors.DockerException as error:
        pytest.skip(f"no Docker engine answers: {error}")
    yield client
    client.close()


@pytest.fixture
def containers(docker_client, request):
    """The containers of this test that are there now, by their status."""
    return lambda: sorted(
        container.status
        for container in docker_client.containers.list(
            all=True, filters={"label": f"{LABEL}.pipeline={request.node.name}"}, ignore_removed=True
        )
    )


@pytest.fixture
def warnings():
    """What the action's logger is told at WARNING."""
    return []


@pytest.fixture
def make_context(tmp_path, request, warnings):
    # Not caplog: Prefect configures the root logger when it feels like it.
    logger = logging.Logger("action", logging.WARNING)
    logger.addFilter(lambda record: warnings.append(record.getMessage()))

    def make(seconds=60.0, **settings):
        for name in ("scratch", "source"):
            (tmp_path / name).mkdir(exist_ok=True)
        action = {
            "name": "Build",
            "actionTypeId": {"category": "Compute", "owner": "AWS", "provider": "Commands", "version": "1"},
        }
        return ActionContext(
            pipeline_name=request.node.name,
            pipeline_execution_id="e1",
            stage_name="Build",
            action=ActionDeclaration.model_validate(action),
            action_execution_id="a1",
            scratch=tmp_path / "scratch",
            deadline=time.monotonic() + seconds,
            input_artifacts=(InputTree("Source", tmp_path / "source"),),
            settings=ActionSettings(**{"image": IMAGE, **settings}),
            logger=logger,
        )

    return make


def run(context, text, on_output=lambda _: None, compute=None, **environment):
    path = context.scratch / "script"
    path.write_text(text)
    script = Script(path, context.input_artifacts[0].directory, environment)
    with container_engine(context, compute or Compute()) as engine:
        assert engine
        return run_in_container(engine, script, on_output, context)


def output_of(context, text, **more):
    output = bytearray()
    assert run(context, text, output.extend, **more) == 0
    return output.decode()


@needs_engine
def test_a_script_runs_where_it_would_run_on_the_host(docker_client, make_context, containers, tmp_path):
    output = bytearray()
    text = 'pwd; id -u; cat; echo "$COLOUR" >&2; echo made >made; exit 7'

    code = run(make_context(), text, output.extend, COLOUR="blue")

    assert code == 7
    assert output.decode() == f"{tmp_path}/source\n{os.getuid()}\nblue\n"
    assert (tmp_path / "source/made").read_text() == "made\n"
    assert (tmp_path / "source/made").stat().st_uid == os.getuid()
    assert containers() == []


@needs_engine
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("printf end", "end", id="a last line without an end"),
        pytest.param("echo out; echo err >&2; echo out", "out\nerr\nout\n", id="in order"),
        pytest.param("seq 1 20000", "".join(f"{n}\n" for n in range(1, 20001)), id="much"),
    ],
)
def test_no_output_is_lost(docker_client, make_context, text, expected):
    # What was wrong only now and then in engines was the end of short outputs.
    for _ in range(2):
        assert output_of(make_context(), text) == expected


@needs_engine
def test_the_container_has_the_limits_of_the_settings(docker_client, make_context, request):
    context = make_context(cpus=0.5, memory_mib=64)
    found = []

    def inspect(chunk):
        if chunk:
            label = f"{LABEL}.pipeline={request.node.name}"
            found.extend(docker_client.containers.list(all=True, filters={"label": label}))

    run(context, "echo up", inspect)

    host = found[0].attrs["HostConfig"]
    assert (host["NanoCpus"], host["Memory"], host["MemorySwap"]) == (500_000_000, 64 << 20, 64 << 20)
    assert "no-new-privileges" in host["SecurityOpt"]
    assert found[0].labels[f"{LABEL}.pipeline-execution"] == "e1"
    assert found[0].labels[f"{LABEL}.action"] == "Build/Build"


@needs_engine
@pytest.mark.parametrize(
    ("settings", "compute", "expected"),
    [
        ({}, Compute(), Compute()),
        ({}, Compute(cpus=1, memory_mib=128), Compute(1, 128)),
        ({"cpus": 0.5, "memory_mib": 64}, Compute(cpus=1, memory_mib=128), Compute(0.5, 64)),
        ({}, Compute(cpus=10_000, memory_mib=1 << 40), Compute()),
        ({"cpus": 10_000}, Compute(), Compute()),
    ],
    ids=[
        "none",
        "of the definition",
        "of the settings",
        "more than there is",
        "more than there is, in settings",
    ],
)
def test_bounds_come_from_the_settings_then_the_definition_and_fit_the_machine(
    docker_client, make_context, settings, compute, expected
):
    with container_engine(make_context(**settings), compute) as engine:
        assert engine.compute == expected


@needs_engine
def test_too_little_memory_says_so(docker_client, make_context):
    with pytest.raises(ActionFailed, match="more than its limit of 32 MiB; raise memory_mib") as failed:
        run(make_context(memory_mib=32), "x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done")

    assert failed.value.code == "JobFailed"


@needs_engine
def test_without_network_there_is_the_loopback_alone(docker_client, make_context):
    assert output_of(make_context(network=False), "ls /sys/class/net") == "lo\n"
    assert "eth0" in output_of(make_context(), "ls /sys/class/net")


@needs_engine
@pytest.mark.parametrize("ending", ["normal end", "deadline", "cancellation", "any exception"])
def test_nothing_is_left(docker_client, make_context, containers, ending):
    context = make_context()
    seen = []

    def end_it(chunk):
        if b"ready" in chunk:
            seen.extend(containers())
            if ending == "deadline":
                object.__setattr__(context, "deadline", time.monotonic())
            if ending == "cancellation":
                context.cancellation.cancel()
            if ending == "any exception":
                raise KeyboardInterrupt

    errors = {"deadline": ActionFailed, "cancellation": ActionAbandoned, "any exception": KeyboardInterrupt}
    text = "sleep 1000 & (trap '' TERM; setsid sleep 1000) & echo ready; "
    if ending == "normal end":
        assert run(context, text, end_it) == 0
    else:
        with pytest.raises(errors[ending]):
            run(context, text + "sleep 1000", end_it)

    assert len(seen) == 1
    assert containers() == []


@needs_engine
def test_a_deadline_lets_processes_say_goodbye(docker_client, make_context):
    output = bytearray()
    context = make_context()

    def end_it(chunk):
        output.extend(chunk)
        if chunk == b"ready\n":
            object.__setattr__(context, "deadline", time.monotonic())

    with pytest.raises(ActionFailed, match="ran out of time"):
        run(context, "trap 'sleep 0.1; echo goodbye; exit' TERM; echo ready; sleep 100 & wait", end_it)

    assert b"goodbye\n" in output


@needs_engine
def test_a_container_stops_when_its_worker_is_killed_and_is_cleared_away(
    docker_client, make_context, containers, tmp_path
):
    text = "trap '' TERM; (setsid sleep 1000) & touch ready; sleep 1000"
    worker = os.fork()
    if not worker:
        try:
            run(make_context(), text)
        finally:
            os._exit(1)
    until((tmp_path / "source/ready").exists, 10)
    assert remove_orphaned_containers(docker_client) == 0
    assert containers() == ["running"]

    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)

    until(lambda: containers() == ["exited"], 10)
    assert remove_orphaned_containers(docker_client) >= 1
    until(lambda: containers() == [], 10)


@needs_engine
def test_a_missing_image_means_the_host_and_a_warning_says_so(docker_client, make_context, warnings):
    with container_engine(make_context(image="127.0.0.1:9/nothing/here:1")) as engine:
        assert engine is None

    [warning] = warnings
    assert warning.startswith("Action 'Build' runs on the host, without the limits and the network setting")
    assert "'127.0.0.1:9/nothing/here:1' is not on this engine and cannot be pulled" in warning


def test_a_missing_engine_means_the_host_and_a_warning_says_so(make_context, warnings, monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")

    with container_engine(make_context()) as engine:
        assert engine is None

    [warning] = warnings
    assert "no container engine is reachable" in warning
    assert remove_orphaned_containers() == 0


def test_the_host_is_the_host_without_a_word(make_context, warnings):
    with container_engine(make_context(run_on="host")) as engine:
        assert engine is None

    assert not warnings


@pytest.mark.live
def test_a_docker_host_block_names_the_engine(prefect_server, make_context, warnings, tmp_path):
    from prefect_docker.host import DockerHost

    DockerHost(base_url=f"unix://{tmp_path}/elsewhere.sock").save("elsewhere", overwrite=True)

    with container_engine(make_context(docker_host="elsewhere")) as engine:
        assert engine is None
    assert "no container engine is reachable" in warnings[0]

    with (
        pytest.raises(ActionFailed, match="DockerHost block 'nowhere', which does not exist") as missing,
        container_engine(make_context(docker_host="nowhere")),
    ):
        pass
    assert missing.value.code == "ConfigurationError"
