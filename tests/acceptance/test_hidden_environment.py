"""What a build on the host finds of the worker and of the server in `/proc`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from world import PLANTED

from prefect_codepipeline.blocks.pipeline_settings import PipelineSettings
from prefect_codepipeline.deployments.files.settings import save_settings
from prefect_codepipeline.deployments.local import embedded
from prefect_codepipeline.deployments.local.access import auth_string
from prefect_codepipeline.model.definition.action_settings import ActionSettings

# The two halves are put together here, so that the search does not find itself.
_SEARCH = """
printf '%s\\n' "$SERVER_1$SERVER_2" "$WORKER_1$WORKER_2" >patterns
for each in /proc/[0-9]*; do
  for name in environ cmdline; do
    if grep -qaFf patterns "$each/$name" 2>/dev/null; then echo "$each/$name $(tr '\\0' ' ' <"$each/cmdline")"; fi
  done
done >"$RESULT"
ls /proc/self/fd >"$RESULT.descriptors"
"""


@pytest.mark.live
def test_a_build_on_the_host_finds_no_variable_of_the_worker_and_no_secret_of_the_server(
    world: Any, tmp_path: Path
) -> None:
    running = embedded.find()
    secret = running and auth_string(running.home)
    assert secret
    save_settings(world.name, PipelineSettings(defaults=ActionSettings(run_on="host")))
    result, script = tmp_path / "result", tmp_path / "search.sh"
    script.write_text(_SEARCH)
    halves = {
        **{"SERVER_1": secret[:30], "SERVER_2": secret[30:]},
        **{"WORKER_1": PLANTED[:9], "WORKER_2": PLANTED[9:]},
        "RESULT": str(result),
    }
    make = {**world.action("Make"), "outputArtifacts": [{"name": "Package"}]}
    search = {
        "name": "Search",
        "runOrder": 2,
        "actionTypeId": {"category": "Compute", "owner": "AWS", "provider": "Commands", "version": "1"},
        "commands": [f"sh {script}"],
        "inputArtifacts": [{"name": "Package"}],
        "environmentVariables": [{"name": name, "value": value} for name, value in halves.items()],
    }

    assert world.ended(world.start(world.declare([make, search]))).status == "Succeeded"

    assert result.read_text() == ""
    assert Path(f"{result}.descriptors").read_text().split() == ["0", "1", "2", "3"], (
        "the last is of `ls` itself"
    )
