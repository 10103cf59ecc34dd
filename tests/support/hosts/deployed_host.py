"""A host for tests: this machine below a folder, with the real program, reached by the real client."""

from __future__ import annotations

import asyncio
import getpass
import hashlib
import io
import json
import os
import random
import shutil
import sys
import tarfile
from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import Any

from waiting import until

from prefect_codepipeline.actions.deploying.connections.local import LocalConnection
from prefect_codepipeline.actions.deploying.host_calls import Entry, Followed, HostCalls
from prefect_codepipeline.actions.deploying.host_program.install import install
from prefect_codepipeline.actions.deploying.host_program.places import Place, Refused

GROUP_ID = "6f2b6a38-6d8e-5a1b-9a58-6a2f0c3b7a11"
EVENTS = [
    "ApplicationStop",
    "DownloadBundle",
    "BeforeInstall",
    "Install",
    "AfterInstall",
    "ApplicationStart",
    "ValidateService",
]
Content = str | bytes | None
TIMEOUT = 60.0


class DeployedHost:
    """One host, and what one deployment group has on it."""

    def __init__(self, folder: Path, python: str = sys.executable) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.group = self.state / GROUP_ID
        self.root = folder / "root"
        self.root.mkdir(parents=True, exist_ok=True)
        self.calls = HostCalls(LocalConnection(), str(self.state), GROUP_ID, python)
        self.bundles = folder
        self.warnings: list[str] = []
        self._bundles = 0

    def copied(self, folder: Path) -> DeployedHost:
        """Another host with what this one has."""
        shutil.copytree(self.state, folder / "state", symlinks=True)
        return DeployedHost(folder)

    def with_python(self, change: str) -> DeployedHost:
        """The same host with another Python: one that runs these lines first."""
        python = self.folder / "python"
        python.write_text(
            f"#!{os.path.realpath(sys.executable)}\nimport sys, time\n{change}\n"
            "code, sys.argv = sys.argv[-2], ['-c', sys.argv[-1]]\nexec(code)\n"
        )
        python.chmod(0o755)
        return DeployedHost(self.folder, str(python))

    def of_plain_user(self) -> DeployedHost:
        """A host below this one whose user is not root. Only root can make one."""
        self.open_to_all()
        python = self.folder / "plain-python"
        user = "--reuid 65534 --regid 65534 --clear-groups"
        python.write_text(f'#!/bin/sh\nexec setpriv {user} {sys.executable} "$@"\n')
        python.chmod(0o755)
        plain = DeployedHost(self.folder / "plain", str(python))
        plain.folder.chmod(0o777)
        plain.root.chmod(0o777)
        return plain

    def open_to_all(self) -> None:
        """Let every user enter the folder: those of pytest are private."""
        for folder in (self.folder, *self.folder.parents):
            if folder.stat().st_mode & 0o5 != 0o5 and folder.owner() == getpass.getuser():
                folder.chmod(0o755)

    def bundle(self, files: Mapping[str, Content], executable: bool = True) -> str:
        """Send a revision of these files to the host; a name that ends with / is a folder. The revision."""
        tar = self.bundles / f"bundle-{self._bundles}.tar"
        self._bundles += 1
        with tarfile.open(tar, "w") as archive:
            for name, content in files.items():
                add_to_tar(archive, name, content, executable)
        return self.send(tar)

    def send(self, tar: Path) -> str:
        revision = hashlib.sha256(tar.read_bytes()).hexdigest()
        self.run(self.calls.send(revision, tar))
        return revision

    def order(
        self, revision: str, appspec: Mapping[str, Any], deployment: str, **more: Any
    ) -> dict[str, Any]:
        return {
            "format": 1,
            "application": "shop",
            "group": "blue",
            "group_id": GROUP_ID,
            "deployment": deployment,
            "revision": revision,
            "root": str(self.root),
            "events": EVENTS,
            "last": True,
            "appspec": {"files": [], "file_exists_behavior": None, "permissions": [], "hooks": {}}
            | dict(appspec),
            "environment": {"BUNDLE_COMMIT": "0a1b2c3d"},
            "ignore_application_stop_failures": False,
            "file_exists_behavior": "DISALLOW",
            "outputs_left_open": "warn",
        } | more

    def deploy(
        self,
        files: Mapping[str, Content],
        appspec: Mapping[str, Any] | None = None,
        deployment: str = "d-AAAAAAAA1",
        **more: Any,
    ) -> dict[str, dict[str, Any]]:
        """Deploy to the end; how each event ended."""
        return self.carry_out(self.order(self.bundle(files), appspec or {}, deployment, **more))

    def carry_out(self, order: dict[str, Any]) -> dict[str, dict[str, Any]]:
        assert self.run(self.calls.start(order)) is None
        entries, followed = self.follow(order["deployment"])
        assert not followed.running
        return {entry["event"]: dict(entry) for entry in entries if entry["state"] != "InProgress"}

    def follow(
        self, deployment: str, offset: int = 0, seconds: float = TIMEOUT
    ) -> tuple[list[Entry], Followed]:
        entries: list[Entry] = []
        followed = self.run(self.calls.follow(deployment, offset, seconds, entries.append))
        return entries, followed

    def install_here(self, files: Mapping[str, Content], appspec: Mapping[str, Any], **more: Any) -> str:
        """Only Install, in this process, which takes less time; the message if it is refused."""
        place = Place(str(self.state), GROUP_ID)
        place.create()
        deployment = place.deployment("d-AAAAAAAA1")
        for name, content in files.items():
            path = Path(deployment.archive, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(str(content))
            path.chmod(0o755)
        try:
            self.warnings = install(deployment, self.order("0" * 64, appspec, deployment.name, **more))
        except Refused as refused:
            return refused.message if refused.code == "UnknownError" else refused.code
        return ""

    def run(self, call: Awaitable[Any]) -> Any:
        async def awaited() -> Any:
            return await asyncio.wait_for(call, TIMEOUT)

        return asyncio.run(awaited())

    def program(self, deployment: str) -> int:
        """The process that works for a deployment."""
        return until(lambda: self.holder(deployment))

    def holder(self, deployment: str) -> int:
        """The same, or 0 if there is none now."""
        noted = self.group / deployment / "running"
        return int(noted.read_text() or 0) if noted.exists() else 0

    def journal(self, deployment: str) -> list[dict[str, Any]]:
        path = self.group / deployment / "journal.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def script(location: str, timeout: int = 60, **more: Any) -> dict[str, Any]:
    return {"location": location, "timeout_in_seconds": timeout, "runas": None, "sudo": False} | more


def hooks(**locations: str) -> dict[str, Any]:
    """An AppSpec whose events run one script each."""
    return {"hooks": {event: [script(location)] for event, location in locations.items()}}


def files(*mappings: tuple[str, str]) -> dict[str, Any]:
    return {"files": [{"source": source, "destination": destination} for source, destination in mappings]}


def permission(object: str, **more: Any) -> dict[str, Any]:
    nothing = dict.fromkeys(("owner", "group", "mode", "context"))
    matched = {"pattern": "**", "exceptions": [], "acls": [], "types": ["file", "directory"]}
    return {"object": object, **nothing, **matched, **more}


def add_to_tar(archive: tarfile.TarFile, name: str, content: Content, executable: bool = True) -> None:
    member = tarfile.TarInfo(name.rstrip("/"))
    member.mode = 0o755 if executable else 0o644
    if content is None:
        member.type, member.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(member)
        return
    data = content.encode() if isinstance(content, str) else content
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def nap() -> str:
    """So many seconds that no other process on this machine sleeps."""
    return str(random.randrange(10**8, 10**9))


def processes_with(text: str) -> list[int]:
    """The processes on this machine whose command line has the text."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and text.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return [process for process in found if process != os.getpid()]


def stand_ins(folder: Path, codes: Mapping[str, int]) -> tuple[str, Path]:
    """A folder with programs of these names that write down how they were called and exit so; and what they write."""
    folder.mkdir()
    called = folder / "called"
    for name, code in codes.items():
        (folder / name).write_text(f'#!/bin/sh\necho {name} "$@" >>{called}\nexit {code}\n')
        (folder / name).chmod(0o755)
    return str(folder), called
