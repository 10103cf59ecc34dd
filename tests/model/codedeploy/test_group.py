"""Settings of a deployment group: where its hosts are, and which settings exclude one another."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from prefect_codepipeline.model.codedeploy.group import DeploymentGroup

HOSTS = [{"name": "web-1", "address": "10.0.0.1"}, {"name": "web-2", "address": "10.0.0.2", "zone": "a"}]
TAGS = {"tag_sets": [[{"key": "role", "value": "web"}]], "inventory": "fleet"}
ZONES = {"minimum_healthy_hosts": {"type": "HOST_COUNT", "value": 0}, "zonal_config": {}}
COMMANDS = {"block": ["out"], "allow": ["in"]}


def percent(value: int) -> dict[str, Any]:
    return {"minimum_healthy_hosts": {"type": "FLEET_PERCENT", "value": value}}


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({}, "aws"),
        ({"where": "aws"}, "aws"),
        ({"where": "local"}, "local"),
        ({"hosts": HOSTS}, "hosts"),
        (TAGS, "hosts"),
        ({"hosts_command": ["list-hosts"], "where": "hosts"}, "hosts"),
    ],
)
def test_a_group_with_hosts_is_on_hosts_else_in_aws(fields, place):
    assert DeploymentGroup(name="web", **fields).place == place


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hosts": HOSTS[:1] * 2}, "web-1: declared more than once"),
        ({"hosts": HOSTS, **TAGS}, "hosts and tag_sets exclude one another"),
        ({"hosts": HOSTS, "hosts_command": ["x"]}, "hosts and hosts_command exclude one another"),
        ({"tag_sets": TAGS["tag_sets"]}, "tag_sets and inventory belong together"),
        ({"inventory": "fleet"}, "tag_sets and inventory belong together"),
        ({"tag_sets": [[]], "inventory": "fleet"}, "at least 1 item"),
        ({"tag_sets": [[{"key": "a"}]], "inventory": "fleet"}, "KEY_AND_VALUE needs value"),
        ({"tag_sets": [[{"type": "KEY_ONLY"}]], "inventory": "fleet"}, "KEY_ONLY needs key"),
        (
            {"tag_sets": [[{"type": "VALUE_ONLY", "key": "a"}]], "inventory": "fleet"},
            "VALUE_ONLY needs value",
        ),
        ({"where": "hosts"}, "where is 'hosts', but there are no hosts, tag_sets or hosts_command"),
        ({"where": "local", "hosts": HOSTS}, "hosts: only for hosts, but where is 'local'"),
        ({"where": "aws", **TAGS}, "tag_sets: only for hosts, but where is 'aws'"),
        (
            {"where": "local", "hosts_command": ["x"], "traffic": COMMANDS},
            "hosts_command and traffic: only for hosts, but where is 'local'",
        ),
        ({"hosts": HOSTS, "deployment_config": ZONES}, "zonal_config: web-1 has no zone"),
        ({"where": "local", "deployment_config": ZONES}, "zonal_config: this machine has no zones"),
        ({"deployment_config": percent(101)}, "FLEET_PERCENT is at most 100, not 101"),
        ({"deployment_config": "CodeDeployDefault.ECSAllAtOnce"}, "'CodeDeployDefault.AllAtOnce'"),
        ({"hosts": HOSTS, "traffic": {"block": ["out"]}}, "needs block and allow, or target_groups"),
        ({"hosts": HOSTS, "traffic": {}}, "needs block and allow, or target_groups"),
        (
            {"hosts": HOSTS, "traffic": {**COMMANDS, "target_groups": ["web"]}},
            "target_groups and block, allow exclude one another",
        ),
        ({"hosts": HOSTS, "traffic": {"on": "host", "target_groups": ["web"]}}, "leave 'on' out"),
        (
            {"ssh": {"private_key_secret": "key", "private_key_path": "/key"}},
            "private_key_secret and private_key_path exclude one another",
        ),
        ({"ssh": {"passphrase_secret": "words"}}, "passphrase_secret needs private_key_secret"),
        ({"alarms": {"urls": ["example.com/health"]}}, "'example.com/health' is not a URL"),
        ({"alarms": {"commands": [[]]}}, "at least 1 item"),
        ({"state_folder": "state"}, "'state' is not a path that starts with / or ~/"),
        ({"hosts": [{"name": "web-1", "address": "-oProxyCommand=x"}]}, "match pattern"),
        ({"hosts": [{"name": "web-1", "address": "10.0.0.1 x"}]}, "match pattern"),
        ({"hosts": [{"name": "web\n1", "address": "10.0.0.1"}]}, "match pattern"),
        ({"colour": "blue"}, "Extra inputs"),
    ],
)
def test_refuses_what_cannot_be(fields, message):
    with pytest.raises(ValidationError) as refused:
        DeploymentGroup(name="web", **fields)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("value", "hosts", "warned"),
    [
        (1, {"hosts": HOSTS}, None),
        (2, {"hosts": HOSTS}, "2 hosts"),
        (1, {"where": "local"}, "1 host:"),
        (9, TAGS, None),
    ],
)
def test_a_minimum_that_all_hosts_are_needed_for_is_warned(value, hosts, warned):
    config = {"minimum_healthy_hosts": {"type": "HOST_COUNT", "value": value}}
    said = list(DeploymentGroup(name="web", deployment_config=config, **hosts).warnings())

    assert [warned in each for each in said] == ([True] if warned else [])
