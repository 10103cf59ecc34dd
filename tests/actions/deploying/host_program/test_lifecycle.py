"""The lifecycle events of deployments on a host, the order in which they come, and what they find."""

from __future__ import annotations

import os

import pytest
from deployed_host import EVENTS, GROUP_ID, DeployedHost, files, hooks
from waiting import until

from prefect_codepipeline.actions.deploying.host_calls import Deployed

SCRIPTED = [event for event in EVENTS if event not in ("DownloadBundle", "Install")]
# The events of one order; with traffic, the worker blocks and allows it between the orders.
WITH_TRAFFIC = [
    ["BeforeBlockTraffic"],
    ["AfterBlockTraffic", *EVENTS, "BeforeAllowTraffic"],
    ["AfterAllowTraffic"],
]


def telling(host: DeployedHost, name: str, events: list[str]) -> tuple[dict[str, str], dict[str, object]]:
    """A bundle with a script for each event, and its AppSpec; the scripts append to the file `told`."""
    told = host.folder / "told"
    bundle = {f"{event}.sh": f"#!/bin/sh\necho {name} {event} $DEPLOYMENT_ID >>{told}\n" for event in events}
    return bundle, hooks(**{event: f"{event}.sh" for event in events})


def told(host: DeployedHost) -> list[str]:
    lines = (host.folder / "told").read_text().splitlines()
    (host.folder / "told").unlink()
    return lines


def test_events_run_in_order_and_stops_belong_to_the_last_successful_revision(host: DeployedHost) -> None:
    bundle, appspec = telling(host, "one", SCRIPTED)

    ends = host.deploy({**bundle, "www/index.html": "hello"}, appspec | files(("/www", "/var/www")))

    assert {event: end["state"] for event, end in ends.items()} == dict.fromkeys(EVENTS, "Succeeded")
    assert [(entry["event"], entry["state"]) for entry in host.journal("d-AAAAAAAA1")] == [
        (event, state) for event in EVENTS for state in ("InProgress", "Succeeded")
    ]
    assert told(host) == [f"one {event} d-AAAAAAAA1" for event in SCRIPTED[1:]]
    assert (host.root / "var/www/index.html").read_text() == "hello"

    bundle, appspec = telling(host, "two", SCRIPTED)
    broken = host.deploy(bundle | {"AfterInstall.sh": "#!/bin/sh\nexit 3\n"}, appspec, "d-AAAAAAAA2")
    assert [event for event, end in broken.items() if end["state"] == "Failed"] == ["AfterInstall"]
    assert list(broken) == EVENTS[:5]
    assert told(host) == ["one ApplicationStop d-AAAAAAAA2", "two BeforeInstall d-AAAAAAAA2"]

    bundle, appspec = telling(host, "three", SCRIPTED)
    host.deploy(bundle, appspec, "d-AAAAAAAA3")
    assert told(host)[0] == "one ApplicationStop d-AAAAAAAA3"
    survey = host.run(host.calls.survey("d-AAAAAAAA4", "0" * 64))
    assert survey.last_successful is not None
    assert survey.last_successful.deployment == "d-AAAAAAAA3"
    assert survey.busy_with is None


def test_with_traffic_a_deployment_is_several_orders_with_one_journal(host: DeployedHost) -> None:
    events = [event for order in WITH_TRAFFIC for event in order]
    scripted = [event for event in events if event not in ("DownloadBundle", "Install")]
    of_last = ["BeforeBlockTraffic", "AfterBlockTraffic", "ApplicationStop"]
    for name in ("one", "two"):
        bundle, appspec = telling(host, name, scripted)
        revision = host.bundle(bundle)
        deployment = f"d-{name.upper():A>9}"
        for number, part in enumerate(WITH_TRAFFIC):
            order = host.order(revision, appspec, deployment, events=part, last=False)
            ends = host.carry_out(order)
            assert list(ends) == [event for order in WITH_TRAFFIC[: number + 1] for event in order]
            assert host.run(host.calls.survey(deployment, revision)).busy_with == deployment
        host.run(host.calls.finish(deployment, "Succeeded"))
        host.run(host.calls.finish(deployment, "Failed"))  # again, and too late
        survey = host.run(host.calls.survey(deployment, revision))
        assert (survey.busy_with, survey.last_successful) == (None, Deployed(deployment, revision))
        expected = [event for event in scripted if name == "two" or event not in of_last]
        assert told(host) == [
            f"{'one' if event in of_last else name} {event} {deployment}" for event in expected
        ]


def test_a_failed_stop_is_ignored_only_where_the_group_says_so(host: DeployedHost) -> None:
    host.deploy({"stop": "#!/bin/sh\nexit 1\n"}, hooks(ApplicationStop="stop"))

    ends = host.deploy({}, {}, "d-AAAAAAAA2")
    assert (list(ends), ends["ApplicationStop"]["ignored"]) == (["ApplicationStop"], False)
    assert host.follow("d-AAAAAAAA2")[1].outcome == "Failed"

    ends = host.deploy({}, {}, "d-AAAAAAAA3", ignore_application_stop_failures=True)
    assert ends["ApplicationStop"]["state"] == "Failed"
    assert ends["ApplicationStop"]["ignored"]
    assert (list(ends), ends["ValidateService"]["state"]) == (EVENTS, "Succeeded")
    assert host.follow("d-AAAAAAAA3")[1].outcome == "Succeeded"


def test_files_of_the_last_successful_deployment_that_are_gone_fail_its_stop(host: DeployedHost) -> None:
    host.deploy({"stop": "#!/bin/sh\n"}, hooks(ApplicationStop="stop"))
    (host.group / "d-AAAAAAAA1/orders.jsonl").unlink()

    end = host.deploy({}, {}, "d-AAAAAAAA2")["ApplicationStop"]

    assert end["code"] == "UnknownError"
    assert end["message"] == (
        "The files of deployment d-AAAAAAAA1, the last successful one, whose scripts ApplicationStop runs, are missing "
        f"in {host.group}/d-AAAAAAAA1. To deploy without them, set ignore_application_stop_failures in the deployment "
        "group"
    )


def test_scripts_get_the_environment_of_codedeploy_and_nothing_else(
    host: DeployedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_KEY", "secret")
    printed = host.folder / "printed"

    host.deploy({"env": f"#!/bin/sh\nenv >{printed}\n"}, hooks(AfterInstall="env"))

    variables = dict(line.split("=", 1) for line in printed.read_text().splitlines())
    assert variables.keys() - {"PATH", "HOME", "USER", "LOGNAME", "LANG", "SHELL", "PWD", "_", "SHLVL"} == {
        "APPLICATION_NAME",
        "DEPLOYMENT_ID",
        "DEPLOYMENT_GROUP_NAME",
        "DEPLOYMENT_GROUP_ID",
        "LIFECYCLE_EVENT",
        "BUNDLE_COMMIT",
    }
    assert [variables[name] for name in ("APPLICATION_NAME", "DEPLOYMENT_ID", "DEPLOYMENT_GROUP_NAME")] == [
        "shop",
        "d-AAAAAAAA1",
        "blue",
    ]
    assert (variables["DEPLOYMENT_GROUP_ID"], variables["LIFECYCLE_EVENT"]) == (GROUP_ID, "AfterInstall")
    assert (variables["BUNDLE_COMMIT"], variables["PWD"]) == ("0a1b2c3d", "/")


def test_an_order_is_started_once_however_often_it_is_sent(host: DeployedHost) -> None:
    bundle, appspec = telling(host, "one", SCRIPTED)
    order = host.order(host.bundle(bundle), appspec, "d-AAAAAAAA1", last=False)
    for _ in range(3):
        host.carry_out(order)
    host.run(host.calls.finish("d-AAAAAAAA1", "Succeeded"))
    host.carry_out(order)

    assert len(told(host)) == len(SCRIPTED) - 1
    assert len(host.journal("d-AAAAAAAA1")) == 2 * len(EVENTS)


def test_a_host_is_busy_until_a_deployment_has_ended_there(host: DeployedHost) -> None:
    order = host.order(host.bundle({}), {}, "d-AAAAAAAA1", last=False)
    host.carry_out(order)
    other = order | {"deployment": "d-AAAAAAAA2", "last": True}

    assert host.run(host.calls.start(other)) == "d-AAAAAAAA1"
    assert host.run(host.calls.survey("d-AAAAAAAA2", "0" * 64)).busy_with == "d-AAAAAAAA1"
    host.run(host.calls.finish("d-AAAAAAAA1", "Failed"))
    assert host.carry_out(other)["ValidateService"]["state"] == "Succeeded"


def test_a_deployment_that_was_stopped_between_orders_begins_no_further_one(host: DeployedHost) -> None:
    revision = host.bundle({})
    host.carry_out(host.order(revision, {}, "d-AAAAAAAA1", events=["ApplicationStop"], last=False))
    assert not host.run(host.calls.stop("d-AAAAAAAA1"))

    ends = host.carry_out(host.order(revision, {}, "d-AAAAAAAA1", events=EVENTS[1:]))

    assert {event: end["state"] for event, end in ends.items()} == {
        "ApplicationStop": "Succeeded",
        "DownloadBundle": "Stopped",
    }
    assert ends["DownloadBundle"]["message"] == "The deployment was stopped before this event"


def test_five_revisions_and_deployments_are_kept_and_those_in_use_whatever_the_clock_says(
    host: DeployedHost,
) -> None:
    good = host.bundle({"stop": "#!/bin/sh\n"})
    host.carry_out(host.order(good, hooks(ApplicationStop="stop"), "d-GOOD"))
    revisions = []
    for number in range(7):
        revisions.append(host.bundle({"number": str(number)}))
        # The clock jumps back by a year each time.
        for place in (host.group / "revisions" / f"{revisions[-1]}.tar", host.group / "d-GOOD"):
            os.utime(place, (1e9 - number * 3e7,) * 2)
        missing = hooks(BeforeInstall="missing")
        host.carry_out(host.order(revisions[-1], missing, f"d-{number}"))

    kept = {"d-GOOD", "d-2", "d-3", "d-4", "d-5", "d-6"}
    # The program removes the rest after its last word.
    until(lambda: {path.name for path in host.group.iterdir() if path.name.startswith("d-")} == kept)
    archives = {f"{revision}.tar" for revision in [good, *revisions[2:]]}
    until(lambda: {path.name for path in (host.group / "revisions").iterdir()} == archives)


def test_the_journal_keeps_its_order_when_the_clock_goes_back_by_a_year(host: DeployedHost) -> None:
    revision = host.bundle({})
    host.carry_out(host.order(revision, {}, "d-AAAAAAAA1", events=EVENTS[:2], last=False))
    late = host.with_python(
        "now, shown = time.time, time.gmtime\n"
        "time.time = lambda: now() - 31536000\n"
        "time.gmtime = lambda *seconds: shown(*seconds or [time.time()])\n"
    )

    ends = late.carry_out(host.order(revision, {}, "d-AAAAAAAA1", events=EVENTS[2:]))

    assert list(ends) == EVENTS
    assert ends["Install"]["at"] < ends["DownloadBundle"]["at"]
    assert host.run(host.calls.survey("d-AAAAAAAA2", revision)).last_successful == Deployed(
        "d-AAAAAAAA1", revision
    )


def test_records_are_private_and_the_scripts_can_be_read(host: DeployedHost) -> None:
    host.deploy({"run": "#!/bin/sh\necho hello\n"}, hooks(AfterInstall="run"))

    folder = host.group / "d-AAAAAAAA1"
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert modes.pop("deployment-archive") == 0o755
    assert {name: oct(mode) for name, mode in modes.items() if mode != 0o600} == {}
    assert (folder.stat().st_mode & 0o777, host.group.stat().st_mode & 0o777) == (0o755, 0o755)
