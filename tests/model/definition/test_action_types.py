"""The table of action types is whole, and agrees with the providers that run here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from prefect_codepipeline.actions.catalog import (
    ACTION_TYPES_NOT_YET,
    ACTION_TYPES_OF_WORKERS,
    ACTION_TYPES_REFUSED,
    built_in_action_types,
    built_in_rules,
)
from prefect_codepipeline.actions.registry import ActionProvider, providers
from prefect_codepipeline.actions.rule_registry import RuleProvider, rule_providers
from prefect_codepipeline.model.definition.action_types import (
    ActionType,
    action_types,
    rule_types,
    secret_keys,
)
from prefect_codepipeline.model.validation.fields import bounds_of, hints_of
from prefect_codepipeline.model.validation.reference import reference

DOCS = Path(__file__).parent.parent.parent.parent / "docs"
DOCUMENT = DOCS / "validation.md"
ALL = [*action_types().values(), *rule_types().values()]


def test_the_table_has_every_type_that_aws_documents() -> None:
    assert len(action_types()) == 41
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


@pytest.mark.parametrize(
    "provider",
    [known for known in providers().values() if known.action_type.owner != "Custom"],
    ids=lambda provider: str(provider.action_type),
)
def test_a_provider_demands_what_the_table_says_and_nothing_else(provider: ActionProvider) -> None:
    """So that the table alone is checked before a pipeline is deployed, without importing providers."""
    row = action_types()[str(provider.action_type)]

    assert (provider.inputs, provider.outputs) == (row.input_artifacts, row.output_artifacts)
    assert provider.secrets <= {key.key for key in row.configuration if key.secret}
    fields = {field.alias: field for field in provider.configuration.model_fields.values()}
    assert fields.keys() == row.keys.keys()
    hints = hints_of(provider.configuration)
    for name, key in row.keys.items():
        assert fields[name].is_required() == key.required
        bounds = bounds_of(hints[name])
        assert set(bounds.get("enum", key.allowed)) == set(key.allowed)
        patterns = [item.pattern for item in fields[name].metadata if getattr(item, "pattern", None)]
        assert [pattern.strip("^$") for pattern in patterns] in ([], [key.pattern])


def test_the_names_of_the_providers_are_found_without_importing_them() -> None:
    registered = {
        known.action_type
        for known in providers().values()
        if known.run.__module__.startswith("prefect_codepipeline.")
    }

    assert built_in_action_types() == registered


def test_every_type_of_aws_runs_here_or_has_a_reason() -> None:
    """A type that gets a provider leaves the list, and the page."""
    runs = {str(kind) for kind in built_in_action_types()}

    named = [*runs, *ACTION_TYPES_NOT_YET, *ACTION_TYPES_OF_WORKERS, *ACTION_TYPES_REFUSED]
    assert sorted(named) == sorted(action_types())


def test_the_page_of_the_providers_has_the_reason_of_each_refused_type() -> None:
    page = (DOCS / "providers.md").read_text().partition("\n## What does not run here\n")[2]

    rows = dict(re.findall(r"^\| `(\w+/\w+/\w+/\w+)` \| (.*) \|$", page.partition("\n## ")[0], re.MULTILINE))
    assert rows == {**ACTION_TYPES_NOT_YET, **ACTION_TYPES_OF_WORKERS, **ACTION_TYPES_REFUSED}


def test_the_rules_are_found_too() -> None:
    registered = {
        str(known.rule_type) for known in rule_providers().values() if known.rule_type.owner == "AWS"
    }

    assert built_in_rules() == registered


@pytest.mark.parametrize(
    "provider",
    [known for known in rule_providers().values() if known.rule_type.owner == "AWS"],
    ids=lambda provider: str(provider.rule_type),
)
def test_a_rule_has_the_keys_of_the_table(provider: RuleProvider) -> None:
    row = rule_types()[provider.rule_type.provider]

    assert provider.inputs == row.input_artifacts
    fields = {field.alias: field for field in provider.configuration.model_fields.values()}
    assert {name: field.is_required() for name, field in fields.items()} == {
        key.key: key.required for key in row.configuration
    }


def test_the_document_of_the_rules_is_current() -> None:
    assert DOCUMENT.read_text() == reference(), "run `make docs`"
