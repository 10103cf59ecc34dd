"""The JSON Schema of AppSpecs takes what the parser takes, and refuses what an editor can see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from prefect_codepipeline.model.appspec.schema import appspec_schema

SCHEMA = appspec_schema()
VALIDATOR = Draft7Validator(SCHEMA)
KEPT = Path(__file__).parents[2] / "data" / "appspec"
NOT_FOR_HOSTS = ("ecs-", "lambda-", "Andrew")
TEMPLATES = "server-"  # words in place of values


def test_it_is_a_schema() -> None:
    Draft7Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("file", sorted(KEPT.glob("*.*ml")), ids=lambda file: file.name)
def test_it_agrees_with_real_files(file: Path) -> None:
    is_right = not any(word in file.name for word in (*NOT_FOR_HOSTS, TEMPLATES))
    assert VALIDATOR.is_valid(yaml.safe_load(file.read_text())) == is_right


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"version": "0.0"}, "version"),
        ({"os": "windows"}, "os"),
        ({"hook": {}}, ""),
        ({"files": [{"source": "a/../../b", "destination": "/a"}]}, "files/0/source"),
        ({"files": [{"source": "a", "destination": "b"}]}, "files/0/destination"),
        ({"files": [{"source": "a"}]}, "files/0"),
        ({"permissions": [{"object": "/a", "mode": "u+x"}]}, "permissions/0/mode"),
        ({"permissions": [{"object": "/a", "type": ["files"]}]}, "permissions/0/type/0"),
        ({"hooks": {"Install": []}}, "hooks"),
        ({"hooks": {"BeforeInstall": [{"location": "a", "timeout": 3601}]}}, "hooks/BeforeInstall/0/timeout"),
    ],
)
def test_it_refuses_what_is_wrong(change: dict[str, Any], place: str) -> None:
    right = {"version": 0.0, "os": "linux", "files": [{"source": "/", "destination": "/srv"}]}
    assert VALIDATOR.is_valid(right)

    [error] = VALIDATOR.iter_errors({**right, **change})
    assert "/".join(map(str, error.path)) == place
