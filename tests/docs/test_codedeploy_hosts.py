"""The newcomer's way in docs/codedeploy.md, from an AppSpec to three hosts, is typed as it stands there: onto real hosts."""

from __future__ import annotations

import json
import pwd
import re
from collections.abc import Callable, Iterator
from os import getuid
from pathlib import Path

import pytest
from deployment_sites import hosts_with_homes
from pages import ROOT
from ssh_hosts import SshHosts

Shell = Callable[[str], str]
PAGE = (ROOT / "docs" / "codedeploy.md").read_text(encoding="utf-8")
WAY = PAGE[PAGE.index("## From an AppSpec to three hosts") : PAGE.index("## The AppSpec file")]
# A block of commands, or of a file: its path is the last text in backticks before it that ends as a file does.
BLOCKS = re.compile(r"(?P<before>(?:(?!```).)*)```(?P<language>\w+)\n(?P<text>.*?)```", re.DOTALL)
PATHS = re.compile(r"`([~\w/.-]+\.(?:yml|yaml|json|sh))`")
COMMANDS = re.compile(r"^\$ ((?:.*\\\n)*.*)", re.MULTILINE)


@pytest.fixture
def hosts() -> Iterator[SshHosts]:
    with hosts_with_homes(3) as found:
        yield found


class Newcomer:
    """Types the page, with the hosts of the test in place of those of the page."""

    def __init__(self, shell: Shell, hosts: SshHosts, home: Path) -> None:
        self.shell, self.hosts, self.home = shell, hosts, home
        self.folder = "~"
        self.typed: list[tuple[str, str]] = []
        self.is_broken = False

    def follow(self, text: str) -> None:
        for block in BLOCKS.finditer(text):
            if block["language"] == "console":
                for command in COMMANDS.findall(block["text"]):
                    self.typed.append((command, self.type(command)))
            else:
                self.save(PATHS.findall(block["before"])[-1], self.here(block["text"]))

    def save(self, path: str, text: str) -> None:
        folder = self.folder.replace("~", str(self.home))
        (Path(folder) / path.replace("~", str(self.home))).write_text(text)

    def type(self, command: str) -> str:
        """What it prints. A broken release fails, everything else works."""
        if name := re.fullmatch(r"ssh-copy-id -i (\S+) deploy@10\.0\.0\.1(\d)", command):
            host = self.hosts[int(name[2]) - 1]
            keys = host.folder / "authorized_keys"
            return self.shell(f"cd {self.folder} && cat {name[1]} >> {keys}")
        if name := re.search(r"hosts trust web-(\d)", command):
            command += f" --yes {self.hosts[int(name[1]) - 1].fingerprint}"
        if "commit" in command:
            self.is_broken = "A mistake" in command
        if self.is_broken and " start " in command:
            command = f"! {command}"
        found = self.shell(f"cd {self.folder} && {self.here(command)}" if self.folder != "~" else command)
        for folder in re.findall(r"(?:^|&& )cd (\S+)", command):
            self.folder = folder
        return found

    def here(self, text: str) -> str:
        """The text with the folder, the user, the addresses and the id of this machine."""
        for number, host in enumerate(self.hosts, 1):
            text = text.replace(f"10.0.0.1{number}", f"{host.address}, port: {host.port}")
        if "d-4XK2P9QLM" in text:
            text = text.replace("d-4XK2P9QLM", self.deployments()[0]["deploymentId"])
        user = pwd.getpwuid(getuid()).pw_name
        text = text.replace("/home/deploy/shop", str(self.home / "deployed"))
        # The hosts of the test have one file system: each finds the files of the one before.
        return text.replace(
            "ssh: {user: deploy", f"file_exists_behavior: OVERWRITE\n      ssh: {{user: {user}"
        )

    def deployments(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = json.loads(self.shell("codepipeline deployment list --json"))
        return found

    def printed(self, command: str) -> list[str]:
        return [text for typed, text in self.typed if command in typed]


@pytest.mark.live
@pytest.mark.long
def test_the_way_from_an_appspec_to_three_hosts(shell: Shell, hosts: SshHosts, tmp_path: Path) -> None:
    newcomer = Newcomer(shell, hosts, tmp_path)

    newcomer.follow(WAY)

    listed, [shown] = newcomer.printed("deployment list"), newcomer.printed("deployment show")
    assert [line.split() for line in shown.splitlines() if "web-" in line] == [
        [host.name, f"({host.address})", "Succeeded"] for host in hosts
    ]
    assert statuses(listed[-1]) == [
        ("Succeeded", "3 of 3", "a person"),
        ("Succeeded", "3 of 3", "pipeline shop"),
        ("Succeeded", "1 of 1", "rollback of " + deployment(listed[-1], 3)),
        ("Failed", "0 of 3", "pipeline shop"),
        ("Succeeded", "3 of 3", "pipeline shop"),
    ]
    _, broken, _ = newcomer.printed(" start shop")
    assert (
        "ValidateService of host 'web-1' failed: ScriptFailed: Script at specified location: scripts/check.sh"
        in broken
    )
    assert (
        f"deployment {deployment(listed[-1], 2)!r} to deployment group 'web' succeeded on 1 of 1 host"
        in broken
    )
    assert "[stderr]the page has no heading; rolled back to revision" in broken
    assert (tmp_path / "deployed" / "index.html").read_text() == "<h1>Shop</h1>\n"
    # The first release, the sale, and back; in between the broken one and the rollback of the first host.
    releases = [len((host.folder / "releases.log").read_text().splitlines()) for host in hosts]
    assert releases == [5, 3, 3]


def rows(table: str) -> list[list[str]]:
    """The cells of the deployments that `deployment list` prints, the newest first."""
    return [re.split(r"\s{2,}", line.strip()) for line in table.splitlines()[1:]]


def statuses(table: str) -> list[tuple[str, str, str]]:
    return [(row[2], row[3], row[-1]) for row in rows(table)]


def deployment(table: str, number: int) -> str:
    return rows(table)[number][0]
