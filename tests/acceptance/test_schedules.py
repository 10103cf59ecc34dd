"""A schedule starts its pipeline, and outlives deploys and the deployment itself."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.schemas.schedules import CronSchedule
from prefect.states import Scheduled
from waiting import until

from prefect_codepipeline.deployments.create import deploy_pipeline
from prefect_codepipeline.deployments.delete import delete_pipeline
from prefect_codepipeline.deployments.resource_schedules import add_declared, add_schedule
from prefect_codepipeline.engine.executions.lookup import find_in_flight, find_runs, latest_execution
from prefect_codepipeline.engine.operations import schedules
from prefect_codepipeline.engine.operations.projection import project_missing
from prefect_codepipeline.engine.operations.schedules import schedule_variables, schedules_of
from prefect_codepipeline.engine.operations.starting import find_deployment
from prefect_codepipeline.errors import ValidationException
from prefect_codepipeline.prefect_api.client import call, call_all, client

pytestmark = pytest.mark.live
VARIABLES = [{"name": "target", "defaultValue": "test"}]


def shown(name: str) -> dict[str | None, dict[str, Any]]:
    """The schedules that Prefect's deployment has, by slug."""
    return {each["slug"]: each for each in find_deployment(name)["schedules"]}


def scheduled_runs(name: str) -> list[dict[str, Any]]:
    """The runs that Prefect made for later, the next one first."""
    wanted = {
        "tags": {"all_": [f"pipeline:{name}", "auto-scheduled"]},
        "state": {"type": {"any_": ["SCHEDULED"]}},
    }
    return call_all("/flow_runs/filter", {"flow_runs": wanted, "sort": "EXPECTED_START_TIME_ASC"})


def test_a_schedule_starts_an_execution_that_says_so(world: Any) -> None:
    deploy_pipeline(world.declare([world.action("Test")], variables=VARIABLES))
    added = world.cli(
        "schedule", "add", world.name, "--cron", "*/2 * * * *", "--timezone", "Europe/Zurich",
        "--variable", "target=prod", "--rule", "often",
    )  # fmt: skip
    assert added.returncode == 0, added.stderr
    assert "'often' added" in added.stdout
    until(lambda: scheduled_runs(world.name))
    # What is to run later is no execution yet, however much of it there is.
    assert find_runs(world.name, limit=200) == [] or len(find_runs(world.name, limit=200)) <= 3
    assert find_in_flight(world.name) == []

    run = scheduled_runs(world.name)[-1]
    client().set_flow_run_state(UUID(run["id"]), Scheduled(), force=True)
    known = world.ended(run["id"])

    assert known.status == "Succeeded"
    pinned = known.state.pinned
    assert (pinned.trigger_type, pinned.trigger_detail) == ("CloudWatchEvent", "often")
    assert pinned.variables == {"target": "prod"}


def test_the_latest_execution_is_found_among_many_runs_for_later(world: Any) -> None:
    execution = world.start(world.declare([world.action("Test")]))
    world.ended(execution)
    add_schedule(world.name, "* * * * *", rule="each-minute")
    until(lambda: len(scheduled_runs(world.name)) > 25)

    assert latest_execution(world.name).id == execution
    listed = json.loads(world.cli("executions", world.name, "--limit", "10", "--json").stdout)
    assert execution in [each["pipelineExecutionId"] for each in listed]


def test_schedules_outlive_deploys_and_the_deployment(world: Any) -> None:
    deploy_pipeline(world.declare([world.action("Test")]))
    add_schedule(world.name, "0 6 * * MON-FRI", "Europe/Zurich", rule="mornings")
    add_schedule(world.name, "rate(1 hour)", rule="hourly")
    deployment = find_deployment(world.name)
    own = CronSchedule(cron="5 4 * * *").model_dump(mode="json")
    call("POST", f"/deployments/{deployment['id']}/schedules", [{"schedule": own, "active": True}])
    hourly = shown(world.name)["hourly"]
    call("PATCH", f"/deployments/{deployment['id']}/schedules/{hourly['id']}", {"active": False})

    deploy_pipeline(world.declare([world.action("Other")]))

    after = shown(world.name)
    assert set(after) == {"mornings", "hourly", None}
    assert after[None]["schedule"]["cron"] == "5 4 * * *"
    assert {slug: each["active"] for slug, each in after.items()} == {
        "mornings": True,
        "hourly": False,
        None: True,
    }

    call("DELETE", f"/deployments/{find_deployment(world.name)['id']}")
    assert any(world.name in each for each in project_missing())

    again = shown(world.name)
    assert set(again) == {"mornings", "hourly"}
    assert again["mornings"]["schedule"]["cron"] == "0 6 * * MON-FRI"
    assert again["mornings"]["schedule"]["timezone"] == "Europe/Zurich"
    # A rate goes on in the rhythm that it began with.
    assert again["hourly"]["schedule"]["anchor_date"] == hourly["schedule"]["anchor_date"]


@pytest.mark.long
def test_the_command_lists_refuses_and_removes(world: Any) -> None:
    deploy_pipeline(world.declare([world.action("Test")], variables=VARIABLES))
    again = ("cron(0 6 ? * MON-FRI *)", "rate(1 day)")
    assert (
        "added" in world.cli("schedule", "add", world.name, "--cron", again[0], "--rule", "mornings").stdout
    )
    refused = world.cli("schedule", "add", world.name, "--cron", again[1], "--rule", "mornings")
    assert "already: cron(0 6 ? * MON-FRI *)" in refused.stderr
    _, is_new = add_schedule(world.name, again[0], rule="mornings")
    assert not is_new
    add_schedule(world.name, again[1], rule="mornings", replace=True)
    for arguments, said in (
        ({"expression": "0 0 L * *"}, "Prefect's schedules do not support L, W and #"),
        ({"expression": "0 0 * * *", "timezone": "Mars/Base"}, "time zone 'Mars/Base' does not exist"),
        (
            {"expression": "0 0 * * *", "variables": {"nothing": "1"}},
            f"no schedule was added to pipeline {world.name!r}: it has no",
        ),
        ({"expression": "0 0 * * *", "rule": "a b"}, "the schedule name 'a b' is not valid"),
    ):
        with pytest.raises(ValidationException, match=re.escape(said)):
            add_schedule(world.name, **arguments)

    listed = json.loads(world.cli("schedule", "list", world.name, "--json").stdout)
    assert listed == [
        {"rule": "mornings", "expression": "rate(1 day)", "timezone": "UTC", "variables": {}, "active": True}
    ]
    assert shown(world.name)["mornings"]["schedule"]["interval"] == 86400.0
    assert world.cli("schedule", "remove", world.name, "mornings").returncode == 0
    assert shown(world.name) == {}
    again = world.cli("schedule", "remove", world.name, "mornings")
    assert "has no schedule 'mornings'; it has: none" in again.stderr


@pytest.mark.long
def test_a_rule_of_a_template_becomes_a_schedule(world: Any, tmp_path: Path) -> None:
    declaration = world.declare([world.action("Test")], variables=VARIABLES)
    target = {"Arn": {"Fn::Sub": f"arn:aws:codepipeline:us-east-1:111122223333:{world.name}"}, "Id": "p"}
    given = json.dumps({"variables": [{"name": "target", "value": "prod"}]})

    def rule(**properties: Any) -> dict[str, Any]:
        return {
            "Type": "AWS::Events::Rule",
            "Properties": {"Targets": [{**target, "Input": given}], **properties},
        }

    wire = declaration.to_wire()
    template = {
        "Resources": {
            "Pipeline": {"Type": "AWS::CodePipeline::Pipeline", "Properties": capital(wire)},
            "Nightly": rule(ScheduleExpression="cron(0 2 * * ? *)", Name="nightly-release"),
            "Monthly": rule(ScheduleExpression="cron(0 2 L * ? *)"),
            "Off": rule(ScheduleExpression="rate(1 hour)", State="DISABLED"),
        }
    }
    path = tmp_path / "template.json"
    path.write_text(json.dumps(template))
    imported = world.cli("import", str(path), "--out", str(tmp_path))
    assert imported.returncode == 0, imported.stdout + imported.stderr

    deployed = world.cli("deploy", str(tmp_path / f"{world.name}.json"))

    said = " ".join(deployed.stdout.split())
    assert "created schedule 'nightly-release': cron(0 2 * * ? *)" in said, deployed.stdout + deployed.stderr
    assert "Monthly (AWS::Events::Rule): no schedule created: day of the month 'L'" in said
    assert "Off (AWS::Events::Rule): disabled" in said
    (schedule,) = schedules_of(world.name)
    assert schedule.variables == {"target": "prod"}
    assert shown(world.name)["nightly-release"]["schedule"]["cron"] == "0 2 * * *"
    assert " exists" in add_declared(world.name, {"Nightly": template["Resources"]["Nightly"]})[0]  # type: ignore[dict-item]


def test_a_deleted_pipeline_leaves_no_schedule_behind(world: Any) -> None:
    deploy_pipeline(world.declare([world.action("Test")]))
    add_schedule(world.name, "rate(1 hour)", rule="hourly")

    delete_pipeline(world.name)

    assert schedule_variables(world.name) == []


def test_there_are_so_many_schedules_at_most(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedules, "MAX_SCHEDULES", 1)
    deploy_pipeline(world.declare([world.action("Test")]))
    add_schedule(world.name, "rate(1 hour)", rule="one")

    with pytest.raises(ValidationException, match="has 1 schedules; the limit is 1"):
        add_schedule(world.name, "rate(1 hour)", rule="one-more")


def capital(part: Any, key: str = "") -> Any:
    """The definition as CloudFormation spells it."""
    if isinstance(part, dict):
        own = key == "configuration"
        return {
            (k if own else k[:1].upper() + k[1:]): capital(v, k)
            for k, v in part.items()
            if k != "version" or own or "owner" in part
        }
    return [capital(item) for item in part] if isinstance(part, list) else part
