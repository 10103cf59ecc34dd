"""What the fork server prepares for its forks, and when a fork reads Prefect's settings itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# In a process of its own, as in a fork server: it replaces parts of Prefect.
PROGRAM = """
import os
from prefect.settings.context import get_current_settings
from prefect_codepipeline.deployments.worker import prefect_engine

prefect_engine.prepare_to_run_flows(os.environ)
prepared = get_current_settings()
{change}
prefect_engine.settle_in()
settings = get_current_settings()
print(settings is prepared, settings.flows.default_retries)
"""


def _settle(folder: Path, change: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(change=change)],
        cwd=folder, capture_output=True, text=True, timeout=100, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def test_a_fork_keeps_the_settings_that_were_prepared(tmp_path: Path) -> None:
    assert _settle(tmp_path, "os.environ['PREFECT__FLOW_RUN_ID'] = 'its own'") == "True 0"


@pytest.mark.long
@pytest.mark.usefixtures("no_server")
@pytest.mark.parametrize(
    "change",
    [
        "os.environ['PREFECT_FLOWS_DEFAULT_RETRIES'] = '3'",
        "open('prefect.toml', 'w').write('[flows]\\ndefault_retries = 3')",
        "os.makedirs(os.environ['PREFECT_HOME'], exist_ok=True); "
        "open(os.environ['PREFECT_HOME'] + '/profiles.toml', 'w').write("
        '\'active = "own"\\n[profiles.own]\\nPREFECT_FLOWS_DEFAULT_RETRIES = "3"\')',
    ],
    ids=["job variable", "file in the folder of the run", "profile"],
)
def test_a_fork_reads_its_settings_if_they_may_differ(tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    assert _settle(tmp_path, change) == "False 3"


def test_the_worker_s_folder_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "prefect.toml").write_text("[flows]\ndefault_retries = 3")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    assert _settle(tmp_path, f"os.chdir({str(elsewhere)!r})") == "True 0"
