"""The program on a host is killed at any moment, or the host restarts: no script runs twice, and the outcome is right."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from deployed_host import EVENTS, DeployedHost, files, hooks, nap, processes_with
from waiting import until

from prefect_codepipeline.actions.deploying.host_calls import program_text

HOOKED = ["BeforeInstall", "AfterInstall", "ApplicationStart"]
TRIALS = 30
NAP = nap()


def hosts(folder: Path) -> tuple[list[DeployedHost], dict[str, Any]]:
    """Hosts that have a revision, and the order for each."""
    first = DeployedHost(folder / "host")
    # Its folder is in the command line of each script, by which its processes are found.
    bundle = {
        name: f"#!/bin/sh\necho {name} >>$(dirname $0)/../../../../told\nsleep 0.05\n" for name in HOOKED
    }
    order = first.order(first.bundle(bundle), hooks(**{event: event for event in HOOKED}), "d-AAAAAAAA1")
    return [first.copied(folder / f"host-{number}") for number in range(TRIALS)], order


def check(host: DeployedHost, outcome: str) -> None:
    """What happened on a host is in its journal, and nothing happened twice."""
    ran = (host.folder / "told").read_text().split() if (host.folder / "told").exists() else []
    states = [(entry["event"], entry["state"]) for entry in host.journal("d-AAAAAAAA1")]
    succeeded = [event for event, state in states if state == "Succeeded"]
    assert succeeded == EVENTS[: len(succeeded)], states
    done = [event for event in HOOKED if event in succeeded]
    assert ran in (done, HOOKED[: len(done) + 1]), states
    last = json.loads(path.read_text()) if (path := host.group / "last-successful.json").exists() else None
    if outcome == "Succeeded":
        assert (len(succeeded), ran) == (len(EVENTS), HOOKED)
        assert last is not None
    else:
        failed = EVENTS[len(succeeded)]
        assert states[-1] == (failed, "Failed")
        assert host.journal("d-AAAAAAAA1")[-1]["code"] == "UnknownError"
        assert host.journal("d-AAAAAAAA1")[-1]["message"] == "The program that ran it was ended"
        assert last is None
    assert not (host.group / "lock.json").exists()
    until(lambda: not processes_with(str(host.folder)), seen=lambda: processes_with(str(host.folder)))


def test_the_program_is_killed_at_random_moments(tmp_path: Path) -> None:
    victims, order = hosts(tmp_path)
    seed = random.randrange(2**32)
    chance = random.Random(seed)

    async def trial(host: DeployedHost) -> str:
        await host.calls.start(order)
        lines, pause = chance.randrange(2 * len(EVENTS)), chance.random() * 0.06
        while len(host.journal("d-AAAAAAAA1")) < lines:
            await asyncio.sleep(0.002)
        await asyncio.sleep(pause)
        with contextlib.suppress(ProcessLookupError):
            os.kill(host.program("d-AAAAAAAA1"), signal.SIGKILL)
        # The order is sent again, as after a connection that broke; or it is only asked for.
        if chance.random() < 0.5:
            await host.calls.start(order)
        followed = await host.calls.follow("d-AAAAAAAA1", 0, 30, lambda entry: None)
        assert not followed.running
        assert followed.outcome
        return followed.outcome

    async def all_trials() -> list[str]:
        # A few at a time: on a busy machine each would be past its moment.
        waiting, outcomes = list(victims), []
        while waiting:
            now, waiting = waiting[:4], waiting[4:]
            outcomes += await asyncio.gather(*(trial(host) for host in now))
        return outcomes

    outcomes = asyncio.run(all_trials())

    for host, outcome in zip(victims, outcomes, strict=True):
        check(host, outcome)
    assert outcomes.count("Failed") > TRIALS / 4, f"seed {seed}: {outcomes}"


def test_the_call_that_starts_is_killed_at_random_moments(tmp_path: Path) -> None:
    victims, order = hosts(tmp_path)
    chance = random.Random()
    program = program_text()
    for host in victims[:10]:
        call = {"verb": "start", "state_folder": str(host.state), "group_id": host.group.name, "order": order}
        code = "import sys;exec(compile(sys.stdin.buffer.read(int(sys.argv[1])),'codedeploy','exec'))"
        command = [os.sys.executable, "-I", "-S", "-c", code, str(len(program))]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as starting:
            assert starting.stdin is not None
            starting.stdin.write(program + json.dumps(call).encode() + b"\n")
            starting.stdin.flush()
            time.sleep(chance.random() * 0.15)
            starting.kill()

    async def start_again(host: DeployedHost) -> str | None:
        assert await host.calls.start(order) is None
        return (await host.calls.follow("d-AAAAAAAA1", 0, 30, lambda entry: None)).outcome

    async def all_again() -> list[str | None]:
        return await asyncio.gather(*(start_again(host) for host in victims[:10]))

    assert asyncio.run(all_again()) == ["Succeeded"] * 10
    for host in victims[:10]:
        check(host, "Succeeded")


def interrupted(host: DeployedHost) -> None:
    """A deployment whose program is dead, in the event BeforeInstall."""
    slow = f"#!/bin/sh\ntouch {host.folder}/began\nexec sleep {NAP}\n"
    host.run(
        host.calls.start(host.order(host.bundle({"slow": slow}), hooks(BeforeInstall="slow"), "d-AAAAAAAA1"))
    )
    until((host.folder / "began").exists)
    os.kill(host.program("d-AAAAAAAA1"), signal.SIGKILL)


def restart(host: DeployedHost) -> None:
    """As after a restart of the machine: its processes are gone, and it has another boot id."""
    for process in until(lambda: processes_with(NAP)):
        os.kill(process, signal.SIGKILL)
    for name in ("orders.jsonl", "script.json"):
        path = host.group / "d-AAAAAAAA1" / name
        path.write_text(json.dumps(json.loads(path.read_text()) | {"boot_id": "another"}) + "\n")


def test_after_a_restart_of_the_host_the_open_event_is_failed(host: DeployedHost) -> None:
    interrupted(host)
    restart(host)

    entries, followed = host.follow("d-AAAAAAAA1", offset=4)

    assert [(entry["event"], entry["state"]) for entry in entries] == [
        ("BeforeInstall", "InProgress"),
        ("BeforeInstall", "Failed"),
    ]
    assert (entries[-1]["code"], followed.outcome) == ("FAILED_AFTER_RESTART", "Failed")
    assert entries[-1]["message"] == "The host was restarted during the deployment"


def test_another_deployment_gets_a_host_whose_program_is_dead_and_its_script_is_ended(
    host: DeployedHost,
) -> None:
    interrupted(host)
    until(lambda: processes_with(NAP))

    ends = host.deploy({}, {}, "d-AAAAAAAA2")

    assert ends["ValidateService"]["state"] == "Succeeded"
    assert not processes_with(NAP)
    assert host.follow("d-AAAAAAAA1")[1].outcome == "Failed"


@pytest.mark.parametrize("left", [[], ["stop"]], ids=["removed by a script", "never noted"])
def test_another_deployment_gets_a_host_on_which_nothing_is_noted_of_the_last(
    host: DeployedHost, left: list[str]
) -> None:
    """A script removed the folder of its deployment, or a crash came between the lock and the order."""
    host.deploy({})
    shutil.rmtree(host.group / "d-AAAAAAAA1")
    for name in left:
        (host.group / "d-AAAAAAAA1").mkdir()
        (host.group / "d-AAAAAAAA1" / name).touch()
    (host.group / "lock.json").write_text('{"deployment": "d-AAAAAAAA1", "revision": "0"}')
    assert host.run(host.calls.survey("d-2", "0" * 64)).busy_with == "d-AAAAAAAA1"

    host.run(host.calls.finish("d-AAAAAAAA1", "Stopped"))

    assert host.run(host.calls.survey("d-2", "0" * 64)).busy_with is None


def test_a_process_that_has_got_the_id_of_a_dead_script_is_left_alone(host: DeployedHost) -> None:
    interrupted(host)
    (script,) = until(lambda: processes_with(NAP))
    note = host.group / "d-AAAAAAAA1/script.json"
    note.write_text(json.dumps(json.loads(note.read_text()) | {"started": "1"}))

    host.follow("d-AAAAAAAA1")

    assert processes_with(NAP) == [script]
    os.kill(script, signal.SIGKILL)


def test_what_was_not_on_the_disk_when_the_power_failed_is_not_used(host: DeployedHost) -> None:
    files = {"one": "1", "two": "22"}
    revision = host.bundle(files)
    history, tar = host.group / "history.jsonl", host.group / "revisions" / f"{revision}.tar"
    restarted = json.dumps(json.loads(history.read_text()) | {"boot_id": "another"}) + '\n{"torn'
    for lost in (False, True):
        history.write_text(restarted)
        if lost:
            os.truncate(tar, 512)
        assert host.run(host.calls.survey("d-AAAAAAAA1", revision)).has_revision is not lost

    order = host.order(revision, {}, "d-AAAAAAAA1")
    assert host.carry_out(order)["DownloadBundle"]["message"] == (
        f"The deployment failed because the revision is not on the host, or not whole: {tar}"
    )
    assert host.bundle(files) == revision
    assert host.carry_out(order | {"deployment": "d-2"})["DownloadBundle"]["state"] == "Succeeded"


def test_a_journal_whose_last_line_was_cut_off_is_continued(host: DeployedHost) -> None:
    interrupted(host)
    with (host.group / "d-AAAAAAAA1/journal.jsonl").open("a") as journal:
        journal.write('{"at": "2026-01-01T00:00:00Z", "event": "Befo')

    entries, _ = host.follow("d-AAAAAAAA1")

    assert [entry["state"] for entry in entries[-2:]] == ["InProgress", "Failed"]
    assert len(host.journal("d-AAAAAAAA1")) == 6


@pytest.mark.parametrize("line", ["{}", "\0\0\0", "[" * 5000, "[1]"], ids=["empty", "zeros", "deep", "list"])
def test_a_line_that_the_program_did_not_write_keeps_no_deployment_from_the_host(
    host: DeployedHost, line: str
) -> None:
    lines = f"cd ../..\nfor file in */*.jsonl cleanup.jsonl; do printf '{line}\\n' >> $file; done\n"
    spoil = '#!/bin/sh\ncd "$(dirname "$0")"\n' + lines.replace("\0", "\\0")

    first = host.deploy({"s": spoil, "a": "1"}, hooks(AfterInstall="s") | files(("a", "/srv")))
    second = host.deploy({"a": "2"}, files(("a", "/srv")), "d-AAAAAAAA2")

    for ends in (first, second):
        assert {event: end["state"] for event, end in ends.items()} == dict.fromkeys(EVENTS, "Succeeded")


def test_bundles_that_never_arrived_are_removed(host: DeployedHost) -> None:
    abandoned = host.group / "revisions/.incoming-999999999"
    abandoned.parent.mkdir(parents=True)
    abandoned.write_text("half")

    host.bundle({"file": "1"})

    assert not abandoned.exists()


def test_a_long_history_is_shortened(host: DeployedHost) -> None:
    order = host.order(host.bundle({}), {}, "d-AAAAAAAA1")
    host.carry_out(order)
    history = host.group / "history.jsonl"
    history.write_text(history.read_text() * 600)

    assert host.carry_out(order | {"deployment": "d-AAAAAAAA2"})["ValidateService"]["state"] == "Succeeded"

    until(lambda: 100 < len(history.read_text().splitlines()) <= 502)  # after the end of the deployment


def test_an_old_deployment_that_cannot_be_removed_keeps_no_other_from_its_end(host: DeployedHost) -> None:
    stuck = host.group / "d-OLD"
    stuck.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", stuck]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a folder that root cannot remove is a mount point: it needs root and mount")
    try:
        (stuck / "orders.jsonl").touch()
        subprocess.run(["mount", "-o", "remount,ro", stuck], check=True)
        assert host.deploy({})["ValidateService"]["state"] == "Succeeded"
        assert host.run(host.calls.survey("d-AAAAAAAA2", "0" * 64)).busy_with is None
    finally:
        subprocess.run(["umount", "-l", stuck], check=True)
