"""Kill the process of a deployment to ten hosts at random times; check that nothing is lost, done twice or left running."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from deployment_sites import HOOKS, Action, Site, hosts_with_homes, new_site
from ssh_hosts import running

from prefect_codepipeline.actions.deploying.records.deployments import find_deployment
from prefect_codepipeline.errors import ActionFailed
from prefect_codepipeline.model.codedeploy.group import DeploymentGroup
from prefect_codepipeline.model.codedeploy.names import deployment_id
from prefect_codepipeline.model.stored.deployment import StoredDeployment

HOSTS = 10
_DEADLINE_SECONDS = 240.0
# What the process of a deployment gets of the test's.
_WANTED = "wanted.json"
# Runs what is killed.
COMMAND = [sys.executable, __file__]


def deployment_storm(folder: Path, kills: int, seed: int) -> str:
    """Deploy to ten hosts, one of which fails, until the process was killed so often; return a summary.

    Raises:
        AssertionError: a script ran twice or not at all, the outcome is wrong, or a process is left on a host.
    """
    chance = random.Random(seed)
    ends: Counter[str] = Counter()
    left, deployments = kills, 0
    with hosts_with_homes(HOSTS) as hosts:
        while left > 0:
            deployments += 1
            site = new_site(hosts, folder / str(deployments))
            site.folder.mkdir(parents=True)
            done, status = _deploy(site, chance, left)
            left -= done
            ends[status] += 1
    return f"{kills} kills in {deployments} deployments to {HOSTS} hosts: {dict(ends)}"


def _deploy(site: Site, chance: random.Random, kills: int) -> tuple[int, str]:
    """One deployment, whose process is killed at most so often; how often it was, and how it ended."""
    at_once = chance.randrange(2, 6)
    minimum = {"type": "HOST_COUNT", "value": HOSTS - at_once}
    failing = set(chance.sample(range(HOSTS), chance.choice((0, 1, at_once))))
    for host in range(HOSTS):
        event = chance.choice(HOOKS[1:])
        site.order(host, **{event: "fail" if host in failing else f"{chance.uniform(0.1, 1.5):.1f}"})
    action = site.action("v1", deployment_config={"minimum_healthy_hosts": minimum})
    wanted = {
        "bundle": str(action.bundle), "id": action.id, "execution": action.execution, "site": site.name,
        "group": _with_secrets(action.group),
    }  # fmt: skip
    (site.folder / _WANTED).write_text(json.dumps(wanted))
    (site.folder / _WANTED).chmod(0o600)
    killed = _killed_until_it_ends(site, chance, kills)
    found = find_deployment(deployment_id(action.id))
    assert found
    _check(site, found.deployment, failing, at_once)
    return killed, found.deployment.status


def _killed_until_it_ends(site: Site, chance: random.Random, kills: int) -> int:
    killed = 0
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while True:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        process = subprocess.Popen(
            [*COMMAND, str(site.folder)], start_new_session=True, env=environment, stdout=subprocess.PIPE
        )
        assert process.stdout
        process.stdout.readline()  # it has imported all
        try:
            seconds = chance.uniform(0.1, 4.0) if killed < kills else deadline - time.monotonic()
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            killed += 1
            assert time.monotonic() < deadline, "the deployment does not end"
        else:
            assert code == 0, f"the process of the deployment exited with {code}"
            return killed


def _check(site: Site, deployment: StoredDeployment, failing: set[int], at_once: int) -> None:
    failed = [host for host in deployment.hosts if host.status == "Failed"]
    said = [(host.name, host.status, host.error) for host in deployment.hosts]
    assert {int(host.name.removeprefix("web-")) - 1 for host in failed} <= failing, said
    assert deployment.status == (
        "Failed" if len(failing) >= at_once and _too_many(deployment, at_once) else "Succeeded"
    ), said
    for number in range(HOSTS):
        host = next(each for each in deployment.hosts if each.name == site.hosts[number].name)
        begun = [line.split()[1] for line in site.trace(number) if line.endswith("begins")]
        wanted = list(HOOKS[1:]) if host.status == "Succeeded" else []
        if host.status == "Failed":
            event = next(each.event for each in host.events if each.status == "Failed")
            wanted = list(HOOKS[1 : HOOKS.index(event) + 1])
        assert begun == wanted, (host.name, host.status, site.trace(number))
    assert running(site.state) == []


def _too_many(deployment: StoredDeployment, at_once: int) -> bool:
    return sum(host.status != "Succeeded" for host in deployment.hosts) > 0 and (
        sum(host.status == "Succeeded" for host in deployment.hosts) < HOSTS - at_once
        or any(host.status == "Skipped" for host in deployment.hosts)
    )


def _with_secrets(group: DeploymentGroup) -> dict[str, object]:
    found = group.model_dump(mode="json")
    key = group.ssh.private_key
    assert key
    found["ssh"]["private_key"] = key.get_secret_value()
    return found


def _run(folder: Path) -> None:
    """Look at the deployment until it has ended: what the test kills."""
    wanted = json.loads((folder / _WANTED).read_text())
    from prefect_codepipeline.blocks.artifact_store import ArtifactStore

    site = Site(None, folder, ArtifactStore(url=str(folder / "artifacts")), wanted["site"])  # type: ignore[arg-type]
    group = DeploymentGroup.model_validate(wanted["group"])
    action = Action(site, Path(wanted["bundle"]), group, wanted["id"], execution=wanted["execution"])
    print("ready", flush=True)
    with suppress(ActionFailed):
        action.run()


if __name__ == "__main__":
    _run(Path(sys.argv[1]))
