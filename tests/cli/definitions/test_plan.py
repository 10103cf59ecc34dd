"""What `plan` and `deploy` say about actions that use AWS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prefect_codepipeline.cli import main
from prefect_codepipeline.cli.definitions.plan import _place
from prefect_codepipeline.deployments.checking.accounts import unused_roles
from prefect_codepipeline.model.definition.action_settings import ActionSettings
from prefect_codepipeline.model.definition.declaration import ActionDeclaration, PipelineDeclaration
from prefect_codepipeline.model.stored.settings import StoredSettings


@pytest.mark.parametrize(
    ("kind", "region", "settings", "place"),
    [
        ("Deploy/AWS/CloudFormation", "us-east-1", {}, "in AWS, in region us-east-1"),
        ("Deploy/AWS/CloudFormation", None, {"aws": {"region": "eu-west-1"}}, "in AWS, in region eu-west-1"),
        ("Deploy/AWS/CloudFormation", None, {}, "in AWS, in the worker's region"),
        ("Deploy/AWS/EC2", "us-east-1", {"deploy_hosts": "fleet"}, "on hosts of inventory 'fleet'"),
        ("Deploy/AWS/EC2", "us-east-1", {}, "in AWS, in region us-east-1"),
        ("Compute/AWS/Commands", None, {"run_on": "host"}, "on the worker's host"),
        (
            "Compute/AWS/Commands",
            None,
            {"run_on": "host", "work_pool": "gpu"},
            "on the worker's host, from work pool 'gpu'",
        ),
        ("Compute/AWS/Commands", "us-east-1", {"image": "x"}, "in a container of x, not in us-east-1"),
    ],
)
def test_the_region_of_an_action_counts_only_in_aws(
    kind: str, region: str | None, settings: dict[str, Any], place: str
) -> None:
    category, owner, provider = kind.split("/")
    action = ActionDeclaration.model_validate(
        {
            "name": "A",
            "region": region,
            "actionTypeId": {"category": category, "owner": owner, "provider": provider, "version": "1"},
        }
    )

    assert _place(action, ActionSettings.model_validate(settings)) == place


ROLE = "arn:aws:iam::111122223333:role/deploy"


def action(name: str, provider: str, category: str = "Deploy") -> dict[str, Any]:
    kind = {"category": category, "owner": "AWS", "provider": provider, "version": "1"}
    return {"name": name, "actionTypeId": kind, "roleArn": ROLE}


SHOP = {
    "name": "shop",
    "roleArn": ROLE,
    "artifactStore": {"type": "S3", "location": "bucket"},
    "stages": [
        {"name": "Source", "actions": [action("Code", "CodeCommit", "Source")]},
        {"name": "Test", "actions": [action("Stack", "CloudFormation")]},
        {"name": "Prod", "actions": [action("Stack", "CloudFormation"), action("Web", "EC2")]},
    ],
}


def test_a_role_that_the_settings_leave_unused_is_said() -> None:
    declaration = PipelineDeclaration.model_validate(SHOP)
    settings = StoredSettings.model_validate({"overrides": {"Prod": {"aws": {"assume_action_role": True}}}})

    (sentence,) = unused_roles(declaration, settings)
    assert sentence.startswith(
        "roleArn of action Test/Stack is not used; to assume it, set 'assume_action_role'"
    )


@pytest.mark.usefixtures("no_server")
def test_the_credentials_and_hosts_that_the_settings_name_are_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PREFECT_CODEPIPELINE_HOME", str(tmp_path / "none"))
    (tmp_path / "shop.json").write_text(json.dumps(SHOP))
    (tmp_path / "shop.settings.yaml").write_text(
        "overrides: {Source: {aws: {credentials: a}}, Prod: {aws: {credentials: b}}, Prod/Web: {deploy_hosts: fleet}}"
    )

    with pytest.raises(SystemExit):
        main(["plan", str(tmp_path / "shop.json"), "--json"])

    needs = json.loads(capsys.readouterr().out)["needs"]
    assert needs == [
        {"kind": kind, "name": name, "state": "unknown", "command": ""}
        for kind, name in (("aws-credentials", "b"), ("deploy-hosts", "fleet"))
    ]
