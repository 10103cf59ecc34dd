"""A host with files and users of its own: an sshd that sees this machine's files, but writes over a copy of them.

What is deployed there is at its real, absolute path, and nothing of it stays on this machine.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from deployed_host import EVENTS
from ssh_hosts import SshHosts, ssh_hosts

from prefect_codepipeline.actions.deploying.bundle import Bundle
from prefect_codepipeline.actions.deploying.connections.opening import connected
from prefect_codepipeline.actions.deploying.host_calls import Entry, HostCalls
from prefect_codepipeline.model.codedeploy.names import group_id

APPLICATION, COMMIT = "shop", "0a1b2c3d"
# The users of the host besides root, and their numbers.
USERS = {"ec2-user": 45001, "django": 45002, "spring": 45003, "www-data": 45004}
TOOLS = ("apt-get", "aws", "chkconfig", "curl", "docker", "docker-compose", "gunicorn", "java", "nginx", "npm",
         "pip", "pm2", "service", "systemctl", "xsltproc", "yum")  # fmt: skip
_CALLS = "/var/log/calls"
_RECORD = f"""#!/bin/sh
echo "$DEPLOYMENT_ID|$LIFECYCLE_EVENT $(id -un) ${{0##*/}} $*|\
$APPLICATION_NAME $DEPLOYMENT_GROUP_NAME $DEPLOYMENT_GROUP_ID $BUNDLE_COMMIT $PREFECT_HOME" >>{_CALLS}
"""
# `sudo` does not make root of anyone: that it was called is what can be seen.
_SUDO = _RECORD.replace("$*", "${1##*/}") + 'exec "$@"\n'
_SET_UP = """
set -e
mount -t tmpfs -o mode=755 none /mnt
for each in etc home opt srv usr/local var; do
    mkdir -p "/mnt/new/$each" "/mnt/scratch/$each"
    mount -t overlay none -o "lowerdir=/$each,upperdir=/mnt/new/$each,workdir=/mnt/scratch/$each" "/$each"
done
cp -a --remove-destination "$TOOLBOX"/. /usr/local/bin
for last; do :; done
own=$(dirname "$last")
mkdir -m 1777 /mnt/tmp
mkdir -p "/mnt$own" && mount --rbind "$own" "/mnt$own"
mount --rbind /mnt/tmp /tmp
mkdir -m 700 /mnt/root && mount --bind /mnt/root /root
for each in $USERS; do
    name=${each%:*} number=${each#*:}
    sed -i "/^$name:/d" /etc/passwd /etc/group /etc/shadow
    echo "$name:*:$number:$number::/home/$name:/bin/bash" >>/etc/passwd
    echo "$name:x:$number:" >>/etc/group
    mkdir -p "/home/$name" && chown "$number:$number" "/home/$name"
done
mkdir -p /var/www
touch /var/log/calls && chmod 666 /var/log/calls
exec "$@"
"""


@dataclass
class OwnMachine:
    """The host; `python` and the tools of `TOOLS` are on its PATH."""

    hosts: SshHosts
    folder: Path

    def at(self, path: str) -> Path:
        """A file of the host, as this process sees it."""
        return Path(f"/proc/{self.hosts[0].process.pid}/root{path}")

    @property
    def user(self) -> str:
        """Who logs in."""
        return self.hosts[0].user

    def put(self, path: str, text: str) -> None:
        """Write a file of ec2-user, in a folder of that user."""
        file = self.at(path)
        if not file.parent.exists():
            file.parent.mkdir()
            os.chown(file.parent, USERS["ec2-user"], USERS["ec2-user"])
        file.write_text(text)
        os.chown(file, USERS["ec2-user"], USERS["ec2-user"])

    async def deploy(self, bundle: Bundle, group: str, deployment: str) -> list[Entry]:
        """Deploy to the end; how each event ended."""
        tar = self.folder / f"{deployment}.tar"
        with tar.open("wb") as file:
            bundle.write_tar(file)
        entries: list[Entry] = []
        async with connected(self.hosts[0].host, self.hosts.access(), "hosts") as connection:
            group_folder = group_id(APPLICATION, group)
            calls = HostCalls(connection, self.state_folder, group_folder, "/usr/bin/python3")
            await calls.send(bundle.revision, tar)
            assert await calls.start(_order(bundle, group, deployment)) is None
            followed = await calls.follow(deployment, 0, 120, entries.append)
        assert not followed.running
        return [entry for entry in entries if entry["state"] != "InProgress"]

    @property
    def state_folder(self) -> str:
        """One that other users can enter, as `runas` needs."""
        return "/var/lib/codedeploy" if self.user == "root" else ".codedeploy"

    def calls(self, deployment: str) -> tuple[list[str], set[str]]:
        """`EVENT USER PROGRAM ARGUMENTS` of each call of a tool, and the rest of the environment that they saw."""
        lines = [line.split("|") for line in self.at(_CALLS).read_text().splitlines()]
        own = [line for line in lines if line[0] == deployment]
        return [call for _, call, _ in own], {environment for *_, environment in own}

    def installed(self, places: Sequence[str]) -> list[str]:
        """`MODE OWNER:GROUP PATH` of all that is at these places, which are globs."""
        root = self.at("/")
        found = [path for place in places if place for path in root.glob(place.lstrip("/"))]
        found += [below for path in found if path.is_dir() for below in path.rglob("*")]
        return sorted((self._shown(path) for path in found), key=lambda line: line.split(" ", 2)[2])

    def _shown(self, path: Path) -> str:
        status = path.lstat()
        owner = f"{_user(status.st_uid)}:{_group(status.st_gid)}"
        return f"{stat.S_IMODE(status.st_mode):04o} {owner} /{path.relative_to(self.at('/'))}"

    def acl(self, path: str) -> str:
        """The ACL of a file: its entries but those of the mode, sorted, with the names of the host's users."""
        shown = subprocess.run(
            ["getfacl", "--omit-header", "--no-effective", "--numeric", "--absolute-names", self.at(path)],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        for name, number in USERS.items():
            shown = shown.replace(str(number), name)
        return " ".join(sorted(line for line in shown.split() if "::" not in line))


def _user(number: int) -> str:
    own = {uid: name for name, uid in USERS.items()}
    return own.get(number) or pwd.getpwuid(number).pw_name


def _group(number: int) -> str:
    own = {gid: name for name, gid in USERS.items()}
    return own.get(number) or grp.getgrgid(number).gr_name


def _order(bundle: Bundle, group: str, deployment: str) -> dict[str, Any]:
    return {
        "format": 1,
        "application": APPLICATION,
        "group": group,
        "group_id": group_id(APPLICATION, group),
        "deployment": deployment,
        "revision": bundle.revision,
        "root": "",
        "events": EVENTS,
        "last": True,
        "appspec": bundle.appspec.as_order(),
        "environment": {"BUNDLE_COMMIT": COMMIT},
        "ignore_application_stop_failures": False,
        "file_exists_behavior": "DISALLOW",
        "outputs_left_open": "warn",
    }


@contextmanager
def own_machine(user: str, folder: Path) -> Iterator[OwnMachine]:
    """Start one, to which `user` logs in: root or one of `USERS`."""
    if os.getuid() != 0 or not shutil.which("unshare"):
        pytest.skip("only root can start a host with files of its own, by unshare")
    toolbox = folder / "tools"
    toolbox.mkdir(parents=True)
    for name in TOOLS:
        (toolbox / name).write_text(_RECORD)
    (toolbox / "sudo").write_text(_SUDO)
    for tool in toolbox.iterdir():
        tool.chmod(0o755)
    users = " ".join(f"{name}:{number}" for name, number in USERS.items())
    inside = ["env", f"USERS={users}", f"TOOLBOX={toolbox}", "unshare", "--mount", "sh", "-c", _SET_UP, "sh"]
    with ssh_hosts(1, user, inside) as hosts:
        yield OwnMachine(hosts, folder)
