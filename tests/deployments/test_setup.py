"""What `codepipeline setup` makes on a server, where pipelines are deployed to, and that no run copies a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.states import Crashed, Pending, Scheduled
from waiting import until

from prefect_codepipeline.blocks.artifact_store import ArtifactStore
from prefect_codepipeline.deployments.checking.files import read_runnable
from prefect_codepipeline.deployments.create import deploy_pipeline, find_deployment, start_pipeline_execution
from prefect_codepipeline.deployments.files.resources import read_beside
from prefect_codepipeline.deployments.setup import make_pool, make_store, set_up
from prefect_codepipeline.deployments.work_pools.engines import check_engines
from prefect_codepipeline.deployments.work_pools.templates import OWN_IMAGE
from prefect_codepipeline.engine.executions.lookup import read_execution
from prefect_codepipeline.engine.operations.projection import project_missing
from prefect_codepipeline.errors import ValidationException
from prefect_codepipeline.flows.reconcile import _resume_or_fail
from prefect_codepipeline.model.definition.action_settings import ActionOverride, ActionSettings
from prefect_codepipeline.model.stored.settings import StoredSettings
from prefect_codepipeline.prefect_api.block_documents import delete_block, find_block
from prefect_codepipeline.prefect_api.client import call, client, find_named
from prefect_codepipeline.prefect_api.deployments import Place

pytestmark = pytest.mark.live
ROOT = Path(__file__).parents[2]
PLACE = ("work_pool_name", "work_queue_name", "job_variables")


@pytest.fixture
def pool(prefect_server: str) -> str:
    """A work pool for Prefect's own worker, as a server of one's own has it."""
    name = f"pool-{uuid4().hex[:8]}"
    call("POST", "/work_pools/", {"name": name, "type": "process"})
    return name


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A working directory that has nothing to do with us, and that cannot be copied."""
    folder = tmp_path / "foreign"
    folder.mkdir()
    os.mkfifo(folder / "cannot-be-copied")
    return folder


def run_as_a_worker_does(run_id: str, folder: Path) -> None:
    """The command of Prefect's process, docker and kubernetes workers, in the working directory of a container."""
    environment = {**os.environ, "PREFECT__FLOW_RUN_ID": run_id, "PREFECT_LOGGING_LEVEL": "INFO"}
    command = [sys.executable, "-m", "prefect", "flow-run", "execute", run_id]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Downloading flow code" not in done.stdout + done.stderr


@pytest.mark.long
def test_an_execution_copies_no_working_directory(world: Any, pool: str, foreign: Path) -> None:
    deploy_pipeline(world.declare([world.action("Work")]), pool)
    execution_id = start_pipeline_execution(world.name, {}, {}, "tester")

    run_as_a_worker_does(execution_id, foreign)

    assert world.ended(execution_id).status == "Succeeded"


@pytest.mark.long
def test_setup_makes_pool_queues_and_deployments_that_run_anywhere(
    prefect_server: str, foreign: Path
) -> None:
    name = f"own-{uuid4().hex[:8]}"

    made = list(map(str, set_up(name, "process", {"env": {"A": "1"}})))
    pool = call("GET", f"/work_pools/{name}")[1]
    assert "working_dir" in pool["base_job_template"]["variables"]["properties"]
    again = list(map(str, set_up(name, None, {})))

    assert made[:3] == [
        f"work pool {name!r}: created, type process",
        "work queue 'reconcile': created, priority 1",
        "work queue 'poll': created, priority 2",
    ]
    assert [sentence.partition(": ")[0] for sentence in made[3:]] == [
        "deployment reconcile/reconcile",
        "deployment poll/poll",
        f"deployment action/{name}",
    ]
    assert [sentence.partition(": ")[2].partition(",")[0] for sentence in again] == ["exists"] * 6
    queues = {
        each["name"]: each["priority"] for each in call("POST", f"/work_pools/{name}/queues/filter", {})[1]
    }
    assert queues == {"reconcile": 1, "poll": 2, "default": 3}
    for flow in ("reconcile", "poll"):
        deployment = call("GET", f"/deployments/name/{flow}/{flow}")[1]
        assert [deployment[key] for key in PLACE] == [name, flow, {"env": {"A": "1"}}]
        assert [each["schedule"]["interval"] for each in deployment["schedules"]] == [60.0]
        run = call("POST", f"/deployments/{deployment['id']}/create_flow_run", {})[1]
        run_as_a_worker_does(run["id"], foreign)
        assert call("GET", f"/flow_runs/{run['id']}")[1]["state_type"] == "COMPLETED"
        call("PATCH", f"/deployments/{deployment['id']}", {"paused": True})


def test_setup_corrects_what_prefect_deploy_wrote_and_keeps_what_users_changed(prefect_server: str) -> None:
    name = f"own-{uuid4().hex[:8]}"
    set_up(name, None, {})
    deployment = call("GET", "/deployments/name/reconcile/reconcile")[1]
    step = {"prefect.deployments.steps.set_working_directory": {"directory": "/a/checkout"}}
    schedule = {"schedule": {"interval": 300}, "active": False}
    call(
        "PATCH",
        f"/deployments/{deployment['id']}",
        {"pull_steps": [step], "path": "/a/checkout", "schedules": [schedule], "tags": ["mine"]},
    )

    made = list(map(str, set_up(name, None, {})))

    assert made[3] == "deployment reconcile/reconcile: updated: pull_steps corrected; path corrected"
    deployment = call("GET", "/deployments/name/reconcile/reconcile")[1]
    assert (deployment["pull_steps"], deployment["path"], deployment["tags"]) == ([{}], None, ["mine"])
    assert [(each["schedule"]["interval"], each["active"]) for each in deployment["schedules"]] == [
        (300.0, False)
    ]
    with pytest.raises(ValidationException, match="has the type codepipeline, not docker"):
        set_up(name, "docker", {})


def test_setup_asks_for_a_worker_except_for_the_embedded_set_ups_own_pool(world: Any) -> None:
    own = {key: value for key, value in os.environ.items() if key != "PREFECT_API_URL"}

    embedded = world.cli("setup", env=own)
    pool = f"own-{uuid4().hex[:8]}"
    other = world.json("setup", "--pool", pool, "--type", "process")
    refused = world.cli("setup", "--job-variable", "image=x", env=own)

    assert embedded.stdout.splitlines() == [
        "work pool 'codepipeline': exists, type codepipeline",
        "nothing more to do: the embedded set-up has a worker, and reconciles and polls by itself",
    ]
    made = {"kind": "work pool", "name": pool, "result": "created", "details": ["type process"]}
    assert (other["parts"][0], len(other["parts"])) == (made, 6)
    assert other["workerCommand"] == f"prefect worker start --pool {pool}"
    assert "the embedded set-up does not have" in refused.stderr


@pytest.mark.long
def test_the_advice_for_a_missing_pool_works_on_the_embedded_set_up_too(world: Any, foreign: Path) -> None:
    own = {key: value for key, value in os.environ.items() if key != "PREFECT_API_URL"}
    name = f"own-{uuid4().hex[:8]}"
    file = world.folder / "p.json"
    file.write_text(world.declare([world.action("Work")]).model_dump_json(by_alias=True, exclude_none=True))
    deploy = ["deploy", str(file), "--pool", name]
    refused = world.cli(*deploy, env=own)
    assert f"`codepipeline setup --pool {name}`" in refused.stderr

    made = world.cli("setup", "--pool", name, "--type", "process", env=own)
    deployed = world.cli(*deploy, env=own)

    first, last = made.stdout.splitlines()
    assert first == f"work pool {name!r}: created, type process"
    assert last.endswith(
        f"PREFECT_PROFILES_PATH={os.environ['PREFECT_PROFILES_PATH']} prefect worker start --pool {name}"
    )
    assert deployed.returncode == 0, deployed.stderr
    execution_id = start_pipeline_execution(world.name, {}, {}, "tester")
    run_as_a_worker_does(execution_id, foreign)
    assert world.ended(execution_id).status == "Succeeded"


@pytest.mark.long
def test_reconcile_does_not_wait_behind_executions(world: Any, tmp_path: Path) -> None:
    """The session's worker has a limit of 4."""
    set_up("codepipeline", None, {})
    deployment = call("GET", "/deployments/name/reconcile/reconcile")[1]
    call("PATCH", f"/deployments/{deployment['id']}", {"paused": False})
    declared = world.declare([world.action("Work", Until=tmp_path / "go")], executionMode="PARALLEL")
    deploy_pipeline(declared)
    ids = [start_pipeline_execution(world.name, {}, {}, "tester") for _ in range(4)]
    for each in ids:
        world.wait(each, lambda _, each=each: "S1/Work" in world.ran(each))

    run = call("POST", f"/deployments/{deployment['id']}/create_flow_run", {})[1]
    client().set_flow_run_state(UUID(run["id"]), Scheduled())
    try:
        until(lambda: call("GET", f"/flow_runs/{run['id']}")[1]["state_type"] == "COMPLETED", 60)
    finally:
        (tmp_path / "go").touch()
        call("PATCH", f"/deployments/{deployment['id']}", {"paused": True})
    assert [world.ended(each).status for each in ids] == ["Succeeded"] * 4


def test_deploy_leaves_where_a_pipeline_runs_as_it_is(world: Any, pool: str) -> None:
    file = world.folder / "p.json"
    file.write_text(world.declare([world.action("Work")]).model_dump_json(by_alias=True, exclude_none=True))
    world.cli("deploy", str(file), "--pool", pool)
    deployment = find_deployment(world.name)
    variables = {"env": {"A": "1"}, "working_dir": "/tmp"}
    users = {"work_pool_name": pool, "work_queue_name": "fast", "job_variables": variables, "tags": ["mine"]}
    call("PATCH", f"/deployments/{deployment['id']}", users)

    said = world.cli("deploy", str(file)).stdout

    assert f"{world.name}: unchanged, version 1" in said
    deployment = find_deployment(world.name)
    assert [deployment[key] for key in PLACE] == [pool, "fast", variables]
    assert "mine" in deployment["tags"]
    assert f"pipeline:{world.name}" in deployment["tags"]


def test_where_a_pipeline_runs_is_a_setting_and_an_option(world: Any, pool: str) -> None:
    call("POST", f"/work_pools/{pool}/queues/", {"name": "fast"})
    file = world.folder / "p.json"
    file.write_text(world.declare([world.action("Work")]).model_dump_json(by_alias=True, exclude_none=True))
    (world.folder / "p.settings.yaml").write_text(
        f"work_pool: {pool}\nwork_queue: fast\njob_variables: {{working_dir: /tmp, env: {{A: '1'}}}}\n"
        "slack_channel: nobody\nnotifications:\n"
        "  - {event_types: [codepipeline-pipeline-pipeline-execution-failed], event_webhook: nowhere}\n"
    )

    world.cli("deploy", str(file))
    settings = find_deployment(world.name)
    said = world.cli(
        "deploy",
        str(file),
        "--pool",
        "codepipeline",
        "--job-variable",
        "env=null",
        "--job-variable",
        "working_dir=/",
    ).stdout
    moved = find_deployment(world.name)
    call("DELETE", f"/deployments/{moved['id']}")
    project_missing()
    recreated = find_deployment(world.name)

    assert [settings[key] for key in PLACE] == [pool, "fast", {"working_dir": "/tmp", "env": {"A": "1"}}]
    assert [moved[key] for key in PLACE] == ["codepipeline", "default", {"working_dir": "/"}]
    assert f"{world.name}: updated, version 1" in said
    assert f"work pool: {pool} -> codepipeline" in said
    assert "job variables changed: env, working_dir" in said
    for missing in ("SlackChannel block 'nobody'", "EventWebhook block 'nowhere'"):
        assert f"warning: notifications are not sent: there is no {missing}; create it with" in " ".join(
            said.split()
        )
    assert [recreated[key] for key in PLACE] == [settings[key] for key in PLACE]
    refused = world.cli("deploy", str(file), "--pool", "codepipeline", "--job-variable", "env=5")
    said = "job variable 'env' of work pool 'codepipeline' must be of type object"
    assert (refused.returncode, said in refused.stderr) == (1, True)


def template_of(pool: str) -> dict[str, Any]:
    return dict(call("GET", f"/work_pools/{pool}")[1]["base_job_template"])


def test_a_pool_has_the_template_of_its_type_and_the_image_that_was_given(prefect_server: str) -> None:
    def image(pool: str) -> str:
        return str(template_of(pool)["variables"]["properties"]["image"]["default"])

    kubernetes, docker, empty = (f"{kind}-{uuid4().hex[:8]}" for kind in ("k8s", "docker", "empty"))
    said = str(make_pool(kubernetes, "kubernetes", "registry.example.com/own:1"))
    assert said == f"work pool {kubernetes!r}: created, type kubernetes, image registry.example.com/own:1"
    assert "node_selector" in template_of(kubernetes)["variables"]["properties"]
    assert "exists" in str(make_pool(kubernetes, None))
    assert image(kubernetes) == "registry.example.com/own:1"

    make_pool(docker, "docker")
    assert image(docker) == OWN_IMAGE
    assert template_of(docker)["variables"]["properties"]["env"]["default"] == {
        "PREFECT_HOME": "/tmp/prefect"
    }
    assert "updated: image written" in str(make_pool(docker, None, "own:2"))
    assert image(docker) == "own:2"

    call("POST", "/work_pools/", {"name": empty, "type": "codepipeline"})
    assert "updated: base job template written" in str(make_pool(empty, None))
    with pytest.raises(ValidationException, match="has no variable `image`"):
        make_pool(empty, None, "own:1")

    with pytest.raises(
        ValidationException, match=r"knows no type 'kubernets', only .*, kubernetes, .*process"
    ):
        make_pool(f"{empty}-2", "kubernets")
    assert find_named("/work_pools", f"{empty}-2") is None


def test_what_setup_refuses_leaves_nothing_behind(world: Any) -> None:
    pool = f"half-{uuid4().hex[:8]}"
    for wrong, said in {"--store=nowhere": "is a relative path", "--image=": "--image is empty"}.items():
        refused = world.cli("setup", "--pool", pool, "--type", "docker", wrong)
        assert refused.returncode == 1
        assert said in refused.stderr
        assert find_named("/work_pools", pool) is None


def test_the_artifact_store_of_all_pipelines_is_made_once(prefect_server: str, tmp_path: Path) -> None:
    there = find_block(ArtifactStore, "default")
    if there is None:
        assert str(make_store(str(tmp_path))) == f"artifact store 'default': created, {tmp_path}"
    with pytest.raises(ValidationException, match="artifacts do not move by themselves"):
        make_store("s3://another/place")
    with pytest.raises(ValidationException, match="is not supported"):
        make_store("ftp://host/place")
    if there is None:
        assert "exists" in str(make_store(str(tmp_path)))
        delete_block(ArtifactStore, "default")


def test_deploy_refuses_containers_in_pods_without_an_engine(prefect_server: str) -> None:
    pool = f"k8s-{uuid4().hex[:8]}"
    make_pool(pool, "kubernetes")
    declaration = read_runnable(ROOT / "examples/hello/pipeline.json").declaration
    nothing = read_beside(tmp := ROOT / "examples/hello/none.json")
    assert not tmp.exists()

    def check(settings: StoredSettings, pool: str = pool) -> None:
        check_engines(declaration, settings, nothing, Place(pool))

    with pytest.raises(ValidationException) as refused:
        check(StoredSettings())
    lines = str(refused.value).splitlines()
    assert [line.split(" ")[1] for line in lines] == ["'Build/Build'", "'Build/Test'"]
    assert "docker_host, or set run_on: host to run it in the pod" in lines[0]
    check(StoredSettings(defaults=ActionSettings(run_on="host")))
    check(StoredSettings(defaults=ActionSettings(docker_host="builds")))
    one = {"Build/Test": ActionOverride(run_on="host")}
    with pytest.raises(ValidationException, match="'Build/Build'"):
        check(StoredSettings(overrides=one))
    process = f"process-{uuid4().hex[:8]}"
    make_pool(process, "process")
    check(StoredSettings(), process)
    with pytest.raises(ValidationException, match=f"'Build/Test' .* work pool '{pool}'"):
        check(StoredSettings(overrides={"Build/Test": ActionOverride(work_pool=pool)}), process)


def test_an_execution_whose_image_cannot_be_pulled_fails_with_the_reason_after_two_attempts(
    world: Any, pool: str
) -> None:
    """What Prefect's worker reports when it cannot start a container or a pod."""
    deploy_pipeline(world.declare([world.action("Work")]), pool)
    execution_id = start_pipeline_execution(world.name, {}, {}, "tester")
    reason = "Flow run could not be submitted to infrastructure:\nImageNotFound('pull access denied for own')"

    def crash() -> list[str]:
        client().set_flow_run_state(UUID(execution_id), Pending(), force=True)
        client().set_flow_run_state(UUID(execution_id), Crashed(message=reason), force=True)
        return _resume_or_fail(read_execution(execution_id))

    assert "resumed" in crash()[0]
    assert "pull access denied for own" in crash()[0]
    run = call("GET", f"/flow_runs/{execution_id}")[1]
    assert (run["state_type"], reason in run["state"]["message"]) == ("FAILED", True)
