"""What a template says of CodeDeploy becomes the block of each application."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from prefect_codepipeline.blocks.codedeploy_application import CodeDeployApplication
from prefect_codepipeline.deployments.cloudformation.export import as_template
from prefect_codepipeline.deployments.cloudformation.pipelines import import_document
from prefect_codepipeline.deployments.cloudformation.writing import write_imported
from prefect_codepipeline.deployments.files.definition import read_file
from prefect_codepipeline.deployments.files.resource_kinds import BlockOf, blocks_of
from prefect_codepipeline.deployments.files.resources import as_yaml, read_beside
from prefect_codepipeline.documents.reading import parse_document
from prefect_codepipeline.errors import UnreadableDefinition

TEMPLATES = Path(__file__).parents[2] / "data" / "templates"
SHOP = """
App: {Type: 'AWS::CodeDeploy::Application', Properties: {ApplicationName: Shop}}
Half:
  Type: AWS::CodeDeploy::DeploymentConfig
  Properties:
    DeploymentConfigName: half-of-each-zone
    MinimumHealthyHosts: {Type: FLEET_PERCENT, Value: '50'}
    ZonalConfig:
      MonitorDurationInSeconds: 60
      MinimumHealthyHostsPerZone: {Type: HOST_COUNT, Value: 1}
Web:
  Type: AWS::CodeDeploy::DeploymentGroup
  Properties:
    ApplicationName: Shop
    DeploymentGroupName: web
    DeploymentConfigName: half-of-each-zone
    AutoRollbackConfiguration: {Enabled: 'true', Events: [DEPLOYMENT_FAILURE, DEPLOYMENT_STOP_ON_ALARM]}
    AlarmConfiguration: {Enabled: true, IgnorePollAlarmFailure: true, Alarms: [{Name: errors}, {Name: '${Alarm}'}]}
    Ec2TagSet:
      Ec2TagSetList:
        - Ec2TagGroup: [{Key: role, Value: web, Type: KEY_AND_VALUE}, {Key: any, Type: KEY_ONLY}]
        - Ec2TagGroup: [{Value: prod, Type: VALUE_ONLY}]
    OnPremisesInstanceTagFilters: [{Key: rack, Value: '1', Type: KEY_AND_VALUE}]
    LoadBalancerInfo: {TargetGroupInfoList: [{Name: web-targets}], ElbInfoList: [{Name: classic}]}
    DeploymentStyle: {DeploymentOption: WITH_TRAFFIC_CONTROL, DeploymentType: BLUE_GREEN}
    AutoScalingGroups: [fleet]
    BlueGreenDeploymentConfiguration: {}
    TriggerConfigurations: [{TriggerName: t}]
"""
ROLLBACK = {"auto_rollback": ["DEPLOYMENT_FAILURE", "DEPLOYMENT_STOP_ON_ALARM"]}
ALARMS = {"alarms": {"cloudwatch": ["errors"], "ignore_poll_failure": True}}
CONFIG = {
    "deployment_config": {
        "minimum_healthy_hosts": {"type": "FLEET_PERCENT", "value": 50},
        "zonal_config": {
            "monitor_duration_in_seconds": 60,
            "minimum_healthy_hosts_per_zone": {"type": "HOST_COUNT", "value": 1},
        },
    }
}


def application_in(text: str, own: dict[str, Any] | None = None) -> BlockOf:
    resources = yaml.safe_load(text)
    if own is not None:
        resources["Web"]["Block"] = own
    (block,) = [each for each in blocks_of(resources) if each.fields is not None]
    assert CodeDeployApplication(**(block.fields or {}))
    return block


def test_a_group_of_a_template_is_in_aws_with_nothing_left_out():
    block = application_in(SHOP)

    assert (block.logical_id, block.name, block.kind, block.noun, block.reason) == (
        "App",
        "shop",
        "codedeploy-application",
        "application",
        "",
    )
    assert block.fields == {
        "application_name": "Shop",
        "deployment_groups": [{"name": "web", **CONFIG, **ROLLBACK, **ALARMS, "where": "aws"}],
    }


def test_a_group_with_hosts_in_the_resources_file_says_what_has_no_meaning_there():
    block = application_in(SHOP, {"inventory": "fleet", "ssh": {"user": "deploy"}})

    assert block.fields
    assert block.fields["deployment_groups"] == [
        {
            "name": "web",
            **CONFIG,
            **ROLLBACK,
            **ALARMS,
            "tag_sets": [
                [
                    {"key": "role", "value": "web", "type": "KEY_AND_VALUE"},
                    {"key": "any", "type": "KEY_ONLY"},
                ],
                [{"value": "prod", "type": "VALUE_ONLY"}],
            ],
            "traffic": {"target_groups": ["web-targets"]},
            "inventory": "fleet",
            "ssh": {"user": "deploy"},
        }
    ]
    assert block.reason.split("; group web: ") == [
        "group web: alarm ${Alarm} is left out: its name is not known",
        "tags of on-premises instances are left out: the inventory's hosts are chosen by the EC2 tags",
        "AutoScalingGroups is left out: hosts are those that the block names; `hosts_command` can ask AWS for them",
        "TriggerConfigurations is left out: use `notifications` in the pipeline's settings",
        "DeploymentStyle BLUE_GREEN is left out: hosts are deployed in place",
        "classic load balancers are left out: write `traffic` with commands",
    ]


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({"where": "local"}, {"where": "local"}),
        ({"where": "aws"}, {"where": "aws"}),
        (
            {"hosts_command": ["fleet"], "traffic": {"block": ["out"], "allow": ["in"]}},
            {"hosts_command": ["fleet"], "traffic": {"block": ["out"], "allow": ["in"]}},
        ),
    ],
)
def test_what_the_user_writes_wins(own, expected):
    zones = "    ZonalConfig:\n      MonitorDurationInSeconds: 60\n      MinimumHealthyHostsPerZone: {Type: HOST_COUNT, Value: 1}\n"
    block = application_in(SHOP.replace(zones, ""), own)

    assert block.fields
    (group,) = block.fields["deployment_groups"]
    assert {key: value for key, value in group.items() if key in (*expected, "where", "traffic")} == expected


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        (
            """
            Far: {Type: 'AWS::CodeDeploy::Application', Properties: {ApplicationName: fn, ComputePlatform: Lambda}}
            Blue: {Type: 'AWS::CodeDeploy::DeploymentGroup', Properties: {ApplicationName: fn, DeploymentGroupName: b}}
            """,
            ["kept as data: its deployments are in AWS", "part of application 'fn'"],
        ),
        (
            """
            App: {Type: 'AWS::CodeDeploy::Application', Properties: {ApplicationName: '${Name}'}}
            Web: {Type: 'AWS::CodeDeploy::DeploymentGroup', Properties: {ApplicationName: '${Name}'}}
            Conf: {Type: 'AWS::CodeDeploy::DeploymentConfig', Properties: {}}
            """,
            [
                "kept as data: the name of its application is not known; import with --parameter NAME=VALUE",
                "kept as data: the name of its application is not known; import with --parameter NAME=VALUE",
                "part of the deployment groups that use it",
            ],
        ),
    ],
)
def test_what_stays_data_says_why(text, reasons):
    blocks = blocks_of(yaml.safe_load(text))

    assert [(block.fields, block.reason) for block in blocks] == [(None, reason) for reason in reasons]


def test_a_group_without_its_application_in_the_template_has_a_block_too():
    text = "Web: {Type: 'AWS::CodeDeploy::DeploymentGroup', Properties: {ApplicationName: My_App, DeploymentGroupName: w}}"
    block = application_in(text)

    assert (block.logical_id, block.name) == ("Web", "my-app")


def test_a_configuration_that_is_not_in_the_template_is_named():
    text = SHOP.replace(
        "DeploymentConfigName: half-of-each-zone\n    AutoRoll", "DeploymentConfigName: mine\n    AutoRoll"
    )

    assert (
        "deployment configuration mine is not in the template"
        in application_in(text, {"where": "local"}).reason
    )


def test_the_applications_of_a_real_template_become_blocks_and_go_back():
    path = TEMPLATES / "stelligent+devops-essentials__samples~ec2~pipeline.yml"
    (pipeline,) = import_document(read_file(path), {"TagKey": "role", "TagValue": "web"}).pipelines

    (block,) = [each for each in blocks_of(pipeline.resources) if each.kind == "codedeploy-application"]

    actions = [action for stage in pipeline.wire["stages"] for action in stage["actions"]]
    (named,) = [each["configuration"] for each in actions if each["actionTypeId"]["provider"] == "CodeDeploy"]
    application = CodeDeployApplication(**(block.fields or {}))
    assert application.application_name == named["ApplicationName"]
    group = application.group(named["DeploymentGroupName"])
    assert group
    assert (group.place, group.deployment_config) == ("aws", "CodeDeployDefault.OneAtATime")

    resources = {**pipeline.resources}
    resources["MyDeploymentGroup"] = {**resources["MyDeploymentGroup"], "Block": {"where": "local"}}
    template = as_template(pipeline.wire, "Again", {}, resources, pipeline.missing)
    assert template["Resources"]["MyDeploymentGroup"].keys() == {"Type", "Properties"}


def test_another_import_keeps_what_the_user_wrote(tmp_path):
    path = TEMPLATES / "stelligent+devops-essentials__samples~ec2~pipeline.yml"
    (pipeline,) = import_document(read_file(path)).pipelines
    definition, resources, *_ = write_imported(pipeline, tmp_path)
    content = yaml.safe_load(resources.read_text())
    content["resources"]["MyDeploymentGroup"]["Block"] = {"where": "local"}
    resources.write_text(as_yaml(content))

    write_imported(pipeline, tmp_path, replace=True)

    assert read_beside(definition).resources["MyDeploymentGroup"]["Block"] == {"where": "local"}
    resources.write_text(as_yaml(content | {"resources": {"Web": {"Properties": {}, "Block": "here"}}}))
    with pytest.raises(UnreadableDefinition, match=r"line \d+: Block of Web must be a mapping"):
        read_beside(definition)


def test_a_definition_of_a_template_without_names_gets_them_from_the_import():
    text = """
Resources:
  Config: {Type: 'AWS::CodeDeploy::DeploymentConfig', Properties: {MinimumHealthyHosts: {Type: HOST_COUNT, Value: 1}}}
  App: {Type: 'AWS::CodeDeploy::Application'}
  Web:
    Type: AWS::CodeDeploy::DeploymentGroup
    Properties: {ApplicationName: !Ref App, DeploymentConfigName: !Ref Config}
  Pipe: {Type: 'AWS::CodePipeline::Pipeline', Properties: {Name: shop, Stages: []}}
"""
    (pipeline,) = import_document(parse_document(text, "shop.yaml")).pipelines
    (block,) = [each for each in blocks_of(pipeline.resources) if each.fields is not None]

    assert block.fields == {
        "application_name": "shop-App",
        "deployment_groups": [
            {
                "name": "shop-Web",
                "deployment_config": {"minimum_healthy_hosts": {"type": "HOST_COUNT", "value": 1}},
                "where": "aws",
            }
        ],
    }
