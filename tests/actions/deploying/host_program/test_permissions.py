"""Permissions of the AppSpec: which files and folders get them, and owner, mode, ACLs and SELinux context."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Any

import pytest
from deployed_host import DeployedHost, files, permission, stand_ins

FAILED = "The deployment failed because "
BUNDLE = {"a/one.sh": "1", "a/two.txt": "2", "a/sub/three.sh": "3", "b/file": "4"}
PLACES = [("a", "/app"), ("b", "/other")]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change owners")


def install(host: DeployedHost, *permissions: dict[str, Any], deployment: str = "d-1") -> dict[str, Any]:
    appspec = files(*PLACES) | {"permissions": list(permissions)}
    return host.deploy(BUNDLE, appspec, deployment)["Install"]


def install_here(host: DeployedHost, *permissions: dict[str, Any]) -> str:
    return host.install_here(BUNDLE, files(*PLACES) | {"permissions": list(permissions)})


def with_mode(host: DeployedHost, mode: int) -> set[str]:
    return {
        str(path.relative_to(host.root))
        for path in host.root.rglob("*")
        if path.stat().st_mode & 0o7777 == mode
    }


@pytest.mark.parametrize(
    ("object", "more", "matched"),
    [
        ("/app", {}, {"app/one.sh", "app/two.txt", "app/sub", "app/sub/three.sh"}),
        ("/app/", {"types": ["file"]}, {"app/one.sh", "app/two.txt", "app/sub/three.sh"}),
        ("/app", {"types": ["directory"]}, {"app/sub"}),
        ("/app", {"pattern": "*.sh"}, {"app/one.sh"}),
        ("/app", {"pattern": "*"}, {"app/one.sh", "app/two.txt", "app/sub"}),
        ("/app", {"pattern": "t*o.*"}, {"app/two.txt"}),
        ("/app", {"pattern": "[a-z]*"}, set()),
        ("/app", {"exceptions": ["*.sh", "sub"]}, {"app/two.txt", "app/sub/three.sh"}),
        ("/app/sub/three.sh", {}, {"app/sub/three.sh"}),
        ("/app/sub/three.sh", {"types": ["directory"]}, set()),
        ("/", {"types": ["directory"]}, {"app", "app/sub", "other"}),
        ("/nowhere", {}, set()),
    ],
)
def test_what_a_permission_is_for(
    host: DeployedHost, object: str, more: dict[str, Any], matched: set[str]
) -> None:
    assert install_here(host, permission(object, mode="711", **more)) == ""

    assert with_mode(host, 0o711) == matched
    assert host.warnings == (
        []
        if matched
        else [
            f"The permissions for {object} change nothing: this deployment installs nothing there that they match"
        ]
    )


@pytest.mark.parametrize(
    ("permissions", "message"),
    [
        (
            [permission("/app", mode="711"), permission("/app/one.sh", mode="755")],
            "the permissions setting for ({root}/app/one.sh) is specified more than once in the application specification "
            "file. Update the files section of the AppSpec file, and then try again.",
        ),
        (
            [permission("/app/one.sh", pattern="*.sh", mode="755")],
            "the application specification file includes an object (/app/one.sh) with an invalid pattern (*.sh), such as "
            "a pattern for a file applied to a directory. Correct the permissions section of the AppSpec file, and then "
            "try again.",
        ),
        (
            [permission("/app/one.sh", exceptions=["a"], mode="755")],
            "the except parameter for a pattern in the permissions section (a) for the object named /app/one.sh contains "
            "an invalid format. Update the AppSpec file, and then try again.",
        ),
        (
            [permission("/app", acls=["d:u:daemon:rw"])],
            "the -d parameter has been specified to apply an acl setting to a file. This parameter is supported for "
            "directories only. Update the AppSpec file, and then try again.",
        ),
    ],
)  # fmt: skip
def test_permissions_that_are_refused_before_anything_is_copied(
    host: DeployedHost, permissions: list[dict[str, Any]], message: str
) -> None:
    assert install_here(host, *permissions) == FAILED + message.format(root=host.root)
    assert list(host.root.iterdir()) == []


@needs_root
def test_owner_group_and_a_mode_with_setuid(host: DeployedHost) -> None:
    asked = permission("/app", owner="daemon", group="mail", mode="4755", types=["file"])
    assert install(host, asked)["state"] == "Succeeded"

    found = (host.root / "app/one.sh").stat()
    assert (host.root / "app/one.sh").owner() == "daemon"
    assert ((host.root / "app/one.sh").group(), found.st_mode & 0o7777) == ("mail", 0o4755)
    assert (host.root / "app/sub").owner() == "root"

    refused = install_here(host, permission("/app", owner="no-such-user"))
    assert refused == f"{FAILED}the host has no user no-such-user"
    refused = install_here(host, permission("/app", group="no-such-group"))
    assert refused == f"{FAILED}the host has no group no-such-group"


@needs_root
def test_a_user_who_is_not_root_cannot_change_owners(host: DeployedHost) -> None:
    plain = host.of_plain_user()

    end = install(plain, permission("/app/one.sh", owner="root"))

    assert end["message"] == (
        f"{FAILED}the permissions of {plain.root}/app/one.sh cannot be set: Operation not permitted"
    )


@pytest.mark.parametrize(
    ("object", "acls", "entries"),
    [
        ("/app/one.sh", ["m::rx"], "mask::r-x,user::rwx,group::r-x,other::r-x"),
        ("/app/one.sh", ["daemon:6"], "user:daemon:rw-,user::rwx,group::r-x,other::r-x,mask::r-x"),
        (
            "/app/one.sh",
            ["u:daemon:rw", "g:mail:r--", "m::rwx"],
            "user:daemon:rw-,group:mail:r--,mask::rwx,user::rwx,group::r-x,other::r-x",
        ),
        (
            "/app",
            ["d:u:daemon:rwx"],
            "user::rwx,group::r-x,other::r-x,default:user:daemon:rwx,default:user::rwx,default:group::r-x,"
            "default:other::r-x,default:mask::r-x",
        ),
        (
            "/app",
            ["default:group::7", "d:o::-", "d:g:mail:r"],
            "user::rwx,group::r-x,other::r-x,default:group::rwx,default:other::---,default:group:mail:r--,"
            "default:user::rwx,default:mask::rwx",
        ),
    ],
)
def test_acls_are_completed(
    host: DeployedHost, monkeypatch: pytest.MonkeyPatch, object: str, acls: list[str], entries: str
) -> None:
    programs, called = stand_ins(host.folder / "bin", {"setfacl": 0})
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    types = ["directory"] if object == "/app" else ["file"]

    assert install_here(host, permission(object, acls=acls, types=types)) == ""

    matched = "app/sub" if object == "/app" else "app/one.sh"
    assert called.read_text() == f"setfacl --set {entries} {host.root}/{matched}\n"


def test_setfacl_that_fails_or_is_missing(host: DeployedHost, monkeypatch: pytest.MonkeyPatch) -> None:
    programs, _ = stand_ins(host.folder / "bin", {"setfacl": 3, "chmod": 0})
    path = f"{host.root}/app/one.sh"
    asked = permission("/app/one.sh", acls=["u:daemon:r"])

    monkeypatch.setenv("PATH", programs)
    assert install_here(host, asked) == (
        f"{FAILED}of a problem with the acls permission settings in the application specification file for this object: "
        f"{path}. Failed command: setfacl --set user:daemon:r--,user::rwx,group::r-x,other::r-x,mask::r-x {path}. Exit "
        "code: 3"
    )
    (host.folder / "bin/setfacl").unlink()
    refused = install_here(host, asked)
    assert (
        refused
        == f"{FAILED}the acls of {path} cannot be set: the host has no setfacl. Install the package acl"
    )


@pytest.mark.skipif(not shutil.which("setfacl"), reason="the package acl is not installed")
@needs_root
def test_real_acls(host: DeployedHost) -> None:
    acls = permission("/app", acls=["u:daemon:rwx", "d:u:daemon:rw", "m::rx"], types=["directory"])

    assert install(host, acls)["state"] == "Succeeded"
    shown = subprocess.run(["getfacl", "-pc", host.root / "app/sub"], capture_output=True, text=True).stdout
    lines = {" ".join(line.split()) for line in shown.splitlines()}
    assert lines >= {
        "user:daemon:rwx #effective:r-x",
        "mask::r-x",
        "default:user:daemon:rw- #effective:r--",
        "default:mask::r-x",
    }


def test_contexts_are_stored_and_forgotten_by_the_next_install(
    host: DeployedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs, called = stand_ins(host.folder / "bin", {"semanage": 0, "restorecon": 0})
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    context = {"user": "system_u", "type": "httpd_t", "range": "s0"}

    install_here(host, permission("/app/one.sh", context=context))
    install(
        host,
        permission("/app/one.sh", context={"user": None, "type": "x_t", "range": None}),
        deployment="d-2",
    )

    path = f"{host.root}/app/one.sh"
    assert called.read_text().splitlines() == [
        f"semanage fcontext -a -s system_u -t httpd_t -r s0 {path}",
        f"restorecon -v {path}",
        f"semanage fcontext -d {path}",
        f"semanage fcontext -a -t x_t {path}",
        f"restorecon -v {path}",
    ]


def test_contexts_without_semanage(host: DeployedHost, monkeypatch: pytest.MonkeyPatch) -> None:
    programs, called = stand_ins(host.folder / "bin", {"chcon": 1})
    monkeypatch.setenv("PATH", programs)
    asked = permission("/app/one.sh", context={"user": "system_u", "type": "httpd_t", "range": "s0:c1"})
    path = f"{host.root}/app/one.sh"

    refused = install_here(host, asked)
    command = f"chcon -u system_u -t httpd_t -l s0:c1 {path}"
    assert called.read_text() == f"{command}\n"
    assert refused == (
        f"{FAILED}the application specification file contains an error in the settings for the context parameter. Update "
        f"the permissions section of the AppSpec file, and then try again. Failed command: {command}. Exit code: 1"
    )
    os.unlink(f"{programs}/chcon")
    assert install_here(host, asked) == (
        f"{FAILED}the SELinux context of {path} cannot be set: the host has neither semanage nor chcon"
    )


def test_a_link_gets_no_mode_its_target_is_another_file(host: DeployedHost) -> None:
    precious = host.root / "precious"
    precious.write_text("x")
    precious.chmod(0o600)
    link = "#!/bin/sh\nln -s ../../precious $(dirname $0)/a/link\n"
    appspec: dict[str, Any] = files(("a", "/app/a")) | {"permissions": [permission("/app", mode="777")]}
    appspec["hooks"] = {"BeforeInstall": [{"location": "link", "timeout_in_seconds": 9}]}

    assert host.deploy({"a/x": "", "link": link}, appspec)["Install"]["state"] == "Succeeded"
    assert (host.root / "app/a/link").is_symlink()
    assert precious.stat().st_mode & 0o777 == 0o600
