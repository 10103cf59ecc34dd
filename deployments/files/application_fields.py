"""Convert the CodeDeploy resources of a template to the fields of CodeDeployApplication blocks.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/AWS_CodeDeploy.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from prefect_codepipeline.model.codedeploy.predefined import PredefinedConfig, RollbackEvent

APPLICATION = "AWS::CodeDeploy::Application"
GROUP = "AWS::CodeDeploy::DeploymentGroup"
CONFIG = "AWS::CodeDeploy::DeploymentConfig"
# The key of a group in a resources file under which a user says where its hosts are: fields of the block's group.
OWN_FIELDS = "Block"
_TARGETS = ("hosts", "tag_sets", "hosts_command")
# What a group on own hosts cannot have, and what to do about it.
_WITHOUT_MEANING = {
    "AutoScalingGroups": "hosts are those that the block names; `hosts_command` can ask AWS for them",
    "BlueGreenDeploymentConfiguration": "hosts are deployed in place",
    "ECSServices": "use Deploy/AWS/CodeDeployToECS/1",
    "TerminationHookEnabled": "no host is started or ended here",
    "TriggerConfigurations": "use `notifications` in the pipeline's settings",
}


@dataclass(frozen=True)
class Application:
    """The block of an application: its fields, and a sentence for each setting that is left out."""

    name: str
    logical_id: str
    fields: Mapping[str, Any]
    left_out: tuple[str, ...]


def applications_of(resources: Mapping[str, Mapping[str, Any]]) -> list[Application]:
    """The applications of a template with their groups, and those that only its groups name.

    Applications for Amazon ECS and Lambda are not among them: their deployments are always in AWS.
    """
    owners: dict[str, str] = {}
    for kind in (APPLICATION, GROUP):
        for logical_id, resource in _of_type(resources, kind):
            name = application_name(resource)
            if is_known(name) and not is_in_aws_only(resource):
                owners.setdefault(name, logical_id)
    elsewhere = {
        application_name(resource)
        for _, resource in _of_type(resources, APPLICATION)
        if is_in_aws_only(resource)
    }
    configs = dict(_configs(resources))
    return [
        _application(name, logical_id, resources, configs)
        for name, logical_id in owners.items()
        if name not in elsewhere
    ]


def application_name(resource: Mapping[str, Any]) -> str:
    """The name of an application, or of that of a group; `${…}` if it is not known."""
    name = _mapping(resource, "Properties").get("ApplicationName")
    return str(name or (_ref(resource) if resource.get("Type") == APPLICATION else ""))


def group_name(resource: Mapping[str, Any]) -> str:
    """The name of a deployment group; `${…}` if it is not known."""
    return str(_mapping(resource, "Properties").get("DeploymentGroupName") or _ref(resource))


def is_known(name: str) -> bool:
    """Whether a name is in the template."""
    return bool(name) and "${" not in name


def is_in_aws_only(resource: Mapping[str, Any]) -> bool:
    """Whether an application deploys to Amazon ECS or Lambda."""
    return bool(_mapping(resource, "Properties").get("ComputePlatform", "Server") != "Server")


def _application(
    name: str,
    logical_id: str,
    resources: Mapping[str, Mapping[str, Any]],
    configs: Mapping[str, Mapping[str, Any]],
) -> Application:
    left_out: list[str] = []
    groups = [
        _group(resource, configs, left_out)
        for _, resource in _of_type(resources, GROUP)
        if application_name(resource) == name and is_known(group_name(resource))
    ]
    unnamed = [
        group_id
        for group_id, resource in _of_type(resources, GROUP)
        if application_name(resource) == name and not is_known(group_name(resource))
    ]
    left_out += [f"group {each} is left out: import with --parameter {each}=NAME" for each in unnamed]
    return Application(
        name, logical_id, {"application_name": name, "deployment_groups": groups}, tuple(left_out)
    )


def _group(
    resource: Mapping[str, Any], configs: Mapping[str, Mapping[str, Any]], left_out: list[str]
) -> dict[str, Any]:
    properties, own = _mapping(resource, "Properties"), _mapping(resource, OWN_FIELDS)
    name = group_name(resource)
    said: list[str] = []
    fields: dict[str, Any] = {
        "deployment_config": _config(properties, configs, said),
        "auto_rollback": _rollback(properties),
        "alarms": _alarms(properties, said),
    }
    if own and own.get("where") != "aws":
        # Tags choose hosts of an inventory, which only the user can name.
        if "inventory" in own and not any(target in own for target in _TARGETS):
            fields["tag_sets"] = _tag_sets(properties, said)
        fields["traffic"] = _traffic(properties, own)
        said += _without_meaning(properties)
    else:
        said.clear()  # CodeDeploy in AWS has the group with all its settings
        fields["where"] = "aws"
    left_out += [f"group {name}: {sentence}" for sentence in said]
    return {"name": name, **{key: value for key, value in fields.items() if value}, **own}


def _config(
    properties: Mapping[str, Any], configs: Mapping[str, Mapping[str, Any]], said: list[str]
) -> str | dict[str, Any] | None:
    name = str(properties.get("DeploymentConfigName") or "")
    if name in configs:
        return _own_config(configs[name], said)
    if name in get_args(PredefinedConfig):
        return name
    if name:
        said.append(
            f"deployment configuration {name} is not in the template: CodeDeployDefault.OneAtATime is used"
        )
    return None


def _own_config(properties: Mapping[str, Any], said: list[str]) -> dict[str, Any] | None:
    minimum = _minimum(_mapping(properties, "MinimumHealthyHosts"))
    if minimum is None:
        said.append("the minimum of healthy hosts is not known: CodeDeployDefault.OneAtATime is used")
        return None
    zonal = _mapping(properties, "ZonalConfig")
    if not zonal:
        return {"minimum_healthy_hosts": minimum}
    per_zone = _mapping(zonal, "MinimumHealthyHostsPerZone")
    fields = {
        "monitor_duration_in_seconds": _number(zonal.get("MonitorDurationInSeconds")),
        "first_zone_monitor_duration_in_seconds": _number(zonal.get("FirstZoneMonitorDurationInSeconds")),
        "minimum_healthy_hosts_per_zone": _minimum(per_zone),
    }
    return {
        "minimum_healthy_hosts": minimum,
        "zonal_config": {key: value for key, value in fields.items() if value is not None},
    }


def _minimum(declared: Mapping[str, Any]) -> dict[str, Any] | None:
    kind, value = declared.get("Type"), _number(declared.get("Value"))
    if kind not in ("HOST_COUNT", "FLEET_PERCENT") or value is None:
        return None
    return {"type": kind, "value": value}


def _rollback(properties: Mapping[str, Any]) -> list[str]:
    declared = _mapping(properties, "AutoRollbackConfiguration")
    events = declared.get("Events")
    if not _is_true(declared.get("Enabled")) or not isinstance(events, list):
        return []
    return [event for event in get_args(RollbackEvent) if event in events]


def _alarms(properties: Mapping[str, Any], said: list[str]) -> dict[str, Any]:
    declared = _mapping(properties, "AlarmConfiguration")
    if not _is_true(declared.get("Enabled", True)):
        return {}
    listed = declared.get("Alarms")
    names = [str(each.get("Name", "")) for each in listed or [] if isinstance(each, dict)]
    said += [f"alarm {name} is left out: its name is not known" for name in names if not is_known(name)]
    known = [name for name in names if is_known(name)]
    ignored = {"ignore_poll_failure": True} if _is_true(declared.get("IgnorePollAlarmFailure")) else {}
    return {"cloudwatch": known, **ignored} if known else {}


def _tag_sets(properties: Mapping[str, Any], said: list[str]) -> list[list[dict[str, str]]]:
    """A list of tags for each set: a host must have one tag of each."""
    found: list[list[dict[str, str]]] = []
    for key, set_key, list_key, group_key in (
        ("Ec2TagFilters", "Ec2TagSet", "Ec2TagSetList", "Ec2TagGroup"),
        ("OnPremisesInstanceTagFilters", "OnPremisesTagSet", "OnPremisesTagSetList", "OnPremisesTagGroup"),
    ):
        listed = _mapping(properties, set_key).get(list_key)
        sets = [each.get(group_key) for each in listed or [] if isinstance(each, dict)]
        tags = [_tags(each) for each in (sets or [properties.get(key)]) if each]
        if found and tags:
            said.append(
                "tags of on-premises instances are left out: the inventory's hosts are chosen by the EC2 tags"
            )
        else:
            found += tags
    return found


def _tags(filters: Any) -> list[dict[str, str]]:
    return [
        {
            **{own: str(each[key]) for key, own in (("Key", "key"), ("Value", "value")) if key in each},
            "type": str(each.get("Type") or "KEY_AND_VALUE"),
        }
        for each in (filters if isinstance(filters, list) else [])
        if isinstance(each, dict)
    ]


def _traffic(properties: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any] | None:
    """The target groups of a group's load balancer, unless its hosts are in no traffic."""
    if own.get("where") == "local" or _mapping(properties, "DeploymentStyle").get("DeploymentOption") != (
        "WITH_TRAFFIC_CONTROL"
    ):
        return None
    listed = _mapping(properties, "LoadBalancerInfo").get("TargetGroupInfoList")
    names = [str(each.get("Name", "")) for each in listed or [] if isinstance(each, dict)]
    known = [name for name in names if is_known(name)]
    return {"target_groups": known} if known else None


def _without_meaning(properties: Mapping[str, Any]) -> Iterator[str]:
    for key, instead in _WITHOUT_MEANING.items():
        if properties.get(key):
            yield f"{key} is left out: {instead}"
    if _mapping(properties, "DeploymentStyle").get("DeploymentType") == "BLUE_GREEN":
        yield "DeploymentStyle BLUE_GREEN is left out: hosts are deployed in place"
    if _mapping(properties, "LoadBalancerInfo").get("ElbInfoList"):
        yield "classic load balancers are left out: write `traffic` with commands"


def _configs(resources: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for _, resource in _of_type(resources, CONFIG):
        properties = _mapping(resource, "Properties")
        yield str(properties.get("DeploymentConfigName") or _ref(resource)), properties


def _of_type(
    resources: Mapping[str, Mapping[str, Any]], kind: str
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    return ((logical_id, each) for logical_id, each in resources.items() if each.get("Type") == kind)


def _ref(resource: Mapping[str, Any]) -> str:
    return str(_mapping(resource, "Attributes").get("Ref", ""))


def _number(value: Any) -> int | None:
    return int(value) if re.fullmatch(r"\d{1,9}", str(value)) else None


def _is_true(value: Any) -> bool:
    return str(value).lower() == "true"


def _mapping(part: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = part.get(key)
    return found if isinstance(found, dict) else {}
