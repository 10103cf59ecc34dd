"""A deployment group is known here or by AWS, else its pipeline is not deployed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from commands import run_command

from prefect_codepipeline.blocks.codedeploy_application import CodeDeployApplication
from prefect_codepipeline.deployments.checking.blocks_needed import needs_of
from prefect_codepipeline.deployments.checking.deployment_groups import places_of_groups, problems_of_groups
from prefect_codepipeline.deployments.files.resources import Beside
from prefect_codepipeline.model.codedeploy.group import DeploymentGroup
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.stored.settings import StoredSettings
from prefect_codepipeline.prefect_api.block_documents import delete_block, fields_by_name

HERE = "no CodeDeployApplication block has it"
HOSTS = [{"name": f"web-{number}", "address": "10.0.0.1"} for number in range(1, 7)]
ALL = {"minimum_healthy_hosts": {"type": "HOST_COUNT", "value": 6}}
STORE = StoredSettings.model_validate({"defaults": {"aws": {"location": "s3://exchange/here"}}})


def wire(application: str, group: str) -> dict[str, Any]:
    def action(kind: str, **more: Any) -> dict[str, Any]:
        category, provider = kind.split("/")
        of = {"category": category, "owner": "AWS", "provider": provider, "version": "1"}
        return {"name": provider, "actionTypeId": of, **more}

    files = {"S3Bucket": "b", "S3ObjectKey": "app.zip"}
    names = {"ApplicationName": application, "DeploymentGroupName": group}
    src = [{"name": "Src"}]
    return {
        "name": f"groups-{uuid4().hex[:6]}",
        "pipelineType": "V2",
        "roleArn": "arn:aws:iam::123456789012:role/p",
        "artifactStore": {"type": "S3", "location": "store"},
        "variables": [{"name": "Group", "defaultValue": "web"}, {"name": "Open"}],
        "stages": [
            {"name": "Source", "actions": [action("Source/S3", configuration=files, outputArtifacts=src)]},
            {
                "name": "Prod",
                "actions": [action("Deploy/CodeDeploy", configuration=names, inputArtifacts=src)],
            },
        ],
    }


def said_of(
    application: str, group: str, settings: StoredSettings = STORE, beside: Beside | None = None
) -> list[str]:
    declaration = PipelineDeclaration.model_validate(wire(application, group))
    problems = problems_of_groups(declaration, settings, beside or Beside())
    assert {problem.path for problem in problems} <= {"stages[1].actions[0]"}
    return [f"{problem.severity}: {problem.message}" for problem in problems]


@pytest.fixture
def shop(prefect_server: str) -> Iterator[str]:
    """The name of an application with groups on hosts, in AWS, and nowhere."""
    groups = [
        {"name": "web", "hosts": HOSTS, "deployment_config": ALL},
        {"name": "far", "where": "aws"},
        {"name": "nowhere"},
    ]
    name = f"Shop_{uuid4().hex[:6]}"
    block = CodeDeployApplication(deployment_groups=[DeploymentGroup.model_validate(each) for each in groups])
    block.save(name.lower().replace("_", "-"))
    yield name
    delete_block(CodeDeployApplication, name.lower().replace("_", "-"))


@pytest.mark.live
def test_a_group_that_is_known_nowhere_is_an_error_with_what_aws_said(
    shop: str, aws: Callable[[str], Any], aws_endpoint: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws("codedeploy").create_application(applicationName=shop, computePlatform="Server")
    role = "arn:aws:iam::123456789012:role/deploy"
    aws("codedeploy").create_deployment_group(
        applicationName=shop, deploymentGroupName="there", serviceRoleArn=role
    )

    assert said_of(shop, "there") == []
    (place,) = said_of(shop, "there", StoredSettings())
    assert place.startswith(
        f"warning: deployment group 'there' of application '{shop}' is in AWS, and its bundles have no place"
    )
    for name in ("gone", "nowhere"):
        (said,) = said_of(shop, name)
        assert said == (
            f"error: deployment group '{name}' of application '{shop}' is known neither here nor by AWS: {HERE}, and AWS "
            "does not have it in us-east-1"
        )

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (said,) = said_of(shop, "there")
    assert said.startswith(
        f"error: deployment group 'there' of application '{shop}' is known neither here nor by AWS: {HERE}, and AWS was not asked: "
    )
    assert "credentials" in said
    # AWS is not asked for the others.
    assert said_of(shop, "#{variables.Open}") == []
    assert said_of(shop, "far") == []
    assert [each.split(";")[0] for each in said_of(shop, "far", StoredSettings())] == [
        place.replace("there", "far").split(";")[0]
    ]
    assert said_of(shop, "#{variables.Group}") == [
        "warning: deployment group 'web': minimum_healthy_hosts is 6, and it has 6 hosts: one host at a time, and any "
        "failure fails the deployment"
    ]


@pytest.mark.long
@pytest.mark.live
def test_a_pipeline_with_an_unknown_group_is_not_deployed_and_with_one_beside_it_is(
    shop: str, aws_endpoint: Any, tmp_path: Path
) -> None:
    unknown = f"{shop}-new"
    definition = wire(unknown, "web")
    file, beside = tmp_path / "p.json", tmp_path / "p.resources.yaml"
    file.write_text(json.dumps({"pipeline": definition}))

    refused = run_command(("deploy", str(file)))
    planned = run_command(("plan", str(file)))

    ran = run_command(("run", str(file)))
    assert (refused.returncode, planned.returncode, ran.returncode) == (1, 1, 1)
    for said in (refused.stderr, planned.stdout, ran.stderr):
        assert f"deployment group 'web' of application '{unknown}' is known neither here nor by AWS" in said
    assert "does not exist" in run_command(("status", definition["name"])).stderr

    names = {"ApplicationName": unknown, "DeploymentGroupName": "web"}
    resource = {"Type": "AWS::CodeDeploy::DeploymentGroup", "Properties": names, "Block": {"where": "local"}}
    beside.write_text(json.dumps({"resources": {"Web": resource}}))
    planned = run_command(("plan", str(file)))
    assert "Web (AWS::CodeDeploy::DeploymentGroup): application " in planned.stdout
    assert "would be created by deploy" in planned.stdout
    assert (
        "CodeDeploy  Deploy/AWS/CodeDeploy/1  on the worker's machine, by CodeDeploy's rules"
        in planned.stdout
    )

    done = run_command(("deploy", str(file)))
    assert done.returncode == 0, done.stderr
    assert "Web (AWS::CodeDeploy::DeploymentGroup): created application" in done.stdout
    assert "exists" in run_command(("deploy", str(file))).stdout
    (name,) = [
        name
        for name, each in fields_by_name(CodeDeployApplication).items()
        if each["application_name"] == unknown
    ]
    delete_block(CodeDeployApplication, name)


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"hosts": HOSTS[:1]}, "on host web-1"),
        ({"hosts": HOSTS}, "on hosts web-1, web-2, web-3, web-4, web-5 and 1 more"),
        (
            {"tag_sets": [[{"type": "KEY_ONLY", "key": "web"}]], "inventory": "fleet"},
            "on hosts of inventory 'fleet'",
        ),
        ({"hosts_command": ["fleet", "--web"]}, "on the hosts that 'fleet' prints"),
        ({"where": "local"}, "on the worker's machine, by CodeDeploy's rules"),
        ({"where": "aws"}, None),
    ],
)
def test_a_plan_says_where_the_hosts_are(fields: dict[str, Any], place: str | None) -> None:
    blocks = {"codedeploy-application": {"shop": {"deployment_groups": [{"name": "web", **fields}]}}}
    declaration = PipelineDeclaration.model_validate(wire("Shop", "web"))

    assert places_of_groups(declaration, blocks, Beside()).get(("Prod", "CodeDeploy")) == place


def test_a_plan_asks_for_the_secrets_of_the_group_of_an_action() -> None:
    ssh = {"private_key_secret": "web-key", "passphrase_secret": "web-words"}
    groups = [{"name": "web", "ssh": ssh}, {"name": "db", "ssh": {"private_key_secret": "db-key"}}]
    blocks = {"codedeploy-application": {"shop": {"deployment_groups": groups}}, "secret": {"web-key": {}}}
    action = PipelineDeclaration.model_validate(wire("Shop", "web")).stages[1].actions[0]

    assert [(need.name, need.state, need.command) for need in needs_of(action, blocks, [])] == [
        ("shop", "present", ""),
        ("web-key", "present", ""),
        ("web-words", "missing", "codepipeline secret add web-words --value-stdin"),
    ]
