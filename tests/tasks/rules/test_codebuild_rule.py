"""Rule/AWS/CodeBuild/1 with real processes on the host; builds are tested with the CodeBuild action."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def ask(asker: Any) -> Any:
    def ask_with(buildspec: str, **configuration: str) -> Any:
        asker.files["buildspec.yml"] = buildspec
        given = {"ProjectName": "checks", **configuration}
        return asker.ask("CodeBuild", given, inputArtifacts=[{"name": "App"}])

    return ask_with


def test_is_met_when_the_build_succeeds(ask: Any, tmp_path: Path) -> None:
    answer = ask(
        f"{{version: 0.2, phases: {{build: {{commands: ['echo $A > {tmp_path}/a', cat name.txt]}}}}}}",
        EnvironmentVariables='[{"name": "A", "value": "#{Source.BranchName}"}]',
    )

    assert answer.status == "Succeeded", answer.summary
    assert answer.summary == "2 commands ran in 0 s"
    assert (tmp_path / "a").read_text() == "main\n"


def test_is_not_met_when_it_fails(ask: Any) -> None:
    answer = ask("{version: 0.2, phases: {build: {commands: ['false']}}}")

    assert (answer.status, answer.error_details) == ("Failed", None)
    assert "Error while executing command: false. Reason: exit status 1" in answer.summary


def test_cannot_be_asked_without_a_buildspec(ask: Any) -> None:
    answer = ask("version: 0.3")

    assert answer.error_details.code == "ConfigurationError"
    assert "YAML_FILE_ERROR" in answer.summary
