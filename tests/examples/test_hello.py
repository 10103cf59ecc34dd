"""`make run APPROVE=1`: from a commit to production, by itself, and nothing is left running."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from set_up import texts_of

ROOT = Path(__file__).parent.parent.parent


# The command that approves and the process that suspends may resume the execution at once: Prefect refuses one of them.
_RESUMED_TWICE = re.compile(
    r"[^\n]*Encountered exception in request:\nTraceback(?:(?!\n\d\d:\d\d:\d\d)[\s\S])*?"
    r"uq_flow_run_input__flow_run_id_key[\s\S]*?(?=\n\d\d:\d\d:\d\d|\Z)"
)


@pytest.mark.live
def test_the_example_goes_from_a_commit_to_production(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    command = bin_folder / "codepipeline"
    command.write_text(f"#!{sys.executable}\nfrom prefect_codepipeline.cli import main\nmain()\n")
    command.chmod(0o755)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    environment |= {"APPROVE": "1", "BIN": str(bin_folder)}

    done = subprocess.run(
        [tmp_path / "examples" / "run"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    published = tmp_path / ".run" / "production" / "current"
    release = json.loads((published / "release.json").read_text())
    commit = subprocess.run(
        ["git", "-C", tmp_path / ".run" / "git" / "examples" / "hello", "rev-parse", "HEAD"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    assert release == {"version": "1.4.0", "commit": commit}
    assert "Hello, world!" in (published / "index.html").read_text()
    assert json.dumps(release) in done.stdout
    run = str(tmp_path / ".run")
    processes = map(int, filter(str.isdecimal, os.listdir("/proc")))
    assert [each for each in processes if any(run in text for text in texts_of(each))] == []
    said = done.stdout + done.stderr
    said += "".join(path.read_text() for path in (tmp_path / ".run" / "set-up" / "logs").glob("*.log*"))
    said = _RESUMED_TWICE.sub("", said)
    noise = ("warning", "traceback", "database is locked", "failed to create", "usage data", "nonetype")
    assert [each for each in noise if each in said.lower()] == []
