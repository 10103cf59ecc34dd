"""Pipelines of public repositories run here as they are, from their sources to their stacks."""

from __future__ import annotations

import io
import json
import shlex
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from aws_credentials import save_credentials
from git_repositories import GitRepository
from public_pipelines import BUCKET, CONNECTION, NESTED, PIPELINES, SERVICE_CATALOG, PublicPipeline, Stack

from prefect_codepipeline.blocks.git_connection import GitConnection
from prefect_codepipeline.deployments.delete import delete_pipeline
from prefect_codepipeline.engine.executions.lookup import KnownExecution

pytestmark = pytest.mark.live
TEMPLATES = Path(__file__).parents[1] / "data" / "templates"
SETTINGS = {"run_on": "host", "aws": {"credentials": "moto-of-public-pipelines"}}
SECONDS = 400  # the executions take turns
Client = Callable[..., Any]


@pytest.fixture(
    params=[
        pytest.param((SERVICE_CATALOG, NESTED), id="two"),
        pytest.param(PIPELINES, marks=pytest.mark.long, id="all"),
    ]
)
def pipelines(request: pytest.FixtureRequest) -> Sequence[PublicPipeline]:
    return cast("Sequence[PublicPipeline]", request.param)


@pytest.fixture
def account(
    aws: Client, moto_url: str, prefect_server: str, pipelines: Sequence[PublicPipeline]
) -> Iterator[Client]:
    """The account: a bucket, and the stack of a template that the import reads."""
    save_credentials(SETTINGS["aws"]["credentials"], "testing", moto_url, "us-east-1")
    aws("s3").create_bucket(Bucket=BUCKET)
    for pipeline in pipelines:
        if pipeline.stack:
            (template,) = TEMPLATES.glob(f"*{pipeline.template}")
            aws("cloudformation").create_stack(
                StackName=pipeline.name,
                TemplateBody=template.read_text(),
                Capabilities=["CAPABILITY_NAMED_IAM"],
            )
    import boto3

    def client(service: str, region: str = "us-east-1") -> Any:
        return boto3.client(service, region, endpoint_url=moto_url)

    yield client
    for pipeline in pipelines:
        for name in pipeline.stacks:
            client("cloudformation", pipeline.region).delete_stack(StackName=name)


@pytest.fixture
def repositories(
    prefect_server: str,
    make_repository: Callable[..., GitRepository],
    tmp_path: Path,
    pipelines: Sequence[PublicPipeline],
) -> Iterator[None]:
    """The repositories of the pipelines on this machine, and the connections that find them there."""
    for pipeline in pipelines:
        for place, files in pipeline.repositories.items():
            name, branch = place.split("@")
            repository = make_repository(name)
            repository.git("checkout", "--quiet", "-b", branch) if branch != "main" else None
            repository.commit("Release", **files)
    root = tmp_path / "repositories"
    connections = {
        "github": GitConnection(url_template=f"{root}/{{Owner}}/{{Repo}}"),
        "codecommit": GitConnection(url_template=f"{root}/{{RepositoryName}}"),
        "public": GitConnection(url_template=f"{root}/{{FullRepositoryId}}", connection_arn=CONNECTION),
    }
    for name, connection in connections.items():
        connection.save(name, overwrite=True)
    yield
    for name in connections:  # other tests of the session mean to have no such connection
        GitConnection.delete(name)


def imported(world: Any, pipeline: PublicPipeline, folder: Path) -> Path:
    """The definition that `codepipeline import` writes, with the values that it asks for, and the user's settings."""
    (template,) = TEMPLATES.glob(f"*{pipeline.template}")
    own_stack = ("--stack", pipeline.name) if pipeline.stack else ()
    first = world.cli("import", template, "--out", folder / pipeline.name, *own_stack, "--json")
    assert first.returncode == 0, first.stdout
    (read,) = json.loads(first.stdout)
    command = read["commands"].get("give the missing values with")
    if command:
        answer(world, command, pipeline)
    definition = folder / pipeline.name / f"{pipeline.name}.json"
    *_, last = world.cli("plan", definition).stdout.splitlines()
    _, _, command = last.partition("builds lack variables: ")
    if command:
        answer(world, command, pipeline)
    path = definition.with_suffix(".settings.yaml")
    settings = yaml.safe_load(path.read_text()) if path.exists() else {}
    defaults = settings.get("defaults", {})
    aws = {**defaults.get("aws", {}), **SETTINGS["aws"]}
    path.write_text(yaml.safe_dump({**settings, "defaults": {**defaults, **SETTINGS, "aws": aws}}))
    return definition


def answer(world: Any, command: str, pipeline: PublicPipeline) -> None:
    """Run a proposed command, with a value in place of each VALUE."""
    words = [
        f"{name}={pipeline.values[name]}" if value == "VALUE" else word
        for word in shlex.split(command)
        for name, _, value in [word.partition("=")]
    ]
    done = world.cli(*words[1:])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "missing values" not in done.stdout


def fill_buckets(account: Client, pipelines: Sequence[PublicPipeline]) -> None:
    """Put the objects of the pipelines into the buckets that their stacks have made."""
    for pipeline in pipelines:
        for key, files in pipeline.objects.items():
            resources = account("cloudformation").list_stack_resources(StackName=pipeline.name)
            (bucket,) = (
                each["PhysicalResourceId"]
                for each in resources["StackResourceSummaries"]
                if each["ResourceType"] == "AWS::S3::Bucket"
            )
            packed = io.BytesIO()
            with zipfile.ZipFile(packed, "w") as archive:
                for name, text in files.items():
                    archive.writestr(name, text)
            account("s3").put_object(Bucket=bucket, Key=key, Body=packed.getvalue())


def run(world: Any, pipeline: PublicPipeline, execution_id: str) -> KnownExecution:
    """The execution at its end; each approval is approved when it is open."""

    def is_over(known: KnownExecution) -> bool:
        return bool(known.state and known.state.final)

    def waits_for(name: str, known: KnownExecution) -> bool:
        return bool(known.state and name in [action.name for _, action in known.state.open_approvals])

    for name in pipeline.approvals:
        known = world.wait(
            execution_id, lambda known, name=name: is_over(known) or waits_for(name, known), SECONDS
        )
        if not is_over(known):
            done = world.cli("approve", pipeline.name)
            assert done.returncode == 0, done.stderr
    return world.ended(execution_id, SECONDS)


def failure(known: KnownExecution) -> str:
    """What went wrong in an execution; empty if it succeeded."""
    failed = known.state.failure if known.state else None
    where = f" in {failed[0].name}/{failed[1].name}: {failed[1].summary}" if failed else ""
    return "" if known.status == "Succeeded" else f"{known.run['name']} {known.status}{where}"


def stacks(account: Client, pipeline: PublicPipeline) -> dict[str, Stack]:
    """The pipeline's stacks as they are in the account."""
    formation = account("cloudformation", pipeline.region)
    every = formation.get_paginator("describe_stacks").paginate().build_full_result()["Stacks"]
    found = {each["StackName"]: each for each in every}
    # A stack that is deleted has no name any more.
    summaries = formation.list_stacks(StackStatusFilter=["DELETE_COMPLETE"])["StackSummaries"]
    deleted = {each["StackName"] for each in summaries}
    ended = {}
    for name, wanted in pipeline.stacks.items():
        if name not in found:
            ended[name] = Stack(status="DELETE_COMPLETE" if name in deleted else "missing")
            continue
        template = formation.get_template(StackName=name)["TemplateBody"]
        given = {each["ParameterKey"]: each["ParameterValue"] for each in found[name].get("Parameters", [])}
        for key in [key for key, value in wanted.parameters.items() if not value and given.get(key)]:
            given[key] = ""
        ended[name] = Stack(template["Description"], given, found[name]["StackStatus"])
    return ended


@pytest.mark.timeout(600)  # on a machine that is busy with other things; alone it takes 40 seconds
@pytest.mark.filterwarnings("ignore:Tried to parse AWS")  # moto's stacks lack some types
@pytest.mark.usefixtures("repositories")
def test_public_pipelines_run_from_source_to_stacks(
    world: Any, account: Client, pipelines: Sequence[PublicPipeline], tmp_path: Path
) -> None:
    with ThreadPoolExecutor(4) as threads:
        definitions = list(threads.map(lambda each: imported(world, each, tmp_path / "pipelines"), pipelines))
    fill_buckets(account, pipelines)
    deployed = world.cli("deploy", *definitions, "--start", "--json", cwd=tmp_path)
    assert deployed.returncode == 0, deployed.stderr
    executions = {each["name"]: each["pipelineExecutionId"] for each in json.loads(deployed.stdout)}
    assert [*executions] == [pipeline.name for pipeline in pipelines]

    with ThreadPoolExecutor(len(pipelines)) as threads:
        ended = list(threads.map(lambda each: run(world, each, executions[each.name]), pipelines))

    assert [said for known in ended if (said := failure(known))] == []
    assert {pipeline.name: stacks(account, pipeline) for pipeline in pipelines} == {
        pipeline.name: pipeline.stacks for pipeline in pipelines
    }
    for name in executions:
        delete_pipeline(name)
