"""Secrets of stored definitions: kept apart, and kept when `****` comes back."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from prefect_codepipeline.actions.registry import providers
from prefect_codepipeline.model.definition.action_types import action_types
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.stored.definition import StoredDefinition, with_kept_secrets
from prefect_codepipeline.model.validation import validate

GITHUB = "Source/ThirdParty/GitHub/1"
KIND = {"category": "Source", "owner": "ThirdParty", "provider": "GitHub", "version": "1"}


def hub(name: str, **configuration: str) -> dict[str, Any]:
    given = {"Owner": "o", "Repo": "r", "Branch": "b", "OAuthToken": f"token of {name}", **configuration}
    return {"name": name, "actionTypeId": KIND, "configuration": given, "outputArtifacts": [{"name": name}]}


def declared(*sources: dict[str, Any], stage: str = "Source") -> PipelineDeclaration:
    manual = {"category": "Approval", "owner": "AWS", "provider": "Manual", "version": "1"}
    return PipelineDeclaration.model_validate(
        {
            "name": "shop",
            "roleArn": "arn:aws:iam::123456789012:role/p",
            "artifactStore": {"type": "S3", "location": "bucket"},
            "stages": [
                {"name": stage, "actions": copy.deepcopy(list(sources))},
                {"name": "Ok", "actions": [{"name": "Ok", "actionTypeId": manual}]},
            ],
        }
    )


@pytest.fixture
def stored() -> StoredDefinition:
    return StoredDefinition.of(declared(hub("A"), hub("B")), {GITHUB: frozenset({"OAuthToken"})})


def tokens(declaration: PipelineDeclaration) -> list[str]:
    return [action.configuration["OAuthToken"] for action in declaration.stages[0].actions]


def errors(declaration: PipelineDeclaration, stored: StoredDefinition) -> list[str]:
    found = validate(declaration, stored=stored.masked())
    return [problem.rule for problem in found if problem.severity == "error"]


def test_a_mask_that_is_sent_back_keeps_the_secret_of_its_action(stored: StoredDefinition) -> None:
    read = stored.masked()
    moved = declared(hub("B", OAuthToken="****"), hub("A", OAuthToken="new"))

    assert tokens(read) == ["****", "****"]
    assert with_kept_secrets(read, stored) == stored.whole()
    assert tokens(with_kept_secrets(moved, stored)) == ["token of B", "new"]
    assert errors(moved, stored) == []


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        (declared(hub("A", OAuthToken="****", Repo="other")), "masked-secret-unchanged"),
        (declared(hub("New", OAuthToken="****")), "masked-secret"),
        (declared(hub("A", OAuthToken="****"), stage="Renamed"), "masked-secret"),
    ],
)
def test_a_secret_goes_nowhere_else(
    changed: PipelineDeclaration, rule: str, stored: StoredDefinition
) -> None:
    """Else a user who may update a pipeline could have its secret sent to a server of their own."""
    assert errors(changed, stored) == [rule]


def test_a_secret_that_is_given_may_come_with_other_values(stored: StoredDefinition) -> None:
    assert errors(declared(hub("A", OAuthToken="new", Repo="other")), stored) == []


def test_the_table_has_the_secrets_of_every_provider_here() -> None:
    """Definitions are stored without the providers, which take seconds to import."""
    secrets = {
        str(kind): provider.secrets for kind, provider in providers().items() if kind.owner != "Custom"
    }
    table = {
        name: {key.key for key in kind.configuration if key.secret} for name, kind in action_types().items()
    }

    assert any(secrets.values())
    assert {name: keys - table[name] for name, keys in secrets.items() if keys - table[name]} == {}
