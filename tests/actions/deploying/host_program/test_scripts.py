"""Scripts as the agent of AWS runs them, and its messages, in full."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from typing import Any

import pytest
from deployed_host import EVENTS, DeployedHost, hooks, nap, processes_with, script, stand_ins
from waiting import until

HOOK = "BeforeInstall"
NAP = nap()
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def run(
    host: DeployedHost, text: str | bytes | None, deployment: str = "d-AAAAAAAA1", **more: Any
) -> dict[str, Any]:
    """How the event of a script ends."""
    options = {key: more.pop(key) for key in ("timeout", "runas", "sudo") if key in more}
    appspec = {"hooks": {HOOK: [script("scripts/s.sh", **options)]}}
    return host.deploy({} if text is None else {"scripts/s.sh": text}, appspec, deployment, **more)[HOOK]


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("#!/bin/sh\nexit 7\n", "ScriptFailed", "Script at specified location: scripts/s.sh failed with exit code 7"),
        (
            "#!/bin/sh\nkill -9 $$\n",
            "ScriptFailed",
            "Script at specified location: scripts/s.sh failed with exit code 137 (ended by signal 9)",
        ),
        (
            "#!/no/such/shell\n",
            "ScriptFailed",
            "Script at specified location: scripts/s.sh failed with error Errno::ENOENT with message No such file or "
            "directory - {path}. Its first line names /no/such/shell, which is not on the host",
        ),
        (
            "#!/bin/sh\r\necho hello\r\n",
            "ScriptFailed",
            "Script at specified location: scripts/s.sh failed with error Errno::ENOENT with message No such file or "
            "directory - {path}. Its lines end as in Windows; store the script with the line ends of Unix",
        ),
        (None, "ScriptMissing", "Script does not exist at specified location: {path}"),
        ("#!/bin/sh\n(sleep 0.1; kill -9 $$) & sleep 2\n", "ScriptFailed",
         "Script at specified location: scripts/s.sh failed with exit code 137 (ended by signal 9)"),
    ],
)  # fmt: skip
def test_how_a_script_fails(host: DeployedHost, text: str | None, code: str, message: str) -> None:
    end = run(host, text)

    path = host.group / "d-AAAAAAAA1/deployment-archive/scripts/s.sh"
    assert (end["state"], end["code"], end["script"]) == ("Failed", code, "scripts/s.sh")
    assert end["message"] == message.format(path=path)


def test_scripts_of_an_event_run_in_their_order_until_one_fails(host: DeployedHost) -> None:
    bundle = {
        name: f"#!/bin/sh\necho {name}; echo oh >&2; exit {code}\n"
        for name, code in [("a", 0), ("b", 2), ("c", 0)]
    }
    appspec = {"hooks": {HOOK: [script(name) for name in ("a", "b", "c")]}}

    end = host.deploy(bundle, appspec)[HOOK]

    assert end["script"] == "b"
    lines = end["log"].splitlines()
    assert lines[0] == "LifecycleEvent - BeforeInstall"
    assert [line for line in lines[1:] if line != "[stderr]oh"] == [
        "Script - a",
        "[stdout]a",
        "Script - b",
        "[stdout]b",
    ]
    assert lines.count("[stderr]oh") == 2
    assert (host.group / "d-AAAAAAAA1/scripts.log").read_text() == end["log"]


def test_a_script_that_is_not_executable_or_has_no_first_line_runs(host: DeployedHost) -> None:
    revision = host.bundle({"s": "echo no shell named\n"}, executable=False)

    end = host.carry_out(host.order(revision, hooks(BeforeInstall="s"), "d-AAAAAAAA1"))[HOOK]

    assert end["log"].endswith("[stdout]no shell named\n")


@needs_root
@pytest.mark.skipif(not shutil.which("chattr"), reason="there is no chattr")
def test_a_script_that_cannot_be_made_executable(host: DeployedHost) -> None:
    locked = host.group / "d-AAAAAAAA1/deployment-archive/s"
    revision = host.bundle(
        {"lock": f"#!/bin/sh\nchmod 644 {locked} && chattr +i {locked}\n", "s": "exit 0\n"}
    )
    appspec = {"hooks": {HOOK: [script("lock"), script("s")]}}
    try:
        end = host.carry_out(host.order(revision, appspec, "d-AAAAAAAA1"))[HOOK]
        if end["script"] == "lock":
            pytest.skip("the file system has no immutable files")
        assert (end["code"], end["script"]) == ("ScriptNotExecutable", "s")
        assert end["message"] == "Unable to set script at specified location: s as executable"
    finally:
        subprocess.run(["chattr", "-i", locked], check=False)


@needs_root
def test_runas_is_su_with_the_environment(host: DeployedHost) -> None:
    host.open_to_all()
    shells = [user.pw_name for user in pwd.getpwall() if user.pw_uid and user.pw_shell.endswith("sh")]
    if not shells:
        pytest.skip("no user but root has a shell")
    user = shells[-1]

    end = run(host, "#!/bin/sh\nid -un; echo $DEPLOYMENT_ID; exit 5\n", runas=user)

    assert end["log"].endswith(f"[stdout]{user}\n[stdout]d-AAAAAAAA1\n")
    assert end["message"] == (
        f"Script at specified location: scripts/s.sh run as user {user} failed with exit code 5"
    )
    end = run(host, "#!/bin/sh\n", "d-AAAAAAAA2", runas="nobody-here")
    assert end["message"] == (
        "Script at specified location: scripts/s.sh run as user nobody-here failed with exit code 1"
    )
    assert "nobody-here" in end["log"].splitlines()[-1]


@needs_root
def test_runas_needs_a_state_folder_that_the_user_can_enter(host: DeployedHost) -> None:
    host.folder.chmod(0o700)

    end = run(host, "#!/bin/sh\n", runas="daemon")

    assert (end["code"], end["message"]) == (
        "ScriptFailed",
        "Script at specified location: scripts/s.sh run as user daemon failed: the user cannot enter the folder "
        f"{host.folder}. Set state_folder of the deployment group, or of the DeployHosts block of an EC2 "
        "action, to one that all users can enter, such as "
        "/var/lib/codedeploy",
    )


def test_sudo_runs_the_script_or_su(host: DeployedHost, monkeypatch: pytest.MonkeyPatch) -> None:
    programs, called = stand_ins(host.folder / "bin", {"sudo": 0})
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")

    run(host, "#!/bin/sh\n", sudo=True)
    run(host, "#!/bin/sh\n", "d-AAAAAAAA2", sudo=True, runas="deployer")

    archive = "{}/{}/deployment-archive/scripts/s.sh"
    assert called.read_text().splitlines() == [
        f"sudo {archive.format(host.group, 'd-AAAAAAAA1')}",
        f"sudo su deployer -c {archive.format(host.group, 'd-AAAAAAAA2')}",
    ]


@needs_root
def test_runas_without_root_is_the_same_user_or_refused(host: DeployedHost) -> None:
    plain = host.of_plain_user()
    own = subprocess.run(["id", "-un", "65534"], capture_output=True, text=True).stdout.strip()

    end = run(plain, "#!/bin/sh\n", runas="root")
    assert (end["code"], end["message"]) == (
        "ScriptFailed",
        f"Script at specified location: scripts/s.sh run as user root failed: the deployment runs as user {own}, and "
        "only root can become another user. Deploy as root, or set `sudo: true` beside `runas` in the AppSpec",
    )
    end = run(plain, "#!/bin/sh\nid -u\n", "d-AAAAAAAA2", runas=own)
    assert end["log"].endswith("[stdout]65534\n")


def test_output_of_any_size_takes_no_memory_and_its_end_is_kept(host: DeployedHost) -> None:
    megabytes = 200
    text = (
        "#!/bin/sh\nhead -c 50000000 /dev/zero | tr '\\0' x\necho\n"
        f"yes 'a line of the output of a script that prints too much' | head -c {megabytes - 50}000000\n"
        "printf '\\033[31mred\\007 \\342\\200\\256evil \\377\\n' >&2; echo end\n"
    )
    peak = host.folder / "peak"
    # The peak of the memory of the program on the host, which is the script's parent.
    text += f"grep VmHWM /proc/$PPID/status >{peak}\n"

    end = run(host, text)

    assert end["state"] == "Succeeded"
    assert len(end["log"]) <= 2048
    assert end["log"].count("\n[stdout]a line of the output of a script that prints too much") > 20
    assert "[stderr]\\x1b[31mred\\x07 \\u202eevil \N{REPLACEMENT CHARACTER}\n" in end["log"]
    assert sum(path.stat().st_size for path in host.group.glob("d-AAAAAAAA1/scripts.log*")) < 11_000_000
    assert int(peak.read_text().split()[1]) < 40_000  # kB


def test_a_script_that_kills_the_program_fails_and_is_ended(host: DeployedHost) -> None:
    text = f"#!/bin/sh\necho before\nsleep 0.3\nkill -9 $PPID\nsleep {NAP}\n"

    end = run(host, text)

    assert (end["state"], end["code"], end["message"]) == (
        "Failed",
        "UnknownError",
        "The program that ran it was ended",
    )
    assert end["log"] == "LifecycleEvent - BeforeInstall\nScript - scripts/s.sh\n[stdout]before\n"
    until(lambda: not processes_with(NAP))
    assert [entry["event"] for entry in host.journal("d-AAAAAAAA1")][-1] == HOOK
    assert list(host.deploy({}, {}, "d-AAAAAAAA2")) == EVENTS
