"""The Install event: what is removed, refused, copied, and what is left when it fails half way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from deployed_host import DeployedHost, files, script
from waiting import until

from prefect_codepipeline.actions.deploying.host_calls import HostFailed

FAILED = "The deployment failed because "


def install(
    host: DeployedHost,
    bundle: dict[str, Any],
    *mappings: tuple[str, str],
    deployment: str = "d-1",
    **more: Any,
) -> dict[str, Any]:
    """How Install ends."""
    return host.deploy(bundle, files(*mappings), deployment, **more)["Install"]


def listed(host: DeployedHost) -> list[str]:
    """The clean-up list, below the root."""
    lines = (host.group / "cleanup.jsonl").read_text().splitlines()
    return [os.path.relpath(json.loads(line)["path"], host.root) for line in lines]


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_a_file_goes_into_the_folder_and_the_content_of_a_folder_too(host: DeployedHost) -> None:
    bundle = {"conf/app.ini": "a", "www/": None, "www/css/main.css": "b", "www/empty/": None}

    assert install(host, bundle, ("conf/app.ini", "/etc/app"), ("www", "/var/www/"))["state"] == "Succeeded"

    assert tree(host.root) == {
        "etc", "etc/app", "etc/app/app.ini",
        "var", "var/www", "var/www/css", "var/www/css/main.css", "var/www/empty",
    }  # fmt: skip
    assert (host.root / "etc/app/app.ini").stat().st_mode & 0o777 == 0o755
    assert listed(host) == ["etc", "etc/app", "etc/app/app.ini", "var", "var/www", "var/www/css", "var/www/css/main.css", "var/www/empty"]  # fmt: skip


def test_files_of_the_last_install_leave_first_and_folders_only_when_they_are_empty(
    host: DeployedHost,
) -> None:
    install(host, {"a/one": "1", "a/sub/two": "2", "a/more/three": "3"}, ("a", "/app"))
    (host.root / "app/sub/log").write_text("written by the application")
    (host.root / "app/one").unlink()

    # `more/three` is there again: the last install brought it, so DISALLOW does not refuse it.
    end = install(host, {"a/more/three": "3", "a/four": "4"}, ("a", "/app"), deployment="d-2")

    assert end["state"] == "Succeeded"
    assert tree(host.root) == {"app", "app/sub", "app/sub/log", "app/more", "app/more/three", "app/four"}
    # The folders that stayed belong to no deployment any more.
    assert listed(host) == ["app/four", "app/more", "app/more/three"]


@pytest.mark.parametrize(
    ("behavior", "content"), [("DISALLOW", "old"), ("OVERWRITE", "new"), ("RETAIN", "old")]
)
def test_a_file_that_is_there(host: DeployedHost, behavior: str, content: str) -> None:
    place = host.root / "app/file"
    place.parent.mkdir()
    place.write_text("old")

    refused = host.install_here({"file": "new"}, files(("file", "/app")), file_exists_behavior=behavior)

    assert place.read_text() == content
    there = f"{FAILED}a specified file already exists at this location: {place}"
    assert refused == (there if behavior == "DISALLOW" else "")
    assert (listed(host) if (host.group / "cleanup.jsonl").exists() else []) == (
        ["app/file"] if content == "new" else []
    )


def test_the_appspec_s_file_exists_behavior_is_stronger(host: DeployedHost) -> None:
    (host.root / "file").write_text("old")
    appspec = files(("file", "/")) | {"file_exists_behavior": "OVERWRITE"}

    assert host.install_here({"file": "new"}, appspec) == ""
    assert (host.root / "file").read_text() == "new"


@pytest.mark.parametrize(
    ("bundle", "mappings", "message"),
    [
        (
            {"a/x": "", "b/x": ""},
            [("a", "/app"), ("b", "/app")],
            "the application specification file specifies two source files named {archive}/b/x and {archive}/a/x for the "
            "same destination ({root}/app/x). Remove one of the source file paths from the AppSpec file, and then try "
            "again.",
        ),
        (
            {"a/x/y": "", "b/x": ""},
            [("a", "/app"), ("b", "/app")],
            "the application specification file calls for installing the file {archive}/b/x, but a file with that name "
            "already exists at the location ({root}/app/x). Update your AppSpec file or directory structure, and then "
            "try again.",
        ),
        (
            {"a/x": "", "b/x/y": ""},
            [("a", "/app"), ("b", "/app")],
            "the application specification file includes an mkdir command more than once for the same destination path "
            "({root}/app/x) from ({archive}/a/x). Update the files section of the AppSpec file, and then try again.",
        ),
        ({"a": ""}, [("a", "/there/file")], "a specified file already exists at this location: {root}/there/file"),
        ({"a": ""}, [("a", "/there/file/b")], "a specified file already exists at this location: {root}/there/file"),
        ({"a/b": ""}, [("a", "/there/lost")], "a specified file already exists at this location: {root}/there/lost"),
        (
            {"a": ""},
            [("b", "/app")],
            "the revision has no file or folder b, which the files section names.",
        ),
        ({"a": ""}, [("../a", "/app")], "the source ../a of the files section is outside of the revision."),
        (
            {"a/folder": ""},
            [("a", "/there")],
            "the application specification file calls for installing the file {archive}/a/folder, but a file with that "
            "name already exists at the location ({root}/there/folder). Update your AppSpec file or directory "
            "structure, and then try again.",
        ),
    ],
)  # fmt: skip
def test_what_is_refused_before_anything_is_copied(
    host: DeployedHost, bundle: dict[str, str], mappings: list[tuple[str, str]], message: str
) -> None:
    (host.root / "there/folder").mkdir(parents=True)
    (host.root / "there/file").write_text("old")
    (host.root / "there/lost").symlink_to("nowhere")
    before = tree(host.root)

    refused = host.install_here(bundle, files(*mappings), file_exists_behavior="OVERWRITE")

    archive = host.group / "d-AAAAAAAA1/deployment-archive"
    assert refused == FAILED + message.format(archive=archive, root=host.root)
    assert tree(host.root) == before


def test_no_link_is_written_through_but_a_folder_may_be_one(host: DeployedHost) -> None:
    outside = host.folder / "outside"
    outside.mkdir()
    (outside / "file").write_text("precious")
    (host.root / "file").symlink_to(outside / "file")
    (host.root / "lost").symlink_to(outside / "new")
    (host.root / "www").symlink_to(outside, target_is_directory=True)

    assert install(host, {"lost": "1"}, ("lost", "/"))["state"] == "Failed"
    bundle = {"lost": "1", "file": "2", "page": "3"}
    mappings = [("lost", "/"), ("file", "/"), ("page", "/www")]
    end = install(host, bundle, *mappings, deployment="d-2", file_exists_behavior="OVERWRITE")

    assert end["state"] == "Succeeded"
    assert [(host.root / name).read_text() for name in ("lost", "file")] == ["1", "2"]
    assert not (host.root / "file").is_symlink()
    assert {path.name: path.read_text() for path in outside.iterdir()} == {"file": "precious", "page": "3"}


def test_a_running_program_is_replaced(host: DeployedHost) -> None:
    program = Path(shutil.which("sleep") or "").read_bytes()
    install(host, {"server": program}, ("server", "/bin"))
    with subprocess.Popen([host.root / "bin/server", "600"]) as running:
        try:
            (host.group / "cleanup.jsonl").unlink()
            end = install(
                host,
                {"server": "new"},
                ("server", "/bin"),
                deployment="d-2",
                file_exists_behavior="OVERWRITE",
            )
            assert end["state"] == "Succeeded"
            assert (host.root / "bin/server").read_text() == "new"
            assert running.poll() is None
        finally:
            running.kill()


def test_names_with_newlines_quotes_and_bytes_that_are_not_utf_8(host: DeployedHost) -> None:
    names = ["new\nline", "quo'te\"", b"caf\xe9".decode("utf-8", "surrogateescape"), "-rf", " "]
    bundle: dict[str, Any] = {f"a/{name}": name.encode("utf-8", "surrogateescape") for name in names}

    assert install(host, bundle, ("a", "/app"))["state"] == "Succeeded"
    assert {os.fsencode(path.name): path.read_bytes() for path in (host.root / "app").iterdir()} == {
        os.fsencode(name): os.fsencode(name) for name in names
    }
    end = install(host, bundle, ("a", "/app"), ("a", "/app"), deployment="d-2")
    assert "\n" not in end["message"].replace("new\nline", "")
    end["message"].encode()
    install(host, {}, deployment="d-3")
    assert tree(host.root) == set()


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "none", place]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk needs root and mount")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_disk_that_is_full_in_mid_copy_leaves_a_right_list_and_the_next_deployment_works(
    host: DeployedHost, small_disk: Path
) -> None:
    host.root = small_disk / "root"
    host.root.mkdir()
    megabyte = b"x" * 1_000_000

    end = install(host, {f"a/{number}": megabyte for number in range(5)}, ("a", "/app"))

    full = len(list(host.root.glob("app/*")))
    copy = f"{host.group}/d-1/deployment-archive/a/{full} cannot be copied to {host.root}/app/{full}"
    assert end["message"] == f"{FAILED}{copy}: No space left on device"
    assert listed(host) == ["app", *(f"app/{number}" for number in range(full))]
    assert tree(host.root) == set(listed(host))

    end = install(host, {f"a/{number}": megabyte for number in (7, 8)}, ("a", "/app"), deployment="d-2")
    assert end["state"] == "Succeeded"
    assert tree(host.root) == {"app", "app/7", "app/8"}


def test_a_full_disk_of_the_state_folder_fails_the_call_or_the_event_and_leaves_nothing(
    host: DeployedHost, small_disk: Path
) -> None:
    small = DeployedHost(small_disk / "host")
    small.bundles = host.folder
    with pytest.raises(HostFailed) as refused:
        small.bundle({"large": b"x" * 5_000_000})
    assert refused.value.message == (
        f"The bundle cannot be stored in {small.group}/revisions: No space left on device"
    )
    assert refused.value.code == "NotReceived"
    assert list((small.group / "revisions").iterdir()) == []

    # What it prints has no room in the journal but for what is kept free.
    fill = f"#!/bin/sh\nhead -c 9000000 /dev/zero >{small.folder}/fill\nprintf '\303\251%.0s' $(seq 3000)\n"
    bundle = {"fill": fill, "a/x": b"x" * 200_000}
    appspec = files(("a", "/app")) | {"hooks": {"BeforeInstall": [script("fill")]}}
    ends = small.deploy(bundle, appspec)
    assert (ends["BeforeInstall"]["state"], ends["Install"]["state"]) == ("Succeeded", "Failed")
    assert "No space left on device" in ends["Install"]["message"]
    (small.folder / "fill").unlink()
    assert install(small, {"b": "1"}, ("b", "/app"), deployment="d-2")["state"] == "Succeeded"
    assert tree(small.root) == {"app", "app/b"}


def test_an_install_that_is_killed_half_way_is_cleaned_by_the_next(host: DeployedHost) -> None:
    grow = "#!/bin/sh\ntruncate -s 2G $(dirname $0)/a/150\n"
    bundle = {f"a/{number:03}": f"{number}" for number in range(200)} | {"grow": grow}
    appspec = files(("a", "/app")) | {"hooks": {"BeforeInstall": [script("grow")]}}
    order = host.order(host.bundle(bundle), appspec, "d-1")
    host.run(host.calls.start(order))
    until(lambda: (host.root / "app/149").exists())
    os.kill(host.program("d-1"), signal.SIGKILL)

    entries, _ = host.follow("d-1")

    assert (entries[-1]["event"], entries[-1]["state"]) == ("Install", "Failed")
    (half_written,) = {name for name in tree(host.root) if ".codedeploy-" in name}
    assert set(listed(host)) >= tree(host.root) - {half_written}
    assert len(tree(host.root)) == 152
    end = install(host, {"b": "1"}, ("b", "/app"), deployment="d-2")
    assert end["state"] == "Succeeded"
    assert tree(host.root) == {"app", "app/b"}
