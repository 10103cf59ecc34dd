"""Builds in CodeBuild itself: against moto's server as far as it goes, the rest against written answers."""

from __future__ import annotations

import io
import logging
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aws_environment import use_endpoint
from aws_server import AwsServer, RefusalError
from provider_calls import call_to_its_end

from prefect_codepipeline.actions.aws import remote_work
from prefect_codepipeline.actions.codebuild.service import following, running
from prefect_codepipeline.actions.codebuild.service.running import can_find_again
from prefect_codepipeline.actions.codebuild.wanted_build import WantedBuild
from prefect_codepipeline.actions.registry import ActionContext, ActionResult, Earlier, WorkGoesOn
from prefect_codepipeline.actions.work import InputTree
from prefect_codepipeline.blocks.codebuild_project import CodeBuildProject, ProjectVariable
from prefect_codepipeline.engine.executions.keeping import Keeper
from prefect_codepipeline.errors import ActionAbandoned, ActionFailed, ActionInterrupted, PrefectUnavailable
from prefect_codepipeline.model.definition.declaration import ActionDeclaration
from prefect_codepipeline.model.record.waiting_facts import ActionKept

ID = "shop:0f1e"
ARN = "arn:aws:codebuild:us-east-1:123456789012:build/shop:0f1e"
PAGE = (
    "https://us-east-1.console.aws.amazon.com/codesuite/codebuild/123456789012/projects/shop/build/"
    "shop%3A0f1e/?region=us-east-1"
)
BUILD = {"id": ID, "arn": ARN, "projectName": "shop", "buildStatus": "IN_PROGRESS", "currentPhase": "QUEUED"}
LOGS = {"logs": {"groupName": "/aws/codebuild/shop", "streamName": "0f1e"}}
COMMIT = "4e2533005d7ba5bef1c7fe1cd81bd95f7b6a615c"


def run_in_codebuild(project: CodeBuildProject, build: WantedBuild, context: ActionContext) -> ActionResult:
    """As the engine does: again and again while the build goes on."""
    return call_to_its_end(
        lambda wanted, call: running.run_in_codebuild(project, wanted, call), build, context
    )


@pytest.fixture
def aws(moto_url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    use_endpoint(monkeypatch, moto_url, "us-east-1")
    monkeypatch.setattr(remote_work, "SHORTEST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(remote_work, "LONGEST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(following, "SETTLE_SECONDS", 0.02)
    import boto3

    boto3.client("s3").create_bucket(Bucket="exchange")
    return boto3.client


@pytest.fixture
def codebuild(aws: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsServer]:
    """CodeBuild and its log with written answers; S3 is moto's."""
    server = AwsServer()
    monkeypatch.setenv("AWS_ENDPOINT_URL_CODEBUILD", server.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", server.url)
    server.answers = {
        "BatchGetProjects": lambda _: {"projects": [{"name": "shop", "source": {"type": "GITHUB"}}]},
        "StartBuild": lambda _: {"build": BUILD},
        "BatchGetBuilds": lambda _: {"builds": [BUILD | {"buildStatus": "SUCCEEDED"}]},
        "StopBuild": lambda _: {"build": BUILD | {"buildStatus": "STOPPED"}},
    }
    yield server
    server.stop()


@pytest.fixture
def make_context(tmp_path: Path) -> Callable[..., ActionContext]:
    def make(seconds: float = 30, **fields: Any) -> ActionContext:
        action = {
            "name": "Build",
            "actionTypeId": {"category": "Build", "owner": "AWS", "provider": "CodeBuild", "version": "1"},
        }
        (tmp_path / "scratch").mkdir(exist_ok=True)
        return ActionContext(
            pipeline_name="release",
            pipeline_execution_id="e1",
            stage_name="Build",
            action=ActionDeclaration.model_validate(action),
            action_execution_id="a1",
            scratch=tmp_path / "scratch",
            deadline=time.monotonic() + seconds,
            logger=logging.getLogger("codebuild-service"),
            **fields,
        )

    return make


@pytest.fixture
def source(tmp_path: Path) -> InputTree:
    directory = tmp_path / "Source"
    (directory / "bin").mkdir(parents=True)
    (directory / "buildspec.yml").write_text("version: 0.2")
    (directory / "bin" / "run").write_text("#!/bin/sh")
    (directory / "bin" / "run").chmod(0o755)
    (directory / "run").symlink_to("bin/run")
    return InputTree("Source", directory, revision_id=COMMIT)


def zipped(**files: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def keys(aws: Any) -> list[str]:
    return [each["Key"] for each in aws("s3").list_objects_v2(Bucket="exchange").get("Contents", ())]


def test_moto_runs_a_build_and_nothing_is_left_in_the_bucket(aws, make_context, source, caplog):
    aws("codebuild").create_project(
        name="shop", source={"type": "CODEPIPELINE", "location": "-"}, artifacts={"type": "NO_ARTIFACTS"},
        environment={"type": "LINUX_CONTAINER", "image": "x", "computeType": "BUILD_GENERAL1_SMALL"},
        serviceRole="arn:aws:iam::123456789012:role/service-role/x",
    )  # fmt: skip
    project = CodeBuildProject(where="aws", aws_location="s3://exchange/here")

    result = run_in_codebuild(project, WantedBuild("shop", [source], ["Out"]), make_context())

    assert result.summary == "Build terminated with state: SUCCEEDED"
    assert result.external_execution_id.startswith("shop:")
    assert result.output_artifacts == {}
    assert "Output artifact 'Out' was not produced" in caplog.text
    assert keys(aws) == []


def test_a_project_that_is_not_there_is_reported(aws, make_context, source):
    with pytest.raises(
        ActionFailed, match="no CodeBuild project 'nobody' in us-east-1; correct ProjectName"
    ) as failed:
        run_in_codebuild(CodeBuildProject(where="aws"), WantedBuild("nobody", [source]), make_context())
    assert failed.value.code == "ConfigurationError"


def test_a_project_of_codepipeline_needs_a_place_for_its_artifacts(codebuild, make_context, source):
    codebuild.answers["BatchGetProjects"] = lambda _: {
        "projects": [{"name": "shop", "source": {"type": "CODEPIPELINE"}}]
    }

    with pytest.raises(ActionFailed, match="set aws_location of the CodeBuildProject block"):
        run_in_codebuild(CodeBuildProject(where="aws"), WantedBuild("shop", [source]), make_context())
    assert not codebuild.asked("StartBuild")


def test_inputs_go_up_overrides_are_asked_for_and_outputs_come_back(
    codebuild, aws, make_context, source, tmp_path
):
    seen: dict[str, list[str]] = {}

    def start(request: dict[str, Any]) -> dict[str, Any]:
        bucket, _, key = request["sourceLocationOverride"].partition("/")
        body = aws("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            seen["names"] = sorted(archive.namelist())
        for output in request["secondaryArtifactsOverride"]:
            if output["artifactIdentifier"] != "Missing":
                place = f"{output['path']}/{output['name']}"
                aws("s3").put_object(
                    Bucket=output["location"], Key=place, Body=zipped(**{"dist/app": output["name"]})
                )
        return {"build": BUILD}

    codebuild.answers["StartBuild"] = start
    extra = InputTree("Extra", tmp_path / "Extra")
    extra.directory.mkdir()
    project = CodeBuildProject(
        where="aws",
        aws_project_name="shop-in-aws",
        aws_location="s3://exchange/ci/",
        compute_type="BUILD_GENERAL1_LARGE",
        timeout_in_minutes=2,
        environment_variables=[ProjectVariable(name="A", value="1"), ProjectVariable(name="B", value="1")],
    )
    build = WantedBuild(
        "shop",
        [source, extra],
        ["Out", "Docs", "Missing"],
        [ProjectVariable(name="B", value="/b", type="PARAMETER_STORE")],
        buildspec="ci.yml",
    )

    result = run_in_codebuild(project, build, make_context())

    (request,) = codebuild.asked("StartBuild")
    place = {
        "type": "S3",
        "location": "exchange",
        "path": "ci/a1/out",
        "namespaceType": "NONE",
        "packaging": "ZIP",
    }
    assert request == {
        "projectName": "shop-in-aws",
        "idempotencyToken": "a1",
        "buildspecOverride": "ci.yml",
        "computeTypeOverride": "BUILD_GENERAL1_LARGE",
        "timeoutInMinutesOverride": 5,
        "environmentVariablesOverride": [
            {"name": "A", "value": "1", "type": "PLAINTEXT"},
            {"name": "B", "value": "/b", "type": "PARAMETER_STORE"},
        ],
        "sourceTypeOverride": "S3",
        "sourceLocationOverride": "exchange/ci/a1/in/Source.zip",
        "secondarySourcesOverride": [
            {"type": "S3", "location": "exchange/ci/a1/in/Extra.zip", "sourceIdentifier": "Extra"}
        ],
        "artifactsOverride": {"type": "NO_ARTIFACTS"},
        "secondaryArtifactsOverride": [
            {**place, "name": f"{name}.zip", "artifactIdentifier": name}
            for name in ("Out", "Docs", "Missing")
        ],
    }
    assert seen["names"] == ["bin/", "bin/run", "buildspec.yml", "run"]
    assert {
        name: (tree.directory / "dist/app").read_text() for name, tree in result.output_artifacts.items()
    } == {
        "Out": "Out.zip",
        "Docs": "Docs.zip",
    }
    assert keys(aws) == []


def test_the_log_and_the_phases_are_shown_as_they_come(codebuild, make_context, source, caplog):
    caplog.set_level(logging.INFO)
    states = iter(
        [
            BUILD | {"currentPhase": "PROVISIONING"},
            BUILD | {"currentPhase": "BUILD"} | LOGS,
            BUILD | {"currentPhase": "BUILD"} | LOGS,
        ]
    )
    ended = (
        BUILD
        | LOGS
        | {
            "currentPhase": "COMPLETED",
            "buildStatus": "SUCCEEDED",
            "exportedEnvironmentVariables": [{"name": "TAG", "value": "1.2"}],
        }
    )
    codebuild.answers["BatchGetBuilds"] = lambda _: {"builds": [next(states, ended)]}
    pages = {None: ("one\n", "f/1"), "f/1": ("two\n", "f/2"), "f/2": (None, "f/2")}
    late = iter([False])

    def events(request: dict[str, Any]) -> dict[str, Any]:
        if next(late, True) is False:
            raise RefusalError("ResourceNotFoundException", "The specified log stream does not exist.")
        message, following = pages[request.get("nextToken")]
        return {"events": [{"message": message}] if message else [], "nextForwardToken": following}

    codebuild.answers["GetLogEvents"] = events
    told: list[str] = []
    context = make_context(report_progress=lambda **progress: told.append(progress["summary"]))

    result = run_in_codebuild(CodeBuildProject(where="aws"), WantedBuild("shop", [source]), context)

    lines = [record.getMessage() for record in caplog.records if record.name == "codebuild-service"]
    assert lines == [f"Started {ID}: {PAGE}", "one", "two"]
    assert list(dict.fromkeys(told)) == ["PROVISIONING", "BUILD", "COMPLETED"]
    assert result.output_variables == {"TAG": "1.2"}
    assert (result.external_execution_id, result.external_execution_url) == (ID, PAGE)
    assert codebuild.asked("StartBuild")[0]["sourceVersion"] == COMMIT


def test_a_build_that_has_ended_when_it_is_looked_at_has_its_whole_log(
    codebuild, make_context, source, caplog
):
    caplog.set_level(logging.INFO)
    codebuild.answers["BatchGetBuilds"] = lambda _: {"builds": [BUILD | LOGS | {"buildStatus": "SUCCEEDED"}]}

    def events(request: dict[str, Any]) -> dict[str, Any]:
        page = int(request.get("nextToken", "0"))
        events = [{"message": f"line {page}\n"}] if page < 9 else []
        return {"events": events, "nextForwardToken": str(min(page + 1, 9))}

    codebuild.answers["GetLogEvents"] = events

    run_in_codebuild(CodeBuildProject(where="aws"), WantedBuild("shop", [source]), make_context())

    assert [record.getMessage() for record in caplog.records if "line" in record.getMessage()] == [
        f"line {page}" for page in range(9)
    ]


@pytest.mark.parametrize(
    ("state", "code"),
    [("FAILED", "JobFailed"), ("FAULT", "JobFailed"), ("STOPPED", "JobFailed"), ("TIMED_OUT", "Timeout")],
)
def test_any_other_end_is_a_failure_with_its_phase_and_reason(codebuild, make_context, source, state, code):
    reason = "Error while executing command: npm test. Reason: exit status 1"
    phases = [
        {"phaseType": "INSTALL", "phaseStatus": "SUCCEEDED"},
        {"phaseType": "BUILD", "phaseStatus": "FAILED", "contexts": [{"message": reason}]},
    ]
    codebuild.answers["BatchGetBuilds"] = lambda _: {
        "builds": [BUILD | {"buildStatus": state, "phases": phases}]
    }

    with pytest.raises(ActionFailed) as failed:
        run_in_codebuild(CodeBuildProject(where="aws"), WantedBuild("shop", [source]), make_context())

    assert str(failed.value) == f"Build terminated with state: {state}: BUILD FAILED ({reason})"
    assert failed.value.code == code
    assert (failed.value.external_execution_id, failed.value.external_execution_url) == (ID, PAGE)
    assert not codebuild.asked("StopBuild")


def test_a_cancelled_build_is_stopped(codebuild, make_context, source):
    context = make_context()

    def running(_: Any) -> dict[str, Any]:
        threading.Timer(0.05, context.cancellation.cancel).start()
        return {"builds": [BUILD]}

    codebuild.answers["BatchGetBuilds"] = running
    with pytest.raises(ActionAbandoned):
        run_in_codebuild(CodeBuildProject(where="aws"), WantedBuild("shop", [source]), context)
    assert codebuild.asked("StopBuild") == [{"id": ID}]


def test_a_build_that_takes_too_long_is_stopped_and_said_so_when_it_cannot(
    codebuild, make_context, source, caplog
):
    codebuild.answers["BatchGetBuilds"] = lambda _: {"builds": [BUILD]}
    del codebuild.answers["StopBuild"]

    with pytest.raises(ActionFailed) as failed:
        run_in_codebuild(
            CodeBuildProject(where="aws"), WantedBuild("shop", [source]), make_context(seconds=2)
        )

    assert (failed.value.code, failed.value.external_execution_id) == ("Timeout", ID)
    assert f"Build {ID} may still run" in caplog.text


def test_a_service_that_fails_for_a_while_is_asked_again(codebuild, make_context, source, caplog):
    left = iter(range(4))

    def failing(_: Any) -> dict[str, Any]:
        if next(left, None) is not None:
            raise RefusalError("InternalError", "try later", 500)
        return {"builds": [BUILD | {"buildStatus": "SUCCEEDED"}]}

    codebuild.answers["BatchGetBuilds"] = failing

    result = run_in_codebuild(CodeBuildProject(where="aws"), WantedBuild("shop", [source]), make_context())

    assert result.summary == "Build terminated with state: SUCCEEDED"
    assert f"No answer about build {ID}, will retry" in caplog.text


def test_who_may_not_start_a_build_is_reported(codebuild, make_context, source):
    del codebuild.answers["StartBuild"]

    with pytest.raises(
        ActionFailed, match="starting a build of CodeBuild project 'shop': AWS refused"
    ) as failed:
        run_in_codebuild(CodeBuildProject(where="aws"), WantedBuild("shop", [source]), make_context())
    assert failed.value.code == "PermissionError"


def test_who_may_not_read_the_log_has_a_build_without(codebuild, make_context, source, caplog):
    codebuild.answers["BatchGetBuilds"] = lambda _: {"builds": [BUILD | LOGS | {"buildStatus": "SUCCEEDED"}]}

    run_in_codebuild(CodeBuildProject(where="aws"), WantedBuild("shop", [source]), make_context())

    assert "cannot be read: An error occurred (AccessDeniedException)" in caplog.text


def test_that_the_log_cannot_be_read_is_said_once_in_all_looks(codebuild, make_context, source, caplog):
    looks = iter(range(4))
    codebuild.answers["BatchGetBuilds"] = lambda _: {
        "builds": [BUILD | LOGS | ({} if next(looks, None) is not None else {"buildStatus": "SUCCEEDED"})]
    }

    run_in_codebuild(CodeBuildProject(where="aws"), WantedBuild("shop", [source]), make_context())

    assert caplog.text.count("cannot be read") == 1
    assert len(codebuild.asked("GetLogEvents")) == 1


def test_what_was_exchanged_stays_if_prefect_does_not_answer(codebuild, aws, make_context, source):
    def keep(*_: Any, **__: Any) -> None:
        raise PrefectUnavailable("no answer")

    project = CodeBuildProject(where="aws", aws_location="s3://exchange/")

    with pytest.raises(PrefectUnavailable):
        running.run_in_codebuild(project, WantedBuild("shop", [source]), make_context(keep=keep))

    assert keys(aws) == ["a1/in/Source.zip"]


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil"])
def test_an_output_cannot_leave_its_directory(codebuild, aws, make_context, source, tmp_path, name):
    def start(request: dict[str, Any]) -> dict[str, Any]:
        output = request["artifactsOverride"]
        aws("s3").put_object(
            Bucket="exchange", Key=f"{output['path']}/{output['name']}", Body=zipped(**{name: "x"})
        )
        return {"build": BUILD}

    codebuild.answers["StartBuild"] = start
    project = CodeBuildProject(where="aws", aws_location="s3://exchange")

    with pytest.raises(ActionFailed, match="leads out of the tree") as failed:
        run_in_codebuild(project, WantedBuild("shop", [source], ["Out"]), make_context())

    assert failed.value.external_execution_id == ID
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("combined", [True, False])
def test_a_batch_is_watched_build_by_build(codebuild, aws, make_context, source, caplog, combined):
    caplog.set_level(logging.INFO)
    batch = {"id": "shop:b1", "arn": ARN.replace("build/shop:0f1e", "build-batch/shop:b1")}
    groups = [
        {
            "identifier": name,
            "currentBuildSummary": {
                "arn": ARN.replace("0f1e", name),
                "buildStatus": "SUCCEEDED",
                "primaryArtifact": {"location": f"arn:aws:s3:::exchange/ci/a1/out/{name}/Out.zip"},
            },
        }
        for name in ("linux", "arm")
    ]
    batch |= {"buildBatchStatus": "SUCCEEDED", "currentPhase": "SUCCEEDED", "buildGroups": groups}

    def start(request: dict[str, Any]) -> dict[str, Any]:
        for name in ("", "linux/", "arm/"):
            key = f"ci/a1/out/{name}Out.zip"
            aws("s3").put_object(Bucket="exchange", Key=key, Body=zipped(app=name))
        return {"buildBatch": {"id": batch["id"], "arn": batch["arn"], "buildBatchStatus": "IN_PROGRESS"}}

    codebuild.answers |= {
        "StartBuildBatch": start,
        "BatchGetBuildBatches": lambda _: {"buildBatches": [batch]},
        "BatchGetBuilds": lambda request: {"builds": [{"id": id, **LOGS} for id in request["ids"]]},
        "GetLogEvents": lambda request: {
            "events": [] if request.get("nextToken") else [{"message": "hello\n"}],
            "nextForwardToken": "f/1",
        },
    }
    told: list[str] = []
    project = CodeBuildProject(where="aws", aws_location="s3://exchange/ci")
    build = WantedBuild("shop", [source], ["Out"], batch=True, combine_artifacts=combined)

    result = run_in_codebuild(
        project, build, make_context(report_progress=lambda **progress: told.append(progress["summary"]))
    )

    directory = result.output_artifacts["Out"].directory
    files = {str(path.relative_to(directory)): path.read_text() for path in directory.rglob("app")}
    assert files == ({"app": ""} if combined else {"linux/app": "linux/", "arm/app": "arm/"})
    assert ("buildBatchConfigOverride" in codebuild.asked("StartBuildBatch")[0]) is combined
    assert told[0] == "SUCCEEDED: 2 of 2 builds ended"
    assert "[linux] hello" in caplog.text
    assert "[arm] hello" in caplog.text
    assert "/projects/shop/batch/shop%3Ab1/" in str(result.external_execution_url)


def test_how_far_the_logs_of_a_large_batch_were_read_is_not_too_much_to_keep(codebuild, make_context):
    name, group = "p" * 150, {"logs": {"groupName": "g", "streamName": "s"}}
    ids = [f"{name}:{uuid4()}" for _ in range(100)]
    codebuild.answers["BatchGetBuildBatches"] = lambda _: {
        "buildBatches": [
            {
                "id": "shop:b1",
                "buildBatchStatus": "IN_PROGRESS",
                "buildGroups": [
                    {"currentBuildSummary": {"arn": f"{ARN.partition('/')[0]}/{id}"}} for id in ids
                ],
            }
        ]
    }
    codebuild.answers["BatchGetBuilds"] = lambda request: {
        "builds": [{"id": id, **group} for id in request["ids"]]
    }
    codebuild.answers["GetLogEvents"] = lambda _: {"events": [], "nextForwardToken": f"f/{10**55}"}
    facts: list[ActionKept] = []
    identity = {"stage": "S", "action": "A", "attempt": 1, "action_execution_id": "a1"}
    keeper = Keeper(lambda fact: facts.append(fact) or fact, None, identity)
    earlier = Earlier(datetime.now(timezone.utc), "shop:b1", None, {"build": "shop:b1"})

    for state in ({"build": "shop:b1"}, None):
        earlier = replace(earlier, state=state or facts[-1].state)
        with pytest.raises(WorkGoesOn):
            running.run_in_codebuild(
                CodeBuildProject(where="aws"),
                WantedBuild("shop", [], batch=True),
                make_context(earlier=earlier, keep=keeper),
            )

    asked = codebuild.asked("GetLogEvents")
    assert [each.get("nextToken") for each in asked[-100:]] == [f"f/{10**55}"] * 100


def test_a_build_that_an_earlier_process_started_is_followed_and_not_started_again(
    codebuild, aws, make_context, source
):
    earlier = Earlier(datetime.now(timezone.utc) - timedelta(hours=1), ID, PAGE)
    place = {"Bucket": "exchange", "Key": "a1/out/Out.zip"}
    aws("s3").put_object(**place, Body=zipped(app="built"))
    project = CodeBuildProject(where="aws", aws_location="s3://exchange")

    result = run_in_codebuild(project, WantedBuild("shop", [source], ["Out"]), make_context(earlier=earlier))

    assert not codebuild.asked("StartBuild")
    assert codebuild.asked("BatchGetBuilds")[0] == {"ids": [ID]}
    assert (result.output_artifacts["Out"].directory / "app").read_text() == "built"


def test_the_outputs_are_fetched_again_if_the_worker_dies_before_the_end_is_recorded(
    codebuild, aws, make_context, source, tmp_path
):
    earlier = Earlier(datetime.now(timezone.utc), ID, PAGE, {"build": ID})
    aws("s3").put_object(Bucket="exchange", Key="a1/out/Out.zip", Body=zipped(app="built"))
    project = CodeBuildProject(where="aws", aws_location="s3://exchange")
    wanted, context = WantedBuild("shop", [source], ["Out"]), make_context(earlier=earlier)
    running.run_in_codebuild(project, wanted, context)

    result = running.run_in_codebuild(project, wanted, replace(context, scratch=tmp_path))
    result.cleanup()

    assert (result.output_artifacts["Out"].directory / "app").read_text() == "built"
    assert keys(aws) == []


def test_the_id_of_a_build_is_kept_before_anything_else_is_asked(codebuild, make_context, source):
    kept: list[tuple[Any, ...]] = []
    context = make_context(
        keep=lambda *values, **_: kept.append((*values, codebuild.asked("BatchGetBuilds")))
    )

    run_in_codebuild(CodeBuildProject(where="aws"), WantedBuild("shop", [source]), context)

    assert kept == [(ID, PAGE, [])]


def test_a_build_continues_when_only_its_worker_ends(codebuild, aws, make_context, source):
    context = make_context()

    def running(_: Any) -> dict[str, Any]:
        threading.Timer(0.05, context.cancellation.leave).start()
        return {"builds": [BUILD]}

    codebuild.answers["BatchGetBuilds"] = running
    project = CodeBuildProject(where="aws", aws_location="s3://exchange")

    with pytest.raises(ActionInterrupted):
        run_in_codebuild(project, WantedBuild("shop", [source]), context)

    assert not codebuild.asked("StopBuild")
    assert keys(aws) == ["a1/in/Source.zip"]


@pytest.mark.parametrize(
    ("minutes", "external_id", "where", "found"),
    [
        (600, ID, "aws", True),
        (1, None, "aws", True),  # AWS still knows the token of the start
        (5, None, "aws", False),
        (1, ID, "host", False),
    ],
)
def test_a_build_is_found_again_by_its_id_or_the_token_of_its_start(
    make_context, minutes, external_id, where, found
):
    earlier = Earlier(datetime.now(timezone.utc) - timedelta(minutes=minutes), external_id)

    assert can_find_again(CodeBuildProject(where=where), make_context(earlier=earlier)) is found
