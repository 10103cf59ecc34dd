"""AWS over HTTP for tests: moto's server, a faulty endpoint in front of it, and the context of an action."""

from __future__ import annotations

import json
import logging
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from aws_environment import use_endpoint
from faulty_endpoint import FaultyEndpoint

if TYPE_CHECKING:  # loaded before the environment of tests is set, which Prefect reads when it is imported
    from prefect_codepipeline.actions.registry import ActionContext

REGION = "us-east-1"


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws_endpoint(moto_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyEndpoint]:
    """Where all clients of the test go: to moto, unless a fault is played."""
    endpoint = FaultyEndpoint(moto_url)
    use_endpoint(monkeypatch, endpoint.url, REGION)
    yield endpoint
    endpoint.stop()


@pytest.fixture
def aws(aws_endpoint: FaultyEndpoint, moto_url: str) -> Callable[[str], Any]:
    """Clients of the test itself, which see no faults."""
    import boto3

    return lambda service: boto3.client(service, endpoint_url=moto_url)


@pytest.fixture
def moto_runs_states(moto_url: str) -> Iterator[None]:
    """moto really runs the states of Step Functions' machines."""
    _configure(moto_url, execute=True)
    yield
    _configure(moto_url, execute=False)


def _configure(moto_url: str, *, execute: bool) -> None:
    body = json.dumps({"stepfunctions": {"execute_state_machine": execute}}).encode()
    urllib.request.urlopen(urllib.request.Request(f"{moto_url}/moto-api/config", body, method="POST")).close()


@pytest.fixture
def make_bucket(aws: Callable[[str], Any]) -> Callable[..., str]:
    def make(*, versions: bool = True) -> str:
        name = f"bucket-{uuid4().hex[:12]}"
        aws("s3").create_bucket(Bucket=name)
        if versions:
            aws("s3").put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        return name

    return make


@pytest.fixture
def make_aws_context(tmp_path: Path) -> Callable[..., ActionContext]:
    """The context of an action of that type, such as `Deploy/S3`, and what a test wants otherwise."""

    def make(kind: str, seconds: float = 60, outputs: tuple[str, ...] = (), **fields: Any) -> ActionContext:
        from prefect_codepipeline.actions.registry import ActionContext
        from prefect_codepipeline.model.definition.declaration import ActionDeclaration

        category, provider = kind.split("/")
        action = {
            "name": "Act",
            "actionTypeId": {"category": category, "owner": "AWS", "provider": provider, "version": "1"},
            "outputArtifacts": [{"name": name} for name in outputs],
        }
        scratch = tmp_path / f"scratch-{time.monotonic_ns()}"
        scratch.mkdir()
        given = {"action_execution_id": str(uuid4()), "logger": logging.getLogger("aws-action"), **fields}
        return ActionContext(
            pipeline_name="release",
            pipeline_execution_id="e1",
            stage_name="Stage",
            action=ActionDeclaration.model_validate(action),
            scratch=scratch,
            deadline=time.monotonic() + seconds,
            **given,
        )

    return make
