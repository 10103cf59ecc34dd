"""Deploying: versions are counted and claimed once, changes are said, and the deployment follows."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from waiting import until

from prefect_codepipeline.deployments.create import (
    deploy_pipeline,
    find_deployment,
    list_deployments,
    start_pipeline_execution,
)
from prefect_codepipeline.deployments.delete import delete_pipeline
from prefect_codepipeline.deployments.resource_transitions import disable_declared
from prefect_codepipeline.engine.executions.definitions import claim_version, find_version, newest_version
from prefect_codepipeline.engine.executions.gate import read_gates
from prefect_codepipeline.engine.executions.lookup import read_execution
from prefect_codepipeline.errors import (
    ConcurrentModificationException,
    PipelineNotFoundException,
    ValidationException,
)
from prefect_codepipeline.flows.reconcile import Memory, reconcile_once
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.problem import InvalidDefinition
from prefect_codepipeline.prefect_api.client import call

pytestmark = pytest.mark.live


def declare(name: str, command: str = "make", **more: Any) -> PipelineDeclaration:
    def kind(category: str, provider: str, owner: str = "AWS") -> dict[str, str]:
        return {"category": category, "owner": owner, "provider": provider, "version": "1"}

    source = {
        "name": "Src",
        "actionTypeId": kind("Source", "GitHub", "ThirdParty"),
        "configuration": {"Owner": "o", "Repo": "r", "Branch": "main", "OAuthToken": "planted-secret"},
        "outputArtifacts": [{"name": "Code"}],
    }
    build = {
        "name": "Build",
        "actionTypeId": kind("Compute", "Commands"),
        "commands": [command],
        "inputArtifacts": [{"name": "Code"}],
    }
    return PipelineDeclaration.model_validate(
        {
            "name": name,
            "roleArn": "arn:aws:iam::111122223333:role/p",
            "pipelineType": "V2",
            "artifactStore": {"type": "S3", "location": "bucket"},
            "variables": [{"name": "Env", "description": "where"}],
            "stages": [{"name": "Source", "actions": [source]}, {"name": "Build", "actions": [build]}],
            **more,
        }
    )


@pytest.fixture
def name(prefect_server: str) -> str:
    return f"Create.{uuid4().hex[:8]}"


def test_a_pipeline_is_created_updated_and_left_alone(name: str) -> None:
    created = deploy_pipeline(declare(name))
    same = deploy_pipeline(declare(name))
    updated = deploy_pipeline(declare(name, "make all"))

    assert (created.version, created.created) == (1, True)
    assert (same.version, same.changes) == (1, [])
    assert (updated.version, updated.changes) == (2, ["stages.Build.actions.Build.commands changed"])
    assert find_deployment(name)["version"] == "2"
    first = find_version(name, 1)
    assert first
    assert first[1].masked().stages[1].actions[0].commands == ["make"]


def test_the_newest_version_is_found_from_any_earlier_one(name: str) -> None:
    for number in range(1, 8):
        claim_version(declare(name, f"make {number}").model_copy(update={"version": number}))
        assert {newest_version(name, start)[1].version for start in range(1, number + 1)} == {number}


def test_a_deployment_that_is_missing_or_old_is_created_again_by_reconcile(name: str) -> None:
    memory: Memory = {}
    old = f"{name}.old"
    deploy_pipeline(declare(name))
    deploy_pipeline(declare(old))
    while _of(name, reconcile_once(memory=memory)):
        pass
    del memory["deployments"]  # as after a minute
    call("DELETE", f"/deployments/{find_deployment(name)['id']}")
    claim_version(declare(old, "make all", version=2))  # and its deploy was cut off

    repaired = reconcile_once(memory=memory)

    assert _of(name, repaired) == [
        f"pipeline {name!r}: recreated its deployment, which was missing",
        f"pipeline {old!r}: recreated its deployment, which was older than its definition",
    ]
    assert [find_deployment(each)["version"] for each in (name, old)] == ["1", "2"]
    assert find_deployment(name)["parameter_openapi_schema"]["properties"]["variables"]["required"] == ["Env"]
    assert _of(name, reconcile_once(memory=memory)) == []


def _of(name: str, said: list[str]) -> list[str]:
    """What is said of this test's own pipelines."""
    return [each for each in said if name in each]


def test_secrets_are_kept_apart_and_shown_masked(name: str) -> None:
    deploy_pipeline(declare(name))

    _, definition = newest_version(name)
    _, shown = call("GET", f"/block_types/slug/pipeline-definition/block_documents/name/{_block(name)}")

    assert definition.masked().stages[0].actions[0].configuration["OAuthToken"] == "****"
    assert definition.whole().stages[0].actions[0].configuration["OAuthToken"] == "planted-secret"
    assert "planted-secret" not in str(shown)
    assert "planted-secret" not in str(find_deployment(name))
    # What was exported is deployed again: it has the mask, and the secret stays.
    assert deploy_pipeline(definition.masked()).changes == []


def _block(name: str) -> str:
    from prefect_codepipeline.model.stored.definition import document_name

    return document_name(name, 1)


def test_of_two_who_deploy_at_once_one_wins_and_the_other_learns_so(name: str) -> None:
    deploy_pipeline(declare(name))

    def attempt(number: int) -> str:
        try:
            return f"version {deploy_pipeline(declare(name, f'make {number}')).version}"
        except ConcurrentModificationException as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(attempt, range(4)))

    versions = [outcome for outcome in outcomes if outcome.startswith("version ") and outcome[8:].isdigit()]
    assert len(set(versions)) == len(versions) >= 1
    assert all(
        "was created by another deployment at the same time" in outcome
        for outcome in outcomes
        if outcome not in versions
    )
    assert newest_version(name)[1].version == 1 + len(versions)


def test_a_definition_that_cannot_run_leaves_nothing_behind(name: str) -> None:
    with pytest.raises(InvalidDefinition, match="already in use: Twice"):
        deploy_pipeline(declare(name, variables=[{"name": "Twice"}] * 2))

    assert find_version(name, 1) is None
    with pytest.raises(PipelineNotFoundException):
        find_deployment(name)


def test_a_work_pool_that_is_not_there_is_said_before_anything_is_made(name: str) -> None:
    with pytest.raises(ValidationException, match="codepipeline setup --pool nowhere"):
        deploy_pipeline(declare(name), "nowhere")

    assert find_version(name, 1) is None


@pytest.mark.parametrize(
    ("variables", "revisions", "message"),
    [
        ({}, {}, "variable 'Env' has no default and no value was given"),
        ({"Env": ""}, {}, "variable 'Env' has an empty value"),
        ({"Env": "x", "Evn": "y"}, {}, "it has no variable 'Evn'"),
        ({"Env": "x"}, {"Sorce": "main"}, "it has no source action 'Sorce'"),
    ],
)
def test_a_start_with_a_mistake_starts_nothing(
    name: str, variables: Any, revisions: Any, message: str
) -> None:
    deploy_pipeline(declare(name))

    with pytest.raises(ValidationException, match=message):
        start_pipeline_execution(name, variables, revisions, "me")

    runs = call("POST", "/flow_runs/filter", {"flow_runs": {"tags": {"all_": [f"pipeline:{name}"]}}})[1]
    assert runs == []


def test_the_run_form_has_the_variables_as_fields(name: str) -> None:
    deploy_pipeline(declare(name))

    schema = find_deployment(name)["parameter_openapi_schema"]

    variables = schema["properties"]["variables"]
    assert variables["properties"]["Env"]["description"] == "where"
    assert variables["required"] == ["Env"]
    assert variables["additionalProperties"] is False
    assert set(schema["properties"]["source_revisions"]["properties"]) == {"Src"}


def test_deployed_pipelines_are_listed(name: str) -> None:
    deploy_pipeline(declare(name))

    assert name in [pipeline["name"] for pipeline in list_deployments()]


def test_transitions_that_a_template_disables_are_disabled_when_the_pipeline_is_created(name: str) -> None:
    properties = {"DisableInboundStageTransitions": [{"StageName": "Build", "Reason": "it's early; wait"}]}
    created = deploy_pipeline(declare(name))

    assert disable_declared(created, properties, "ana") == ["Build"]
    transition = read_gates(name).transition("Build", "Inbound")
    assert transition
    assert (transition.enabled, transition.changed_by, transition.reason) == (
        False,
        "ana",
        "it s early  wait",
    )
    assert disable_declared(deploy_pipeline(declare(name, "make all")), properties, "ana") == []


def test_a_deleted_pipeline_is_gone_and_may_be_made_again(name: str) -> None:
    near = f"{name}-v1"  # whose blocks are named much alike
    for each in (name, near):
        deploy_pipeline(declare(each))
    deploy_pipeline(declare(name, "make all"))
    run_id = start_pipeline_execution(name, {"Env": "x"}, {}, "tester")

    with pytest.raises(ValidationException, match=f"executions in flight \\({run_id}\\)"):
        delete_pipeline(name)
    until(lambda: read_execution(run_id).run["state_type"] == "FAILED", 120)  # there is no such repository
    assert delete_pipeline(name) == 2

    with pytest.raises(PipelineNotFoundException):
        delete_pipeline(name)
    assert call("GET", f"/deployments/name/pipeline/{name}", expected=(404,))[0] == 404
    assert find_version(near, 1)
    assert [found for found in reconcile_once() if repr(name) in found] == []
    assert deploy_pipeline(declare(name)).version == 1
