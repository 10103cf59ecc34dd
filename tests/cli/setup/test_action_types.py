"""`codepipeline action-type`: add, list, show and remove; the client token is shown once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from prefect_codepipeline.cli.setup.action_types import (
    add_action_type,
    list_action_types,
    remove_action_type,
    show_action_type,
)
from prefect_codepipeline.engine.jobs.action_types import find_type
from prefect_codepipeline.engine.operations.tagging import tags_of
from prefect_codepipeline.errors import CodePipelineError, MissingBlock, ValidationException
from prefect_codepipeline.model.definition.declaration import ActionTypeId
from prefect_codepipeline.model.wire.arns import Account

ROOT = Path(__file__).parent.parent.parent.parent
pytestmark = pytest.mark.live


@pytest.fixture
def provider(prefect_server: str) -> str:
    return f"Acme-{uuid4().hex[:8]}"


def written(tmp_path: Path, provider: str, **other: Any) -> Path:
    counts = {"minimumCount": 0, "maximumCount": 1}
    content = {
        "category": "Deploy",
        "provider": provider,
        "version": "1",
        "configurationProperties": [
            {"name": "Site", "required": True, "key": True, "secret": False, "description": "Where."},
            {"name": "Token", "required": False, "key": False, "secret": True},
        ],
        "inputArtifactDetails": counts,
        "outputArtifactDetails": counts,
        **other,
    }
    file = tmp_path / "type.json"
    file.write_text(json.dumps(content))
    return file


def test_a_custom_type(provider: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = f"Deploy/Custom/{provider}/1"
    file = written(tmp_path, provider, tags=[{"key": "team", "value": "a"}])
    add_action_type(file)
    add_action_type(file)
    assert tags_of(Account().action_type(f"Custom/Deploy/{provider}/1")) == {"team": "a"}
    list_action_types()
    show_action_type(name)
    said = capsys.readouterr().out
    assert said.startswith(f"action type {name} added\naction type {name} exists\n")
    assert f"{name}  Site Token\n" in said
    assert "  Site: required, key; Where.\n  Token: optional, secret\n  input artifacts: 0 to 1\n" in said

    with pytest.raises(MissingBlock, match=f"did you mean '{name}'"):
        remove_action_type(f"{name}0")
    with pytest.raises(MissingBlock, match="does not exist"):
        show_action_type("Deploy")
    remove_action_type(name)
    with pytest.raises(MissingBlock, match="does not exist"):
        show_action_type(name)


def test_a_type_of_a_third_party(provider: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kind = ActionTypeId(category="Deploy", owner="ThirdParty", provider=provider, version="1")
    file = written(tmp_path, provider)
    add_action_type(file, third_party=True, json=True)
    added = json.loads(capsys.readouterr().out)
    stored = find_type(kind)
    assert stored
    assert stored.declaration
    assert stored.client_token
    assert (stored.client_id, stored.client_token.get_secret_value()) == (
        added["clientId"],
        added["clientToken"],
    )
    file.write_text(json.dumps({"actionType": stored.declaration}))

    add_action_type(file, third_party=True)
    list_action_types(json=True)
    show_action_type(str(kind))
    show_action_type(str(kind), json=True)
    said = capsys.readouterr().out
    assert said.startswith(f"action type {kind} exists\n")
    assert added["clientId"] in said
    assert added["clientToken"] not in said
    with pytest.raises(CodePipelineError, match="add it with --third-party"):
        add_action_type(file)
    remove_action_type(str(kind))


def test_the_example_of_the_page(
    prefect_server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    section = (
        (ROOT / "docs" / "aws-api.md").read_text().split("\n## Custom action types\n")[1].split("\n## ")[0]
    )
    file = tmp_path / "acme.json"
    file.write_text(section.split("```json\n")[1].split("```")[0])
    add_action_type(file)
    show_action_type("Deploy/Custom/Acme/1")
    remove_action_type("Deploy/Custom/Acme/1")
    assert "  entityUrlTemplate: https://acme.example.com/sites/{Config:Site}\n" in capsys.readouterr().out


def test_a_file_that_is_wrong(provider: str, tmp_path: Path) -> None:
    for other, error, text in [
        ({"category": "Release"}, CodePipelineError, "category: Input should be"),
        ({"provder": "x"}, CodePipelineError, "provder: Extra inputs"),
        ({"executor": {}}, CodePipelineError, "with --third-party"),
        ({"inputArtifactDetails": {"minimumCount": 0, "maximumCount": 6}}, ValidationException, "5 or less"),
    ]:
        with pytest.raises(error, match=text):
            add_action_type(written(tmp_path, provider, **other))
