"""`#{namespace.key}`: found, replaced once, and explained when missing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_codepipeline.errors import UnresolvedVariable
from prefect_codepipeline.model.definition.declaration import ActionDeclaration
from prefect_codepipeline.model.definition.variables import find_references, resolve, resolve_action

NAMESPACES = {
    "codepipeline": {"PipelineExecutionId": "e-1"},
    "Src": {"CommitId": "abc", "Message": "#{Src.CommitId} and $HOME"},
}


@pytest.mark.parametrize(
    ("text", "resolved"),
    [
        ("nothing", "nothing"),
        ("#{Src.CommitId}", "abc"),
        ("a #{Src.CommitId} b #{codepipeline.PipelineExecutionId}", "a abc b e-1"),
        ("#{Src.CommitId}#{Src.CommitId}", "abcabc"),
        ("#{Src.Message}", "#{Src.CommitId} and $HOME"),
        ("${Src.CommitId} #Src {x} #{", "${Src.CommitId} #Src {x} #{"),
    ],
)
def test_replaces_each_reference_once(text: str, resolved: str) -> None:
    assert resolve(text, NAMESPACES) == resolved


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("#{Nope.x}", "there is no namespace 'Nope'; available: Src, codepipeline"),
        ("#{Src.Nope}", "namespace 'Src' has no key 'Nope'; available: CommitId, Message"),
        ("#{src.CommitId}", "no namespace 'src'"),
        ("#{Src}", "could not be resolved"),
    ],
)
def test_says_what_is_missing_and_what_there_is(text: str, message: str) -> None:
    with pytest.raises(UnresolvedVariable, match=message):
        resolve(text, NAMESPACES)


def test_an_action_is_resolved_in_every_value_and_named_when_it_cannot_be() -> None:
    kind = {"category": "Compute", "owner": "AWS", "provider": "Commands", "version": "1"}
    action = ActionDeclaration.model_validate(
        {
            "name": "A",
            "actionTypeId": kind,
            "configuration": {"K": "#{Src.CommitId}"},
            "commands": ["echo #{Src.CommitId}"],
            "environmentVariables": [{"name": "C", "value": "#{Src.CommitId}"}],
        }
    )

    resolved = resolve_action(action, NAMESPACES)

    assert resolved.configuration == {"K": "abc"}
    assert resolved.commands == ["echo abc"]
    assert resolved.environment_variables
    assert resolved.environment_variables[0].value == "abc"
    with pytest.raises(UnresolvedVariable, match="action 'A': "):
        resolve_action(action, {})


@given(st.text().filter(lambda text: "#{" not in text))
def test_text_without_references_stays_as_it_is(text: str) -> None:
    assert resolve(text, {}) == text
    assert list(find_references(text)) == []


@given(st.text(max_size=30))
def test_a_value_is_never_resolved_again(value: str) -> None:
    assert resolve("#{a.b}", {"a": {"b": value}}) == value
