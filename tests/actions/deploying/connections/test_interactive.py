"""A shell on a host, for a script and for a person at a terminal, over SSH and on this machine."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ssh_hosts import SshHosts, ssh_hosts

PROGRAM = """
import sys
from prefect_codepipeline.actions.deploying.connections.interactive import shell_on
from prefect_codepipeline.model.codedeploy.group import DeploymentGroup
group = DeploymentGroup.model_validate_json(sys.argv[1])
host = group.hosts[0] if group.hosts else None
if host is None:
    from prefect_codepipeline.model.codedeploy.group import Host
    host = Host(name="here", address="localhost")
sys.exit(shell_on(host, group, sys.argv[2], {"DEPLOYMENT_ID": "d-1", "ODD": "$(date) ' x"}))
"""


@pytest.fixture(scope="module")
def hosts() -> Iterator[SshHosts]:
    with ssh_hosts(1) as found:
        yield found


@pytest.fixture(params=["ssh", "local"])
def group(request: pytest.FixtureRequest, hosts: SshHosts, tmp_path: Path) -> str:
    """The settings of a group, as JSON for another process."""
    if request.param == "local":
        return '{"name": "web", "where": "local"}'
    access = hosts.access()
    key = tmp_path / "key"
    if access.private_key:
        key.write_text(access.private_key.get_secret_value())
        key.chmod(0o600)
        access = access.model_copy(update={"private_key": None, "private_key_path": str(key)})
    return json.dumps(
        {
            "name": "web",
            "hosts": [hosts[0].host.model_dump(mode="json")],
            "ssh": access.model_dump(mode="json", exclude_none=True),
        }
    )


def run(group: str, folder: str, script: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, group, folder]
    environment = {**os.environ, "PLANTED": "of the worker"}
    return subprocess.run(
        command, input=script, capture_output=True, text=True, timeout=60, check=False, env=environment
    )


def test_a_script_runs_in_the_folder_with_the_variables_and_nothing_of_the_worker(
    group: str, tmp_path: Path
) -> None:
    folder = tmp_path / "a folder of ; 'odd' name"
    folder.mkdir()

    done = run(group, str(folder), 'pwd; echo "$DEPLOYMENT_ID $ODD [$PLANTED]"; echo oh >&2; exit 7')

    assert done.stdout.splitlines() == [str(folder), "d-1 $(date) ' x []"], done.stderr
    assert done.returncode == 7
    assert "oh" in done.stderr


def test_a_folder_of_the_home_is_found_and_one_that_is_gone_is_named(group: str, tmp_path: Path) -> None:
    assert run(group, "~/.", "pwd").stdout.strip().startswith("/")

    done = run(group, str(tmp_path / "gone"), "pwd")
    assert (done.returncode, done.stdout) == (1, "")
    assert str(tmp_path / "gone") in done.stderr


def test_a_person_has_a_terminal(group: str, tmp_path: Path) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", PROGRAM, group, str(tmp_path)])
    typed = read_until(terminal, b"")  # the prompt: what is typed before it is lost
    os.write(terminal, b"test -t 0 && echo $((40 + 2)) $DEPLOYMENT_ID\n")
    typed += read_until(terminal, b"42 d-1")
    os.write(terminal, b"exit 5\n")
    _, status = os.waitpid(pid, 0)

    assert b"42 d-1" in typed
    assert os.waitstatus_to_exitcode(status) == 5


def read_until(terminal: int, text: bytes) -> bytes:
    """What is printed until a text is, or anything at all."""
    found, deadline = b"", time.monotonic() + 60
    while (not found or text not in found) and time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.5)[0]:
            found += os.read(terminal, 65_536)
    return found
