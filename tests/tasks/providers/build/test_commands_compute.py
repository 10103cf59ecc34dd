"""Compute/AWS/Commands/1, as the engine calls it: on the host, and where it differs in a container."""

from __future__ import annotations

import logging
import os
import subprocess
import threading
import time

import pytest
from pydantic import ValidationError

from prefect_codepipeline.actions.registry import ActionContext, get_provider
from prefect_codepipeline.actions.work import InputTree, OutputTree
from prefect_codepipeline.errors import ActionAbandoned, ActionFailed
from prefect_codepipeline.model.definition.action_settings import ActionSettings
from prefect_codepipeline.model.definition.declaration import ActionDeclaration, ActionTypeId

TYPE = {"category": "Compute", "owner": "AWS", "provider": "Commands", "version": "1"}
PROVIDER = get_provider(ActionTypeId(**TYPE))
IMAGE = "localhost/bb:latest"


@pytest.fixture
def records():
    """What was logged, as (level, text)."""
    return []


@pytest.fixture
def make_context(tmp_path, records):
    # Not caplog: Prefect configures the root logger when it feels like it.
    logger = logging.Logger("action", logging.INFO)
    logger.addFilter(lambda record: records.append((record.levelname, record.getMessage())))

    def make(*commands, inputs=("Source",), seconds=60.0, settings=None, **action):
        for name in (*inputs, "scratch"):
            (tmp_path / name).mkdir(exist_ok=True)
        return ActionContext(
            pipeline_name="release",
            pipeline_execution_id="e1",
            stage_name="Build",
            action=ActionDeclaration.model_validate(
                {"name": "Build", "actionTypeId": TYPE, "commands": list(commands), **action}
            ),
            action_execution_id="a1",
            scratch=tmp_path / "scratch",
            deadline=time.monotonic() + seconds,
            input_artifacts=tuple(InputTree(name, tmp_path / name) for name in inputs),
            settings=settings or ActionSettings(run_on="host"),
            logger=logger,
        )

    return make


@pytest.fixture
def docker_settings():
    if not os.environ.get("DOCKER_HOST"):
        pytest.skip("DOCKER_HOST names no Docker engine")
    import docker

    try:
        client = docker.from_env()
        client.images.get(IMAGE)
        client.close()
    except docker.errors.DockerException as error:
        pytest.skip(f"no Docker engine with the image {IMAGE} answers: {error}")
    return ActionSettings(image=IMAGE)


def run(context, **configuration):
    return PROVIDER.run(PROVIDER.configuration.model_validate(configuration), context)


def failure(context, **configuration):
    with pytest.raises(ActionFailed) as failed:
        run(context, **configuration)
    return failed.value


def shown(records):
    return "\n".join(text for _, text in records)


def warnings(records):
    return [text for level, text in records if level == "WARNING"]


def test_commands_run_in_the_first_input_and_see_the_others(make_context, records, tmp_path):
    context = make_context(
        'echo "$PWD"', 'cat "$CODEBUILD_SRC_DIR_Lib/name"', inputs=("Source", "Lib", "Test-Data")
    )
    (tmp_path / "Lib/name").write_text("libfoo\n")

    result = run(context)

    assert result.summary == "2 of 2 commands ran"
    expected = f'$ echo "$PWD"\n{tmp_path}/Source\n$ cat "$CODEBUILD_SRC_DIR_Lib/name"\nlibfoo'
    assert shown(records) == expected


@pytest.mark.parametrize(
    ("commands", "message"),
    [
        pytest.param(
            ["true", "echo one; echo two >&2; exit 3", "echo no"],
            "command 2 of 3 ('echo one; echo two >&2; exit 3') failed with exit code 3\n"
            "The last lines of its output:\none\ntwo",
            id="exit code and output",
        ),
        pytest.param(
            ["echo before", "false"], "command 2 of 2 ('false') failed with exit code 1", id="without output"
        ),
        pytest.param(
            ["pytest-of-nowhere --verbose"],
            "command 1 of 1 ('pytest-of-nowhere --verbose') failed with exit code 127: 'pytest-of-nowhere' was "
            "not found in the PATH of commands, "
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n",
            id="not found",
        ),
        pytest.param(
            ["echo 'unbalanced", "true"], 'command 1 of 2 ("echo \'unbalanced") failed', id="syntax"
        ),
        pytest.param(
            ["echo x > /dev/full"],
            "failed with exit code 1: the disk is full\nThe last lines",
            id="full disk",
        ),
    ],
)
def test_the_first_failing_command_fails_the_action_and_is_named(make_context, commands, message):
    error = failure(make_context(*commands))

    assert message in str(error)
    assert error.code == "JobFailed"


def test_of_a_long_output_the_failure_shows_the_last_lines(make_context):
    message = str(failure(make_context("seq 1 1000; false")))

    assert message.endswith("\n".join(map(str, range(981, 1001))))
    assert "\n980\n" not in message


def test_exit_0_ends_the_session_and_the_log_says_what_was_not_run(make_context, records):
    result = run(make_context("export A=1", "exit 0", "echo no", outputVariables=["A"]))

    assert result.output_variables == {"A": "1"}
    assert result.summary == "2 of 3 commands ran"
    assert warnings(records) == [
        "Command 2 of 3 ended the shell with exit code 0: the commands after it did not run"
    ]


def test_output_variables_come_from_the_shell_and_missing_ones_are_reported(make_context, records):
    result = run(
        make_context("export VERSION=1.2.3", "NOTES='a\nb\n'", outputVariables=["VERSION", "NOTES", "GONE"])
    )

    assert result.output_variables == {"VERSION": "1.2.3", "NOTES": "a\nb\n"}
    assert warnings(records) == [
        "Output variable 'NOTES' is set but not exported, and AWS gives out exported variables only; "
        "write `export NOTES=…`",
        "Output variable 'GONE' was not set by the commands and is left out",
    ]


@pytest.mark.parametrize(("size", "fits"), [(122_879, True), (122_880, False)])
def test_output_variables_have_a_limit_in_total(make_context, size, fits):
    context = make_context(f"V=$(head -c {size} /dev/zero | tr '\\0' x)", outputVariables=["V"])

    if fits:
        assert run(context).output_variables == {"V": "x" * size}
    else:
        assert "have 122881 bytes (V 122880); the limit is 122880" in str(failure(context))


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (None, None),
        (["**/*"], [".hidden", "dist/app.js", "dist/lib/x.js", "input"]),
        (["dist", "nothing"], ["dist/app.js", "dist/lib/x.js"]),
    ],
)
def test_the_output_artifact_is_what_the_globs_take_of_the_working_directory(
    make_context, tmp_path, files, expected
):
    artifact = {"name": "Out", **({"files": files} if files else {})}
    context = make_context(
        "mkdir -p dist/lib; touch .hidden dist/app.js dist/lib/x.js", "cd /", outputArtifacts=[artifact]
    )
    (tmp_path / "Source/input").touch()

    assert run(context).output_artifacts == {"Out": OutputTree(tmp_path / "Source", expected)}


def test_globs_that_take_nothing_fail_the_action_and_are_named(make_context):
    error = failure(make_context("true", outputArtifacts=[{"name": "Out", "files": ["dist/**", "*.whl"]}]))

    assert "no matching artifact paths found: 'dist/**', '*.whl'" in str(error)
    assert error.code == "JobFailed"


@pytest.mark.parametrize(
    ("action", "configuration", "message"),
    [
        ({"outputArtifacts": [{"name": "O", "files": ["../x"]}]}, {}, "'../x': a pattern must be relative"),
        ({"outputVariables": ["A B"]}, {}, "'A B' is not a valid name of a shell variable"),
        (
            {"environmentVariables": [{"name": "CODEBUILD_X", "value": "1"}]},
            {},
            "'CODEBUILD_X': names that start with CODEBUILD_ are reserved",
        ),
        (
            {
                "environmentVariables": [{"name": "KEY", "value": "db", "type": "SECRETS_MANAGER"}],
                "outputVariables": ["KEY"],
            },
            {},
            "'KEY': a secret cannot be an output variable",
        ),
        ({}, {"EnvironmentType": "WINDOWS_SERVER_2022_CONTAINER"}, "is not supported"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(
    make_context, tmp_path, action, configuration, message
):
    error = failure(make_context("touch ran", **action), **configuration)

    assert message in str(error)
    assert error.code == "ConfigurationError"
    assert not (tmp_path / "Source/ran").exists()


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        ({"ComputeType": "BUILD_GENERAL1_HUGE"}, "Input should be 'BUILD_GENERAL1_SMALL'"),
        ({"EnvironmentType": "MACOS"}, "Input should be 'LINUX_CONTAINER'"),
        ({"Image": "alpine"}, "Extra inputs"),
    ],
)
def test_rejects_configuration(configuration, message):
    with pytest.raises(ValidationError, match=message):
        PROVIDER.configuration.model_validate(configuration)


def test_the_network_of_aws_is_said_to_have_no_effect(make_context, records):
    run(make_context("true"), VpcId="vpc-1", Subnets="subnet-1", SecurityGroupIds="sg-1")

    [warning] = warnings(records)
    assert "VpcId, Subnets and SecurityGroupIds of action 'Build' have no effect" in warning


def once_it_exists(path, do):
    """Do something from another thread as soon as a command has made the file."""

    def wait():
        deadline = time.monotonic() + 30
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        do()

    threading.Thread(target=wait).start()


def test_a_deadline_ends_the_action_and_names_the_command(make_context, tmp_path):
    context = make_context("true", "echo began; touch up; sleep 100")
    once_it_exists(tmp_path / "Source/up", lambda: object.__setattr__(context, "deadline", time.monotonic()))

    error = failure(context)

    # The shell may still say below that its child was terminated.
    assert str(error).startswith(
        "command 2 of 2 ('echo began; touch up; sleep 100'): action 'Build' ran out of time and was ended\n"
        "The last lines of its output:\nbegan"
    )
    assert error.code == "Timeout"


def test_a_cancelled_action_is_abandoned(make_context, records, tmp_path):
    context = make_context("touch up; sleep 100")
    once_it_exists(tmp_path / "Source/up", context.cancellation.cancel)

    with pytest.raises(ActionAbandoned):
        run(context)

    assert shown(records).endswith("$ touch up; sleep 100")


@pytest.mark.parametrize("place", ["host", pytest.param("docker", marks=pytest.mark.docker)])
def test_ten_megabytes_of_output_are_logged_whole_in_few_records(make_context, records, place, request):
    settings = request.getfixturevalue("docker_settings") if place == "docker" else None
    command = f"yes {'x' * 63} | head -c 10485760; printf end"

    run(make_context(command, settings=settings))

    assert shown(records).partition(f"$ {command}\n")[2] == ("x" * 63 + "\n") * 163_840 + "end"
    assert 160 <= len(records) < 250


@pytest.mark.live
def test_secrets_appear_nowhere(prefect_server, make_context, records):
    from prefect.blocks.system import Secret

    Secret(value='{"user": "admin-17", "password": "hunter2-hunter2"}').save("commands-db", overwrite=True)
    secret = [
        {"name": "PASSWORD", "value": "Commands/DB:password", "type": "SECRETS_MANAGER"},
        {"name": "ALL", "value": "Commands/DB", "type": "SECRETS_MANAGER"},
    ]

    result = run(
        make_context(
            'test "$PASSWORD" = hunter2-hunter2 && echo "$ALL"',
            "V=x$PASSWORD",
            "echo hunter2-\\\nhunter2",
            environmentVariables=secret,
            outputVariables=["V"],
        )
    )
    context = make_context('echo "$PASSWORD" admin-17; false', environmentVariables=secret)
    (context.scratch / "session").rename(context.scratch / "first")
    error = failure(context)

    assert result.output_variables == {"V": "x***"}
    assert "*** ***" in str(error)
    for text in (shown(records), str(error), repr(result)):
        assert "hunter2-hunter2" not in text
        assert "admin-17" not in text


def test_the_disk_of_the_working_directory_is_full(make_context, tmp_path, request):
    small = tmp_path / "scratch"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(small)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system takes root")
    request.addfinalizer(lambda: subprocess.run(["umount", str(small)], check=True))

    error = failure(make_context("true " + "x" * 900, *["true " + "x" * 900] * 40))

    assert f"could not write to {small}: the disk is full; free some space" in str(error)


@pytest.mark.docker
def test_in_a_container_the_same_session_runs(make_context, records, tmp_path, docker_settings):
    result = run(
        make_context(
            "V=$(basename $PWD)",
            "cd /",
            "pwd >$CODEBUILD_SRC_DIR/out",
            'echo "$CODEBUILD_BUILD_IMAGE $PATH"',
            settings=docker_settings,
            outputVariables=["V"],
            outputArtifacts=[{"name": "O", "files": ["*"]}],
        ),
        ComputeType="BUILD_GENERAL1_SMALL",
    )

    assert result.output_variables == {"V": "Source"}
    assert result.output_artifacts["O"].files == ["out"]
    assert f"{IMAGE} /bin" in shown(records)


@pytest.mark.docker
@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("no-such-program", f"failed with exit code 127: 'no-such-program' was not found in image '{IMAGE}'"),
        ("echo bad; exit 9", "failed with exit code 9\nThe last lines of its output:\nbad"),
        ("echo 'unbalanced", "failed with exit code 2"),
    ],
)
def test_in_a_container_failures_say_the_same(make_context, docker_settings, command, message):
    error = failure(make_context("true", command, "true", settings=docker_settings))

    assert str(error).startswith("command 2 of 3 (")
    assert message in str(error)
