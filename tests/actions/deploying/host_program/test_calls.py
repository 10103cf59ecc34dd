"""The calls to a host: how the program gets there, old and missing Pythons, bundles that are not to be trusted."""

from __future__ import annotations

import ast
import asyncio
import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from deployed_host import EVENTS, GROUP_ID, DeployedHost, add_to_tar, files, hooks, nap

from prefect_codepipeline.actions.deploying import host_program
from prefect_codepipeline.actions.deploying.connections.local import LocalConnection
from prefect_codepipeline.actions.deploying.host_calls import HostCalls, HostFailed, Survey, program_text

MODULES = sorted(Path(host_program.__file__).parent.glob("*.py"))


def failed(host: DeployedHost) -> HostFailed:
    with pytest.raises(HostFailed) as refused:
        host.run(host.calls.survey("d-1", "0" * 64))
    return refused.value


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_the_program_has_the_syntax_of_python_3_6_and_imports_only_the_standard_library(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 6))

    imported = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    imported += [name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]
    own = host_program.__name__
    assert [
        name
        for name in imported
        if name.split(".")[0] not in sys.stdlib_module_names and not name.startswith(own)
    ] == []
    assert not {"__future__", "dataclasses"} & set(imported)


def other_pythons() -> list[str]:
    """The oldest Python from 3.6 on, and the newest, of this machine."""
    found = {}
    for path in [*Path.home().glob(".pyenv/versions/3.*/bin/python3"), *Path("/usr/bin").glob("python3.*")]:
        if version := re.search(r"/(?:versions/|python)3\.(\d+)(?:\.\d+/bin/python3)?$", str(path)):
            found[int(version[1])] = str(path)
    versions = [version for version in sorted(found) if version >= 6]
    return [found[version] for version in dict.fromkeys([*versions[:1], *versions[-1:]])]


@pytest.mark.parametrize("python", other_pythons())
def test_the_program_runs_in_old_and_new_pythons(tmp_path: Path, python: str) -> None:
    host = DeployedHost(tmp_path, python)
    bundle = {
        "hook": "#!/bin/sh\necho caf\\\\351\n",
        "a/x": "1",
        b"caf\xe9".decode("utf-8", "surrogateescape"): "2",
    }

    ends = host.deploy(bundle, hooks(BeforeInstall="hook") | files(("a", "/app")))
    again = host.deploy(bundle, hooks(ApplicationStart="missing"), "d-2")

    assert {event: end["state"] for event, end in ends.items()} == dict.fromkeys(EVENTS, "Succeeded")
    assert again["ApplicationStart"]["code"] == "ScriptMissing"
    version = host.run(host.calls.survey("d-1", "0" * 64)).python
    assert (
        subprocess.run([python, "--version"], capture_output=True, text=True).stdout == f"Python {version}\n"
    )


def test_a_host_without_python_or_with_an_older_one_is_refused(host: DeployedHost) -> None:
    advice = "Install Python 3.6 or newer on the host, or set `python` of the deployment group"
    missing = failed(DeployedHost(host.folder, "/no/python"))
    assert missing.message == f"`/no/python` cannot be run: /no/python: No such file or directory. {advice}"
    assert (missing.code, missing.retry) == ("NoPython", False)

    old = failed(host.with_python("sys.version_info = (3, 5, 2)"))
    assert old.message == f"`{host.folder}/python` is too old: it is version 3.5. {advice}"
    assert old.code == "NoPython"


def test_lines_that_a_login_prints_are_no_answers(host: DeployedHost) -> None:
    noisy = host.with_python('print("Welcome!"); print(1); print("[]"); print("{}", flush=True)')

    survey = noisy.run(noisy.calls.survey("d-1", "0" * 64))

    version = "{}.{}.{}".format(*sys.version_info)
    user = subprocess.run(["id", "-un"], capture_output=True, text=True).stdout.strip()
    assert survey == Survey(version, user, os.geteuid(), False, None, None, None)


def test_a_program_that_ends_without_an_answer(host: DeployedHost) -> None:
    killed = failed(host.with_python("import os; os.kill(os.getpid(), 9)"))
    assert killed.message == "the program on the host was ended by signal KILL during the call `survey`"
    assert killed.retry

    wrong = failed(host.with_python("sys.exit('out of luck')"))
    assert wrong.message == "the program on the host ended with exit code 1 in the call `survey`: out of luck"
    assert (wrong.code, wrong.retry) == ("HostProgram", False)


SURVEY = {
    "python": "3.11.2", "user": "web", "uid": 1000, "has_revision": False, "busy_with": None, "last_successful": None,
    "journal": None, "end": True,
}  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "place"),
    [
        ({"end": True}, "python, user, uid, has_revision, busy_with, last_successful, journal"),
        (SURVEY | {"busy_with": "../../flow_runs"}, "busy_with"),
        (SURVEY | {"busy_with": ["d-1"]}, "busy_with"),
        (SURVEY | {"last_successful": {"deployment": "d-1"}}, "last_successful.revision"),
    ],
)
def test_an_answer_that_the_program_does_not_give_fails_the_host(
    host: DeployedHost, answer: dict[str, object], place: str
) -> None:
    hostile = failed(host.with_python(f"print({json.dumps(answer)!r}); sys.exit()"))

    assert hostile.message == (
        f"the host gave an answer to the call `survey` that the program there does not give: {place}"
    )
    assert (hostile.code, hostile.retry) == ("HostProgram", False)


def test_an_error_that_the_program_does_not_give_fails_the_host(host: DeployedHost) -> None:
    deep, error = "[" * 100_000, json.dumps({"error": ["x" * 900_000], "end": True})

    hostile = failed(host.with_python(f"print({deep!r}); print({error!r}); sys.exit()"))

    assert hostile.message == "['" + "x" * 1998


def test_a_state_folder_that_cannot_be_used(host: DeployedHost) -> None:
    (host.folder / "state").write_text("a file")

    with pytest.raises(HostFailed) as refused:
        host.bundle({})

    assert refused.value.code == "StateFolder"
    assert refused.value.message == f"The state folder {host.group} cannot be used: Not a directory"


def test_the_state_folder_may_be_in_the_home_of_the_user(
    host: DeployedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(host.folder))
    calls = HostCalls(LocalConnection(), "~/.codedeploy", GROUP_ID, sys.executable)

    host.run(calls.start(host.order("0" * 64, {}, "d-1")))
    host.run(calls.follow("d-1", 0, 30, lambda entry: None))

    assert (host.folder / ".codedeploy" / GROUP_ID / "d-1/journal.jsonl").exists()


@pytest.mark.parametrize("name", ["../other", "", "a/b", ".hidden", "a b"])
def test_names_that_lead_elsewhere_are_refused(host: DeployedHost, name: str) -> None:
    with pytest.raises(HostFailed) as refused:
        host.run(host.calls.follow(name, 0, 0, lambda entry: None))
    assert refused.value.message == f"{name!r} cannot be the name of a group, a deployment or a revision"


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([special("../evil", tarfile.DIRTYPE)], "an entry outside of its folder: ../evil"),
        ([special("/evil", tarfile.DIRTYPE)], "an entry outside of its folder: /evil"),
        ([special("a", tarfile.SYMTYPE, "../x")], "a link that leads out of it: a"),
        ([special("a", tarfile.SYMTYPE, "/etc")], "a link that leads out of it: a"),
        (
            [special("b", tarfile.DIRTYPE), special("a", tarfile.SYMTYPE, "b"), special("a/c", tarfile.DIRTYPE)],
            "an entry below a link: a/c",
        ),
        ([special("a", tarfile.FIFOTYPE)], "an entry that is no file, folder or link: a"),
        ([special("a", tarfile.LNKTYPE, "b")], "an entry that is no file, folder or link: a"),
    ],
)  # fmt: skip
def test_a_bundle_that_would_write_elsewhere_is_refused(
    host: DeployedHost, members: list[tarfile.TarInfo], message: str
) -> None:
    tar = host.folder / "bad.tar"
    with tarfile.open(tar, "w") as archive:
        for member in members:
            archive.addfile(member)

    end = host.carry_out(host.order(host.send(tar), {}, "d-1"))["DownloadBundle"]

    assert (end["code"], end["message"]) == (
        "UnknownError",
        f"The deployment failed because the bundle has {message}",
    )
    assert [path.name for path in (host.group / "d-1").iterdir() if path.is_dir()] == []
    assert not (host.group / "d-1/evil").exists()


def test_a_bundle_that_arrives_otherwise_is_refused(host: DeployedHost) -> None:
    tar = host.folder / "one.tar"
    with tarfile.open(tar, "w") as archive:
        add_to_tar(archive, "file", "x" * 100_000)
    digest = hashlib.sha256(tar.read_bytes()).hexdigest()
    os.truncate(tar, 50_000)
    cut = hashlib.sha256(tar.read_bytes()).hexdigest()

    with pytest.raises(HostFailed) as refused:
        host.run(host.calls.send(digest, tar))
    assert refused.value.message == f"The bundle arrived as {cut}, and is not the revision {digest}"
    assert refused.value.code == "WrongRevision"
    assert list((host.group / "revisions").iterdir()) == []
    end = host.carry_out(host.order(host.send(tar), {}, "d-1"))["DownloadBundle"]
    assert end["message"] == (
        f"The deployment failed because the revision cannot be unpacked to {host.group}/d-1/deployment-archive: "
        "unexpected end of data"
    )


def test_modes_and_links_of_a_bundle_stay(host: DeployedHost) -> None:
    tar = host.folder / "one.tar"
    with tarfile.open(tar, "w") as archive:
        add_to_tar(archive, "folder/file", "1", executable=False)
        archive.addfile(special("folder/link", tarfile.SYMTYPE, "../folder/file"))
        closed = special("closed", tarfile.DIRTYPE)
        closed.mode = 0o550
        archive.addfile(closed)
        add_to_tar(archive, "closed/run", "#!/bin/sh\n")

    revision = host.send(tar)
    assert host.send(tar) == revision  # again: it is there
    host.carry_out(host.order(revision, files(("folder", "/app"), ("closed", "/closed")), "d-1"))

    assert os.readlink(host.root / "app/link") == "../folder/file"
    assert [(host.root / name).stat().st_mode & 0o777 for name in ("app/file", "closed/run")] == [
        0o644,
        0o755,
    ]


def test_a_deployment_needs_no_connection_once_it_is_started(host: DeployedHost) -> None:
    slow = host.bundle({"slow": f"#!/bin/sh\nwhile [ ! -e {host.folder}/go ]; do sleep 0.02; done\n"})

    async def broken() -> None:
        await host.calls.start(host.order(slow, hooks(BeforeInstall="slow"), "d-1"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(host.calls.follow("d-1", 0, 60, lambda entry: None), 0.5)

    asyncio.run(broken())
    (host.folder / "go").touch()
    entries, followed = host.follow("d-1", offset=5)

    assert [entry["state"] for entry in entries][:1] == ["Succeeded"]
    assert (followed.outcome, followed.lines) == ("Succeeded", 2 * len(EVENTS))


def test_following_ends_after_its_time_with_the_lines_so_far(host: DeployedHost) -> None:
    slow = host.bundle({"slow": f"#!/bin/sh\nexec sleep {nap()}\n"})
    host.run(host.calls.start(host.order(slow, hooks(BeforeInstall="slow"), "d-1")))

    first, followed = host.follow("d-1", seconds=0.5)
    assert (followed.running, followed.outcome) == (True, None)
    more, followed = host.follow("d-1", offset=followed.lines, seconds=0)
    host.run(host.calls.stop("d-1"))
    last, followed = host.follow("d-1", offset=followed.lines)

    assert [entry["state"] for entry in [*first, *more, *last]][-1] == "Stopped"
    assert followed.lines == len([*first, *more, *last])
    unknown = host.follow("d-2")[1]
    assert (unknown.running, unknown.outcome, unknown.lines) == (False, None, 0)


def test_the_program_is_one_file() -> None:
    assert b"prefect_codepipeline" not in program_text()
    assert len(program_text()) < 120_000
