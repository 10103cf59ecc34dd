"""What comes between the steps of a request, and what a key for some pipelines must not learn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

from prefect_codepipeline.blocks.pipeline_settings import PipelineSettings
from prefect_codepipeline.deployments.create import update_pipeline
from prefect_codepipeline.deployments.files.settings import save_settings
from prefect_codepipeline.engine.executions.definitions import (
    claim_version,
    find_newest_version,
    find_version,
)
from prefect_codepipeline.engine.operations.deleting import finish_deletion
from prefect_codepipeline.engine.operations.tagging import tags_of
from prefect_codepipeline.errors import PipelineNotFoundException, ResourceNotFoundException
from prefect_codepipeline.gateway.aws.mirror import pipelines as mirrored
from prefect_codepipeline.gateway.aws.operations.pipelines import OPERATIONS
from prefect_codepipeline.gateway.aws.operations.tagged import put_tags_of
from prefect_codepipeline.gateway.aws.protocol.call import Call, Caller
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.wire.arns import Account
from prefect_codepipeline.prefect_api.client import call

pytestmark = pytest.mark.live
IDLE = "pool-without-a-worker"


def declare(name: str) -> dict[str, Any]:
    def action(category: str, provider: str, **more: Any) -> dict[str, Any]:
        kind = {"category": category, "owner": "AWS", "provider": provider, "version": "1"}
        return {"name": provider, "actionTypeId": kind, **more}

    code = {
        "outputArtifacts": [{"name": "Code"}],
        "configuration": {"RepositoryName": "r", "BranchName": "b"},
    }
    return {
        "name": name,
        "roleArn": "arn:aws:iam::123456789012:role/pipeline",
        "artifactStore": {"type": "S3", "location": "bucket"},
        "stages": [
            {"name": "Source", "actions": [action("Source", "CodeCommit", **code)]},
            {"name": "Ok", "actions": [action("Approval", "Manual")]},
        ],
    }


@pytest.fixture
def made(aws: Callable[..., Any]) -> Iterator[Callable[[str], str]]:
    """Create a pipeline whose executions no worker takes, and delete it in the end."""
    call("POST", "/work_pools/", {"name": IDLE, "type": "process"}, expected=(409,))
    names: set[str] = set()

    def make(name: str) -> str:
        names.add(name)
        save_settings(name, PipelineSettings(work_pool=IDLE))
        aws().create_pipeline(pipeline=declare(name))
        return name

    yield make
    for name in names:
        aws().delete_pipeline(name=name)


@pytest.fixture
def name() -> str:
    return f"Care.{uuid4().hex[:8]}"


def version_1(name: str) -> PipelineDeclaration:
    """A first version that is stored, and nothing else of its pipeline."""
    declaration = PipelineDeclaration.model_validate({**declare(name), "version": 1})
    assert claim_version(declaration)
    return declaration


def test_an_update_that_read_a_deleted_pipeline_leaves_no_gap_in_the_versions_of_the_next(
    prefect_server: str, name: str
) -> None:
    assert claim_version(version_1(name).model_copy(update={"version": 2}))
    second = find_newest_version(name)
    finish_deletion(name)
    wire = {**declare(name), "version": 1}
    kind = {"category": "Deploy", "owner": "Custom", "provider": "Nobody", "version": "1"}
    settings = {"ApiToken": "planted", "Host": "h"}
    wire["stages"][1]["actions"].append({"name": "N", "actionTypeId": kind, "configuration": settings})
    declaration = PipelineDeclaration.model_validate(wire)
    assert claim_version(declaration)

    assert second
    with pytest.raises(PipelineNotFoundException):
        update_pipeline(declaration, second[1], "ana")
    assert find_version(name, 3) is None
    first = find_newest_version(name)
    finish_deletion(name)
    # A value that looks like a secret is masked even before its action type is created.
    assert first
    assert "planted" not in str(first[1].declaration)
    assert first[1].whole() == declaration


def test_a_list_is_for_one_key_and_a_deletion_meanwhile_does_not_break_it(
    made: Callable[[str], str], name: str, aws: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (made(f"{name}-{letter}") for letter in "ab")
    some = Caller("ci", pipelines=(first,))
    page = OPERATIONS["ListPipelines"](Call("ListPipelines", {"maxResults": 1}, some, "1"))
    assert page
    assert [each["name"] for each in page["pipelines"]] == [first]
    assert page["nextToken"] is None  # which has the name of the last row
    (waits,) = aws().list_pipeline_executions(pipelineName=first)["pipelineExecutionSummaries"]
    with pytest.raises(aws().exceptions.UnableToRollbackStageException, match="has not begun"):
        aws().rollback_stage(
            pipelineName=first, stageName="Ok", targetPipelineExecutionId=waits["pipelineExecutionId"]
        )

    known = mirrored.Pipelines()
    known.all("a")
    find_versions = mirrored.find_versions

    def slowly(versions: Any) -> Any:
        finish_deletion(second)
        known.expire(second)
        assert known.find(second, "b") is None  # as another thread asks
        return find_versions(versions)

    monkeypatch.setattr(mirrored, "find_versions", slowly)
    listed = [pipeline.name for pipeline in known.all("b")]
    assert first in listed
    assert second not in listed


class OfDeleted(dict[str, str]):
    """Tags whose pipeline is deleted while they are put."""

    def __init__(self, pipeline_name: str, **tags: str) -> None:
        super().__init__(tags)
        self._names = [pipeline_name]

    def keys(self) -> Any:
        if self._names:
            finish_deletion(self._names.pop())
        return super().keys()


def test_tags_that_come_during_a_deletion_go_too(prefect_server: str, name: str) -> None:
    arn = Account().pipeline(version_1(name).name)
    with pytest.raises(ResourceNotFoundException):
        put_tags_of(arn, Account(), OfDeleted(name, team="shop"))
    assert tags_of(arn) == {}
