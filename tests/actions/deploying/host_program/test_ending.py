"""Scripts that take too long, or whose deployment is stopped: TERM, ten seconds later KILL, and nothing is left."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from deployed_host import DeployedHost, hooks, nap, processes_with, script
from waiting import until

from prefect_codepipeline.actions.deploying.host_calls import HostFailed

NAPS = [nap() for _ in range(4)]
# It ignores TERM, as does its child, which has another process group.
STUBBORN = """#!/bin/bash
trap '' TERM
setsid sleep {nap} &
touch {began}
while true; do echo waiting; sleep {nap}; done
"""
OBEDIENT = "#!/bin/sh\ntrap 'echo bye; exit 0' TERM\ntouch {began}\nsleep {nap} & wait\n"


HOLDING = "#!/bin/sh\nsleep {nap} & echo started\n"
REDIRECTED = "#!/bin/sh\nsleep {nap} >/dev/null 2>&1 &\n"


class Slow:
    """A host for each script that takes its time: they pass it together."""

    def __init__(self, folder: Path) -> None:
        self.began = folder / "began"
        stubborn = STUBBORN.format(nap=NAPS[0], began=self.began)
        self.stopped = self._started(folder / "stopped", stubborn)
        stubborn = STUBBORN.format(nap=NAPS[1], began="/dev/null")
        self.timed_out = self._started(folder / "timed-out", stubborn, timeout=1)
        holding = HOLDING.format(nap=NAPS[3])
        self.holding = self._started(folder / "holding", holding)
        self.as_aws = self._started(folder / "as-aws", holding, timeout=1, outputs_left_open="fail")
        redirected = REDIRECTED.format(nap=NAPS[3])
        self.redirected = self._started(folder / "redirected", redirected, outputs_left_open="fail")

    @staticmethod
    def _started(folder: Path, text: str, timeout: int = 60, **more: str) -> DeployedHost:
        host = DeployedHost(folder)
        appspec = {"hooks": {"BeforeInstall": [script("s", timeout=timeout)]}}
        events = ["DownloadBundle", "BeforeInstall"]
        order = host.order(host.bundle({"s": text}), appspec, "d-AAAAAAAA1", events=events, **more)
        host.run(host.calls.start(order))
        return host


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slow]:
    slow = Slow(tmp_path_factory.mktemp("slow"))
    yield slow
    for host in (slow.stopped, slow.timed_out):
        host.run(host.calls.stop("d-AAAAAAAA1"))
    for process in processes_with(NAPS[3]):
        os.kill(process, signal.SIGKILL)


@pytest.mark.long
def test_a_stopped_deployment_ends_its_script_and_begins_no_event(slow: Slow) -> None:
    host = slow.stopped
    until(slow.began.exists)
    with pytest.raises(HostFailed) as refused:
        host.run(host.calls.finish("d-AAAAAAAA1", "Stopped"))
    assert refused.value.message == "Deployment d-AAAAAAAA1 still runs on the host: stop it first"
    assert refused.value.retry

    asked = time.monotonic()
    assert host.run(host.calls.stop("d-AAAAAAAA1"))
    entries, followed = host.follow("d-AAAAAAAA1", offset=2)

    assert 9 < time.monotonic() - asked < 20
    assert [(entry["event"], entry["state"]) for entry in entries] == [
        ("BeforeInstall", "InProgress"),
        ("BeforeInstall", "Stopped"),
    ]
    assert entries[-1]["message"] == "The deployment was stopped in this event"
    assert (followed.running, followed.outcome, followed.lines) == (False, "Stopped", 4)
    until(lambda: not processes_with(NAPS[0]), seen=lambda: processes_with(NAPS[0]))
    assert not host.run(host.calls.stop("d-AAAAAAAA1"))
    survey = host.run(host.calls.survey("d-AAAAAAAA1", "0" * 64))
    assert (survey.busy_with, survey.journal) == (None, 4)


@pytest.mark.long
def test_a_script_that_takes_too_long_is_ended_with_all_its_processes(slow: Slow) -> None:
    entries, followed = slow.timed_out.follow("d-AAAAAAAA1")

    end = entries[-1]
    assert (end["event"], end["code"], end["script"]) == ("BeforeInstall", "ScriptTimedOut", "s")
    assert end["message"] == "Script at specified location: s failed to complete in 1 seconds"
    assert end["log"].startswith("LifecycleEvent - BeforeInstall\nScript - s\n[stdout]waiting\n")
    assert followed.outcome == "Failed"
    until(lambda: not processes_with(NAPS[1]), seen=lambda: processes_with(NAPS[1]))


def test_a_process_that_holds_the_output_is_left_after_five_seconds_with_a_warning(slow: Slow) -> None:
    end = slow.holding.follow("d-AAAAAAAA1")[0][-1]

    assert end["state"] == "Succeeded"
    assert end["warnings"] == [
        "Script at specified location: s left a process that holds STDOUT open. Nothing reads it any more: redirect "
        "the output of processes that outlive the script, as in `server >/var/log/server.log 2>&1 &`"
    ]
    # One of each host: they are left alone.
    assert len(processes_with(NAPS[3])) == 3


def test_a_process_that_holds_the_output_fails_the_script_at_its_timeout_as_in_aws(slow: Slow) -> None:
    end = slow.as_aws.follow("d-AAAAAAAA1")[0][-1]
    assert (end["code"], end["script"]) == ("OUTPUTS_LEFT_OPEN", "s")
    assert end["message"] == "Script at specified location: s failed to close STDOUT"

    end = slow.redirected.follow("d-AAAAAAAA1")[0][-1]
    assert (end["state"], end["warnings"]) == ("Succeeded", [])


def test_a_script_that_obeys_term_can_say_its_last_words(host: DeployedHost) -> None:
    began = host.folder / "began"
    order = host.order(
        host.bundle({"s": OBEDIENT.format(began=began, nap=NAPS[2])}), hooks(BeforeInstall="s"), "d-AAAAAAAA1"
    )
    host.run(host.calls.start(order))
    until(began.exists)
    host.run(host.calls.stop("d-AAAAAAAA1"))

    entries, _ = host.follow("d-AAAAAAAA1")

    assert entries[-1]["log"].endswith("[stdout]bye\n")
    assert not processes_with(NAPS[2])
