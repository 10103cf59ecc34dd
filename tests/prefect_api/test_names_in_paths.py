"""A name from outside never becomes another path of Prefect's API: such a name is not found."""

from __future__ import annotations

from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest
from serving import serving

from prefect_codepipeline.blocks.git_connection import GitConnection
from prefect_codepipeline.deployments.create import check_work_pool
from prefect_codepipeline.deployments.delete import delete_pipeline
from prefect_codepipeline.engine.executions.lookup import read_execution
from prefect_codepipeline.engine.operations.starting import find_deployment
from prefect_codepipeline.errors import (
    PipelineExecutionNotFoundException,
    PipelineNotFoundException,
    ValidationException,
)
from prefect_codepipeline.gateway.app import create_app
from prefect_codepipeline.prefect_api.block_documents import find_block
from prefect_codepipeline.prefect_api.client import find_named
from prefect_codepipeline.prefect_api.variables import read_variable

pytestmark = pytest.mark.live
NAMES = [
    "",
    ".",
    "..",
    "../..",
    "../../flows",
    "a/b",
    "\n",
    "a\0b",
    "a\x1b[0m",
    "?x=1",
    "#",
    "%2e%2e",
    "\udc80",
    "ä",
]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_found_under_a_name_that_would_be_a_path(prefect_server: str, name: str) -> None:
    assert find_block(GitConnection, name) is None
    assert read_variable(name) is None
    assert find_named("/work_pools", name) is None
    with pytest.raises(PipelineNotFoundException):
        find_deployment(name)
    with pytest.raises(PipelineNotFoundException):
        delete_pipeline(name)
    with pytest.raises(ValidationException):
        check_work_pool(name)
    with pytest.raises(PipelineExecutionNotFoundException):
        read_execution(name)


def test_webhooks_of_such_names_do_not_exist(prefect_server: str) -> None:
    with serving(create_app()) as url:
        for name in [quote(name, safe="").replace(".", "%2e") for name in NAMES if name.isprintable()]:
            for path in (name, f"{name}/{uuid4().hex}"):
                answer = httpx.post(f"{url}/webhooks/{path}", content=b"{}", timeout=30)
                assert answer.status_code == 404, (path, answer.text)
