"""The steps of an EC2 action as the AppSpec that hosts outside of AWS work off."""

from __future__ import annotations

from prefect_codepipeline.actions.instances.as_appspec import appspec_of
from prefect_codepipeline.actions.instances.deploy_spec import steps_of_file, steps_of_scripts
from prefect_codepipeline.model.appspec.parts import FileMapping, Script

APPSPEC = b"""
version: 0.0
files: [{source: /a/, destination: /srv//app/}]
hooks:
  ApplicationStop: [{location: ./stop.sh}]
  BeforeInstall: [{location: before.sh, timeout: 5, runas: web}]
  AfterInstall: [{location: after.sh}]
  ApplicationStart: [{location: start.sh}]
  ValidateService: [{location: check.sh}, {location: again.sh}]
"""


def test_an_appspec_keeps_its_events_but_stops_with_the_new_scripts() -> None:
    made = appspec_of(steps_of_file(APPSPEC, "appspec.yml"))

    assert made.files == (FileMapping("a", "/srv/app"),)
    assert made.file_exists_behavior == "OVERWRITE"
    assert {event: [each.location for each in scripts] for event, scripts in made.hooks.items()} == {
        "BeforeInstall": ["stop.sh", "before.sh"],
        "AfterInstall": ["after.sh"],
        "ApplicationStart": ["start.sh"],
        "ValidateService": ["check.sh", "again.sh"],
    }
    assert made.hooks["BeforeInstall"][1] == Script("before.sh", 5, "web", directory="")


def test_the_last_script_runs_in_the_target_directory() -> None:
    made = appspec_of(steps_of_scripts("/srv/app", "/before.sh", "after.sh"))

    assert made.files == (FileMapping("", "/srv/app"),)
    assert made.hooks == {
        "BeforeInstall": (Script("before.sh", directory=""),),
        "AfterInstall": (Script("after.sh", directory="/srv/app"),),
    }
    assert made.as_order()["hooks"]["AfterInstall"][0]["directory"] == "/srv/app"
