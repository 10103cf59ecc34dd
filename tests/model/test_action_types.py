"""The table of action types is whole, and agrees with the providers that run here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from prefect_codepipeline.model.action_types import ActionType, action_types, rule_types, secret_keys
from prefect_codepipeline.model.validation.reference import reference
from prefect_codepipeline.tasks.registry import providers

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "validation.md"
ALL = [*action_types().values(), *rule_types().values()]


def test_the_table_has_every_type_that_aws_documents() -> None:
    assert len(action_types()) == 40
    assert len(rule_types()) == 6
    assert secret_keys() == {"OAuthToken", "ClientSecret", "RefreshToken"}


@pytest.mark.parametrize("kind", ALL, ids=str)
def test_a_row_makes_sense(kind: ActionType) -> None:
    for least, most in (kind.input_artifacts, kind.output_artifacts):
        assert 0 <= least <= most
    assert len(kind.keys) == len(kind.configuration)
    for key in kind.configuration:
        assert (key.type == "enum") <= bool(key.allowed)
        assert not (key.required and key.required_when)
        for when in filter(None, (key.required_when, key.only_with)):
            others = {*filter(None, (when.key, when.present)), *when.absent}
            assert others <= kind.keys.keys() - {key.key}
        if key.default is not None and key.allowed:
            assert key.default in key.allowed
        if key.pattern:
            re.compile(key.pattern)


@pytest.mark.parametrize("provider", [p for p in providers().values() if p.action_type.owner != "Custom"])
def test_a_provider_takes_what_the_table_says(provider: object) -> None:
    from prefect_codepipeline.tasks.registry import ActionProvider

    assert isinstance(provider, ActionProvider)
    row = action_types()[str(provider.action_type)]

    assert (provider.inputs, provider.outputs) == (row.input_artifacts, row.output_artifacts)
    fields = {field.alias or name: field for name, field in provider.configuration.model_fields.items()}
    assert fields.keys() == row.keys.keys()
    assert {name for name, field in fields.items() if field.is_required()} == {
        key.key for key in row.configuration if key.required
    }
    assert provider.secrets <= {key.key for key in row.configuration if key.secret}


def test_the_document_of_the_rules_is_current() -> None:
    assert DOCUMENT.read_text() == reference(), "run `make docs`"
