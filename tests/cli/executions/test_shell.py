"""`codepipeline shell`: what an action had, for somebody who looks why it failed."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from typing import Any
from uuid import uuid4

import pytest
from git_repositories import GitRepository

from tests.cli.test_cli import cli

IMAGE = "localhost/bb:latest"
COMMAND = [sys.executable, "-c", "from prefect_codepipeline.cli import main; main()", "shell"]
pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def pipeline(prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A pipeline with a build that fails, one in a container, commands, and an execution of it."""
    from prefect.blocks.system import Secret

    from prefect_codepipeline.blocks.codebuild_project import CodeBuildProject
    from prefect_codepipeline.blocks.codedeploy_application import CodeDeployApplication
    from prefect_codepipeline.blocks.git_connection import GitConnection
    from prefect_codepipeline.model.codedeploy.group import DeploymentGroup

    folder = tmp_path_factory.mktemp("shell")
    name = f"shell-{uuid4().hex[:6]}"
    repository = GitRepository(folder / "acme" / "app")
    repository.path.mkdir(parents=True)
    repository.git("init", "--quiet", "--initial-branch=main")
    buildspec = {
        "version": "0.2",
        "env": {"variables": {"COLOUR": "green"}, "secrets-manager": {"TOKEN": f"{name}-token"}},
        "phases": {"build": {"commands": ["touch left", "sh -c 'exit 3'"]}},
    }
    installed = {"source": "hello.txt", "destination": str(folder / "www")}
    appspec = {"version": 0.0, "os": "linux", "files": [installed]}
    texts = {
        "buildspec.yml": json.dumps(buildspec),
        "appspec.yml": json.dumps(appspec),
        "hello.txt": "hello\n",
    }
    repository.commit("first", **texts)
    here = DeploymentGroup(name="web", where="local", state_folder=str(folder / "state"))
    CodeDeployApplication(deployment_groups=[here]).save(name)
    GitConnection(url_template=f"{folder}/{{FullRepositoryId}}").save(name)
    Secret(value="geheim-4711").save(f"{name}-token")
    CodeBuildProject(where="docker", image=IMAGE).save(f"{name}-box")

    def action(kind: str, configuration: dict[str, str], **more: Any) -> dict[str, Any]:
        category, provider = kind.split("/")
        kinds = {"category": category, "owner": "AWS", "provider": provider, "version": "1"}
        return {"actionTypeId": kinds, "configuration": configuration, **more}

    code = {"inputArtifacts": [{"name": "Code"}]}
    source = {
        "ConnectionArn": name,
        "FullRepositoryId": "acme/app",
        "BranchName": "main",
        "DetectChanges": "false",
    }
    variables = json.dumps([{"name": "COLOUR", "value": "red of #{Source.BranchName}"}])
    first = action("Source/CodeStarSourceConnection", source, outputArtifacts=[{"name": "Code"}])
    deployed_to = {"ApplicationName": name, "DeploymentGroupName": "web"}
    built = {"ProjectName": name, "EnvironmentVariables": variables}
    actions = [
        {"name": "Commands", **action("Compute/Commands", {}, commands=["true"], **code)},
        {"name": "Build", **action("Build/CodeBuild", built, **code)},
        {"name": "Boxed", **action("Build/CodeBuild", {"ProjectName": f"{name}-box"}, **code)},
        {"name": "Release", **action("Deploy/CodeDeploy", deployed_to, **code)},
    ]
    definition = {
        "name": name,
        "roleArn": "arn:aws:iam::111122223333:role/p",
        "pipelineType": "V2",
        "artifactStore": {"type": "S3", "location": "bucket"},
        "stages": [
            {"name": "Source", "actions": [{"name": "Checkout", "namespace": "Source", **first}]},
            {"name": "Work", "actions": actions},
        ],
    }
    (folder / "p.json").write_text(json.dumps(definition))
    (folder / "p.settings.yaml").write_text("defaults:\n  run_on: host\n")
    deployed = cli("deploy", str(folder / "p.json"))
    assert deployed.returncode == 0, deployed.stderr
    cli("start", name, "--watch")
    return name


def test_a_script_sees_what_the_build_saw(pipeline: str) -> None:
    script = (
        'cat hello.txt; echo "$COLOUR $TOKEN"; ls; echo $CODEBUILD_BUILD_ID; env | grep -c PREFECT; exit 7'
    )
    done = cli("shell", pipeline, "Build", input=script)

    lines = done.stdout.splitlines()
    assert done.returncode == 7, done.stderr
    assert lines[:2] == ["hello", "red of main geheim-4711"]
    assert "left" not in lines  # the source as the build found it
    assert lines[-2].startswith(f"{pipeline}:")
    assert lines[-1] == "0"


@pytest.mark.long
def test_commands_have_their_shell_too(pipeline: str) -> None:
    done = cli("shell", pipeline, "Commands", input="cat hello.txt; basename $CODEBUILD_SRC_DIR")

    assert (done.returncode, done.stdout.splitlines()) == (0, ["hello", "Code"])


@pytest.mark.long
def test_a_host_has_the_deployment_and_the_variables_of_its_scripts(pipeline: str) -> None:
    script = 'cat hello.txt; pwd; echo "$APPLICATION_NAME $DEPLOYMENT_GROUP_NAME"; env | grep -c PREFECT'
    done = cli("shell", pipeline, "Release", input=script)

    hello, folder, group, secrets = done.stdout.splitlines()
    assert (hello, group, secrets) == ("hello", f"{pipeline} web", "0"), done.stderr
    assert folder.endswith("/deployment-archive")
    (deployment,) = json.loads(cli("deployment", "list", "--application", pipeline, "--json").stdout)
    assert f"/{deployment['deploymentId']}/" in folder
    refused = cli("shell", pipeline, "Release", "--host", "other", input="")
    assert f"deployment '{deployment['deploymentId']}' has no host 'other'; its hosts: " in refused.stderr
    assert (
        "--host is only for CodeDeploy and EC2 actions"
        in cli("shell", pipeline, "Build", "--host", "x").stderr
    )


def test_a_person_at_a_terminal_learns_why_it_failed(pipeline: str) -> None:
    typed = talk([pipeline, "Build"], "echo $((40 + 2))", "42")

    assert "Work/Build of execution" in typed
    assert "phase BUILD, command 2 of 2: Error while executing command: sh -c 'exit 3'" in typed
    assert "Build $" in typed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["Checkout"],
            "which runs no commands; `codepipeline shell` works only for Commands, CodeBuild, CodeDeploy and EC2 actions",
        ),
        (["Nothing"], "has no action 'Nothing'; it has: Checkout, Commands, Build, Boxed, Release"),
        (["Build", "--execution", str(uuid4())], "has no execution"),
    ],
)
def test_what_has_no_shell_is_said_so(pipeline: str, arguments: list[str], message: str) -> None:
    done = cli("shell", pipeline, *arguments, input="")

    assert done.returncode == 1
    assert message in done.stderr


@pytest.fixture
def engine() -> None:
    if not os.environ.get("DOCKER_HOST"):
        pytest.skip("DOCKER_HOST names no Docker engine")


@pytest.mark.long
@pytest.mark.docker
@pytest.mark.usefixtures("engine")
def test_a_container_is_the_one_of_the_build(pipeline: str) -> None:
    done = cli(
        "shell",
        pipeline,
        "Boxed",
        input="cat hello.txt; id -u; echo $TOKEN; head -c 200000 /dev/zero | wc -c; exit 5",
    )

    assert done.returncode == 5, done.stderr
    assert done.stdout.split() == ["hello", "0", "geheim-4711", "200000"]
    assert "42" in talk([pipeline, "Boxed"], "echo $((40 + 2))", "42")


def talk(arguments: list[str], typed: str, awaited: str) -> str:
    """What a person sees who types a line and then leaves; the terminal is as it was."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    seen, sent, until = "", False, time.monotonic() + 25
    while time.monotonic() < until:
        ready, _, _ = select.select([ours], [], [], 1)
        try:
            seen += os.read(ours, 65536).decode(errors="replace") if ready else ""
        except OSError:  # its end
            break
        if not sent and f"{arguments[1]} $ " in seen:
            os.write(ours, f"{typed}\rexit\r".encode())
            sent = True
    if process.poll() is None and not sent:
        process.kill()
        pytest.fail(seen)
    assert process.wait(30) == 0, seen
    os.close(ours)
    assert awaited in seen
    return seen
