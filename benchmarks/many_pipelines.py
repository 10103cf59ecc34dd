"""Reconcile and polling with many deployed pipelines, as part of `scale.py`.

One pipeline of 3 stages and 6 actions is deployed, with settings of its own. The others are copies of its deployment, its
definition and its settings under other names, written into the database of an embedded set-up, since to deploy 10,000
pipelines one by one takes an hour. They read twenty git repositories on this machine in turn: what a poll asks a repository
is the same for one pipeline and for many, and takes as long as the host needs. They have no schedules.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import asyncpg
from bench_setup import action, pipeline, seconds, set_up
from database import ask, check_is_postgresql, options
from results import record
from rounds import Round, rounds_of_polling, rounds_of_reconcile

REPOSITORIES = 20
FIRST, REPOSITORY = "pipeline-00000", "bench/repository-{:02}"
ARN = "arn:aws:codestar-connections:us-east-1:111122223333:connection/0dc2b6e4-7e0c-4f3f-b1c5-1a1e2b3c4d5e"
COPY_BLOCKS = """
insert into block_document select (jsonb_populate_record(null::block_document, to_jsonb(original) ||
  jsonb_build_object('id', gen_random_uuid(), 'name', copy.name, 'data', copy.data))).*
from (select * from block_document where name = $1) original, unnest($2::text[], $3::text[]) copy(name, data)
"""
COPY_DEPLOYMENTS = """
insert into deployment select (jsonb_populate_record(null::deployment,
  replace(to_jsonb(original)::text, $1, copy.name)::jsonb || jsonb_build_object('id', gen_random_uuid()))).*
from (select * from deployment where name = $1) original, unnest($2::text[]) copy(name)
"""


def measure_pipelines(count: int, repeat: int) -> None:
    # The rounds of the set-up itself would be in the way.
    os.environ |= {"PREFECT_CODEPIPELINE_RECONCILE_SECONDS": "3600", "PREFECT_CODEPIPELINE_POLL_SECONDS": "0"}
    with set_up() as home:
        check_is_postgresql(home)
        deploy_first(home)
        took = seconds(lambda: copy_first(home, count - 1))
        check(count)
        column = f"{count:,} pipelines"
        print(f"{column} were written in {took:.0f} s", flush=True)
        first, later = rounds_of_reconcile(repeat)
        polls = rounds_of_polling(repeat)
        for key, rounds in (("first", first), ("round", later), ("poll", polls)):
            check_quiet(key, rounds)
            record(f"pipelines-{key}", [each.seconds for each in rounds], column)
            record(f"pipelines-{key}-requests", [each.requests for each in rounds], column)


def deploy_first(home: Path) -> None:
    from prefect_codepipeline.blocks.git_connection import GitConnection
    from prefect_codepipeline.blocks.pipeline_settings import PipelineSettings
    from prefect_codepipeline.deployments.create import deploy_pipeline
    from prefect_codepipeline.model.names import slug

    repositories = home.parent / "git"
    for number in range(REPOSITORIES):
        make_repository(repositories / REPOSITORY.format(number))
    connection: Any = GitConnection(url_template=f"{repositories}/{{FullRepositoryId}}", connection_arn=ARN)
    connection.save("bench")
    settings: Any = PipelineSettings()
    settings.save(slug(FIRST))
    configuration = {"ConnectionArn": ARN, "FullRepositoryId": REPOSITORY.format(0), "BranchName": "main"}
    source = {
        **action("Src", 1, "Source", "AWS", "CodeStarSourceConnection"),
        "configuration": configuration,
        "outputArtifacts": [{"name": "Code"}],
    }
    stages = {
        "Source": [source],
        "Build": [action("A"), action("B"), action("C")],
        "Deploy": [action("D"), action("E")],
    }
    deploy_pipeline(pipeline(FIRST, stages, "QUEUED"))


def make_repository(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "file").write_text("content\n")
    git = ["git", "-C", str(folder), "-c", "user.name=Bench", "-c", "user.email=bench@example.invalid"]
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "The first commit"]):
        subprocess.run([*git, *words], check=True)


def copy_first(home: Path, count: int) -> None:
    """Write that many copies of the first pipeline."""
    from cryptography.fernet import Fernet

    from prefect_codepipeline.model.names import slug
    from prefect_codepipeline.model.stored.definition import document_name

    names = [f"pipeline-{number:05}" for number in range(1, count + 1)]
    # Prefect encrypts the data of blocks with a key in the same database.
    key = ask(home, "select value::text from configuration where key = 'ENCRYPTION_KEY'")[0][0]
    fernet = Fernet(json.loads(key)["fernet_key"])

    def copies(first: str, name_of: Any) -> tuple[list[str], list[str]]:
        stored = ask(home, "select data::text from block_document where name = $1", first)[0][0]
        data = fernet.decrypt(json.loads(stored)).decode()
        texts = [
            data.replace(FIRST, name).replace(REPOSITORY.format(0), REPOSITORY.format(at % REPOSITORIES))
            for at, name in enumerate(names)
        ]
        return [name_of(name) for name in names], [fernet.encrypt(text.encode()).decode() for text in texts]

    blocks = {document_name(FIRST, 1): lambda name: document_name(name, 1), slug(FIRST): slug}
    asyncio.run(_write(home, names, {first: copies(first, name_of) for first, name_of in blocks.items()}))


async def _write(home: Path, names: list[str], blocks: dict[str, tuple[list[str], list[str]]]) -> None:
    connection = await asyncpg.connect(**options(home), command_timeout=3600)
    try:
        for first, copies in blocks.items():
            await connection.execute(COPY_BLOCKS, first, *copies)
        await connection.execute(COPY_DEPLOYMENTS, FIRST, names)
        await connection.execute("vacuum analyze")
    finally:
        await connection.close()


def check(count: int) -> None:
    """Our own code must read all of them."""
    from prefect_codepipeline.engine.operations.projection import deployed_definitions

    found = deployed_definitions()
    repositories = {each.whole().stages[0].actions[0].configuration["FullRepositoryId"] for each in found}
    if len({each.pipeline_name for each in found}) != count or len(repositories) != min(REPOSITORIES, count):
        raise SystemExit(f"{len(found)} pipelines with {len(repositories)} repositories can be read")


def check_quiet(key: str, rounds: list[Round]) -> None:
    if said := [sentence for each in rounds for sentence in each.said]:
        raise SystemExit(f"there was something to do in a round ({key}): {said[:5]}")
