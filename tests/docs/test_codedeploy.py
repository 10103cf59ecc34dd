"""The rehearsal in docs/codedeploy.md prints what the page says."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import yaml
from pages import ROOT, blocks_of

from prefect_codepipeline.cli.definitions.appspec import run

PAGE = (ROOT / "docs" / "codedeploy.md").read_text(encoding="utf-8")
# The scripts of the page's bundle: what they print is in the page.
SCRIPTS = {
    "migrate.sh": 'echo "migrated by $LIFECYCLE_EVENT"',
    "check.sh": "echo no answer from port 8080 >&2; exit 1",
    "stop.sh": "true",
}


def write_bundle(folder: Path) -> None:
    """The bundle of the page, without the users that a machine of tests does not have."""
    [appspec] = [
        yaml.safe_load(text)
        for language, text in blocks_of(ROOT / "docs" / "codedeploy.md")
        if language == "yaml" and "ApplicationStop" in text
    ]
    for permission in appspec["permissions"]:
        del permission["owner"]
    for script in (script for scripts in appspec["hooks"].values() for script in scripts):
        script.pop("runas", None)
    files = {
        "appspec.yml": yaml.safe_dump(appspec),
        "html/index.html": "hello",
        "conf/shop.conf": "",
        **{f"scripts/{name}": f"#!/bin/sh\n{text}\n" for name, text in SCRIPTS.items()},
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_the_rehearsal_prints_what_the_page_says(tmp_path: Path) -> None:
    write_bundle(tmp_path / "shop")
    rehearsal = PAGE[PAGE.index("## Rehearsal") :]
    [block] = re.findall(r"```console\n(.*?)```", rehearsal, re.DOTALL)
    steps = [step.splitlines() for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    root = str(tmp_path / "rehearsal")
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
    }

    assert len(steps) == 3
    for command, *lines in steps:
        done = subprocess.run(
            command.replace("/tmp/rehearsal", root),
            shell=True,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        expected = [line.replace("/tmp/rehearsal", root) for line in lines if line != "..."]
        assert done.stdout.splitlines()[: len(expected)] == expected
        assert (done.returncode, done.stderr) == (1 if any("Failed" in line for line in lines) else 0, "")


def test_every_option_of_the_rehearsal_is_documented() -> None:
    options = {f"--{name.replace('_', '-')}" for name in inspect.signature(run).parameters}
    assert {option for option in options if option not in PAGE} == set()
