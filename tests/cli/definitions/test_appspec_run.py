"""`codepipeline appspec run` deploys a bundle on this machine with real processes, and no server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from waiting import until

from prefect_codepipeline.actions.deploying.rehearsal import REHEARSED, events_in_order
from prefect_codepipeline.cli import app
from prefect_codepipeline.errors import ActionFailed, CodePipelineError

SCRIPTED = tuple(event for event in REHEARSED if event not in ("DownloadBundle", "Install"))
NAMES = (
    "APPLICATION_NAME",
    "DEPLOYMENT_ID",
    "DEPLOYMENT_GROUP_NAME",
    "DEPLOYMENT_GROUP_ID",
    "LIFECYCLE_EVENT",
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


class Shop:
    """A bundle in a folder, whose scripts note that they ran."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "shop"
        self.root = folder / "root"
        self.told = folder / "told"
        (self.folder / "scripts").mkdir(parents=True)
        self.put("page.html", "one")
        self.write_appspec()

    def put(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def script(self, event: str, text: str) -> None:
        self.put(f"scripts/{event}.sh", f"#!/bin/sh\n{text}\n")
        self.write_appspec()

    def write_appspec(self) -> None:
        scripts = sorted(path.stem for path in (self.folder / "scripts").iterdir())
        hooks = "".join(f"  {event}:\n    - location: scripts/{event}.sh\n" for event in scripts)
        self.put(
            "appspec.yml",
            f"version: 0.0\nos: linux\nfiles:\n  - source: page.html\n    destination: /srv/www\nhooks:\n{hooks}",
        )

    def arguments(self, *more: str) -> list[str]:
        return ["appspec", "run", "--dir", str(self.folder), "--root", str(self.root), *more]

    def rehearse(self, *more: str) -> Any:
        return app(self.arguments(*more), result_action="return_value")

    def in_own_process(self) -> subprocess.Popen[str]:
        command = [Path(sys.executable).with_name("codepipeline"), *self.arguments()]
        # What starts the tests in the background may ignore Ctrl-C, and processes inherit that.
        return subprocess.Popen(
            command,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_two_revisions_go_through_the_whole_lifecycle(
    shop: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_SHELL", "swordfish")
    for event in SCRIPTED:
        shop.script(event, f'echo "1 {event}" >>{shop.told}; env >{shop.told}.env')

    assert shop.rehearse() == 0
    out = capsys.readouterr().out
    assert shop.told.read_text().split() == [
        word for event in SCRIPTED[3:] for word in ("1", event)
    ]  # the first three run the scripts of the revision before, and there is none
    assert (shop.root / "srv/www/page.html").read_text() == "one"
    lines = out.splitlines()
    assert lines[0] == f"Rehearsing shop below {shop.root}"
    assert [line.split() for line in lines if line.split()[0] in REHEARSED] == [
        [event, "Succeeded"] for event in REHEARSED
    ]
    environment = dict(line.split("=", 1) for line in Path(f"{shop.told}.env").read_text().splitlines())
    deployment = lines[-2].split(":")[0]
    assert [environment[name] for name in NAMES] == [
        "shop",
        deployment,
        "LocalFleet",
        "local",
        "AfterAllowTraffic",
    ]
    assert "SECRET_OF_THE_SHELL" not in environment
    assert lines[-1] == f"All output of the scripts: {shop.root}/.codedeploy/local/{deployment}/scripts.log"

    shop.told.unlink()
    (shop.folder / "page.html").rename(shop.folder / "new.html")
    for event in SCRIPTED:
        shop.script(event, f'echo "2 {event}" >>{shop.told}')
    shop.put("appspec.yml", (shop.folder / "appspec.yml").read_text().replace("page.html", "new.html"))
    assert shop.rehearse() == 0
    assert shop.told.read_text().splitlines() == [
        f"{1 if event in SCRIPTED[:3] else 2} {event}" for event in SCRIPTED
    ]
    assert [path.name for path in (shop.root / "srv/www").iterdir()] == ["new.html"]


def test_a_script_that_fails_ends_it_and_is_shown(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.script("AfterInstall", "echo some words; exit 3")
    shop.script("ValidateService", f"touch {shop.told}")

    assert shop.rehearse() == 1
    out = capsys.readouterr().out
    assert (
        "    [stdout]some words\n"
        "AfterInstall        Failed\n"
        "ScriptFailed: Script at specified location: scripts/AfterInstall.sh failed with exit code 3\n"
    ) in out
    assert not shop.told.exists()

    assert shop.rehearse("--json") == 1
    answer = json.loads(capsys.readouterr().out)
    assert (answer["status"], answer["root"]) == ("Failed", str(shop.root))
    last = answer["lifecycleEvents"][-1]
    assert (last["lifecycleEventName"], last["status"]) == ("AfterInstall", "Failed")
    assert last["diagnostics"]["errorCode"] == "ScriptFailed"
    assert "some words" in last["diagnostics"]["logTail"]


def test_only_some_events_run(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    for event in ("BeforeInstall", "AfterInstall", "ValidateService"):
        shop.script(event, f"echo {event} >>{shop.told}")

    assert shop.rehearse("--events", "ValidateService, AfterInstall", "--json") == 0
    events = json.loads(capsys.readouterr().out)["lifecycleEvents"]
    assert [event["lifecycleEventName"] for event in events] == [
        "DownloadBundle", "Install", "ValidateService", "AfterInstall",
    ]  # fmt: skip
    assert shop.told.read_text().split() == ["ValidateService", "AfterInstall"]


@pytest.mark.parametrize(
    ("wanted", "run"),
    [
        ("BeforeInstall,Install", "DownloadBundle BeforeInstall Install"),
        (
            "ApplicationStop,DownloadBundle,AfterInstall",
            "ApplicationStop DownloadBundle Install AfterInstall",
        ),
        ("ApplicationStop", "DownloadBundle Install ApplicationStop"),
    ],
)
def test_the_bundle_and_its_files_come_first_if_they_are_not_named(wanted: str, run: str) -> None:
    assert events_in_order(wanted.split(",")) == tuple(run.split())


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("AfterInstall,Install", "AfterInstall cannot run before Install, which brings its scripts; only BeforeBlockTraffic, "
                                 "AfterBlockTraffic, ApplicationStop, DownloadBundle, BeforeInstall can"),
        ("BeforeInstall,DownloadBundle", "BeforeInstall cannot run before DownloadBundle, which brings its scripts; only "
                                         "BeforeBlockTraffic, AfterBlockTraffic, ApplicationStop can"),
        ("afterInstall", "'afterInstall' is not a lifecycle event of hosts; did you mean 'AfterInstall'?"),
        ("Nothing", "'Nothing' is not a lifecycle event of hosts"),
        ("AllowTraffic", "AllowTraffic cannot be rehearsed: it is done by the traffic settings of a group"),
        ("AfterInstall,AfterInstall", "AfterInstall is named twice"),
    ],
)  # fmt: skip
def test_events_that_cannot_run_are_refused(wanted: str, message: str) -> None:
    with pytest.raises(ActionFailed) as caught:
        events_in_order(wanted.split(","))
    assert str(caught.value) == message


def test_a_file_that_is_there_already_is_kept_from_harm(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    page = shop.root / "srv/www/page.html"
    page.parent.mkdir(parents=True)
    page.write_text("mine")

    assert shop.rehearse() == 1
    assert f"a specified file already exists at this location: {page}" in capsys.readouterr().out
    assert shop.rehearse("--file-exists-behavior", "RETAIN") == 0
    assert page.read_text() == "mine"
    assert shop.rehearse("--file-exists-behavior", "OVERWRITE") == 0
    assert page.read_text() == "one"


def test_with_the_root_of_the_machine_files_go_where_the_appspec_says(
    shop: Shop, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real = shop.told.parent / "real"
    shop.put("appspec.yml", (shop.folder / "appspec.yml").read_text().replace("/srv/www", str(real)))
    shop.root = Path("/")

    assert shop.rehearse() == 0
    assert capsys.readouterr().out.startswith("Rehearsing shop on this machine itself\n")
    assert (real / "page.html").read_text() == "one"
    assert (home / ".codedeploy/local/last-successful.json").exists()


def test_by_default_each_bundle_has_a_folder_of_its_own(shop: Shop, home: Path) -> None:
    assert app(["appspec", "run", "--dir", str(shop.folder)], result_action="return_value") == 0

    [root] = (home / ".codedeploy/rehearsals").iterdir()
    assert root.name.startswith("shop-")
    assert (root / "srv/www/page.html").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda shop: setattr(shop, "root", shop.folder / "out"),
         "--root {folder}/out is in the folder of the bundle, and would be installed with the next rehearsal; name a folder "
         "elsewhere"),
        (lambda shop: setattr(shop, "folder", shop.folder / "none"), "--dir {folder} is not a folder"),
        (lambda shop: (shop.folder / "page.html").unlink(),
         "appspec.yml of the folder {folder} cannot be deployed, 1 problem: line 4, column 5: files[0].source: the bundle has no "
         "'page.html': CodeDeploy would fail Install"),
    ],
)  # fmt: skip
def test_what_cannot_be_rehearsed_is_refused(change: Any, message: str, shop: Shop) -> None:
    change(shop)
    with pytest.raises(CodePipelineError) as caught:
        shop.rehearse()
    assert str(caught.value) == message.format(folder=shop.folder)
    assert not shop.root.exists()


def test_no_event_is_named(shop: Shop) -> None:
    with pytest.raises(CodePipelineError, match=r"^--events names no event; example: --events BeforeInstall"):
        shop.rehearse("--events", ",")


def test_ctrl_c_ends_the_script_and_the_next_rehearsal_works(shop: Shop) -> None:
    shop.script("AfterInstall", f"echo $$ >{shop.told}.new; mv {shop.told}.new {shop.told}; sleep 60")
    shop.script("ApplicationStart", f"touch {shop.root}/started")
    with shop.in_own_process() as rehearsal:
        until(shop.told.exists)
        script = int(shop.told.read_text())
        rehearsal.send_signal(signal.SIGINT)
        out, _ = rehearsal.communicate(timeout=30)

    assert rehearsal.returncode == 130
    assert "AfterInstall        Stopped" in out
    assert not (shop.root / "started").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(script, 0)
    shop.script("AfterInstall", "true")
    assert shop.rehearse() == 0


def test_one_that_was_killed_goes_on_and_is_not_overtaken(shop: Shop) -> None:
    go = shop.told.parent / "go"
    shop.script("AfterInstall", f"touch {shop.told}; while ! test -e {go}; do sleep 0.05; done")
    with shop.in_own_process() as rehearsal:
        until(shop.told.exists)
        rehearsal.kill()

    with pytest.raises(
        CodePipelineError, match=rf"^rehearsal d-\w+-local below {shop.root} still runs; wait for it"
    ):
        shop.rehearse()
    go.touch()
    [journal] = shop.root.glob(".codedeploy/local/d-*/journal.jsonl")
    until(lambda: (journal.parent / "ended.json").exists())
    assert "AfterAllowTraffic" in journal.read_text()
    assert shop.rehearse() == 0
