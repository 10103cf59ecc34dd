"""Variables: a name is created once, and who deletes an id deletes no other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from prefect_codepipeline.errors import PrefectUnavailable
from prefect_codepipeline.prefect_api import client
from prefect_codepipeline.prefect_api.variables import (
    create_variable,
    delete_variable,
    put_variable,
    read_variable,
    update_variable,
    variables_with_prefix,
    variables_with_tags,
)

pytestmark = pytest.mark.live


@pytest.fixture
def name(prefect_server: str) -> str:
    return f"variable-{uuid4().hex[:8]}"


def test_of_several_who_create_a_name_one_does(name: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        created = list(pool.map(lambda number: create_variable(name, number, ["codepipeline"]), range(4)))
    found = read_variable(name)
    assert found
    assert [each["value"] for each in created if each] == [found["value"]]
    assert [delete_variable(found) for _ in range(2)] == [True, False]
    assert read_variable(name) is None


def test_who_deletes_an_id_does_not_delete_a_later_variable_of_that_name(name: str) -> None:
    first = create_variable(name, 1, [])
    assert first
    assert delete_variable(first)
    create_variable(name, 2, [])

    assert not delete_variable(first)
    assert not update_variable(first["id"], 3)
    later = read_variable(name)
    assert later
    assert later["value"] == 2


def test_a_value_is_put_whether_the_variable_is_there_or_not(name: str) -> None:
    for value in ({"one": 1}, {"two": [2]}):
        put_variable(name, value, ["codepipeline", name])
        found = read_variable(name)
        assert found
        assert (found["value"], found["tags"]) == (value, ["codepipeline", name])
    assert update_variable(found["id"], "three")
    assert [each["value"] for each in variables_with_prefix(name)] == ["three"]


def test_variables_are_listed_by_the_beginning_of_their_names_with_one_request(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = f"{name}_"
    for other in (f"{prefix}b", f"{prefix}a", f"x-{prefix}c", f"{name}-d", f"{name}xe"):
        create_variable(other, 0, [])
    requests: list[str] = []
    whole = client.call
    monkeypatch.setattr(
        client, "call", lambda *args, **more: (requests.append(args[1]), whole(*args, **more))[1]
    )

    assert [each["name"] for each in variables_with_prefix(prefix)] == [f"{prefix}a", f"{prefix}b"]
    assert requests == ["/variables/filter"]


def test_variables_are_listed_by_their_tags(name: str) -> None:
    create_variable(f"{name}-a", 0, [name, "one", "two"])
    create_variable(f"{name}-b", 0, [name, "one"])

    assert [each["name"] for each in variables_with_tags(name, "one")] == [f"{name}-a", f"{name}-b"]
    assert [each["name"] for each in variables_with_tags("two", name)] == [f"{name}-a"]


@pytest.mark.parametrize("bad", ["", ".", "..", "a/b", "../filter", "a\nb", "a?b", "%2e%2e"])
def test_a_name_that_no_variable_can_have_is_missing(bad: str, prefect_server: str) -> None:
    assert read_variable(bad) is None
    with pytest.raises((ValueError, PrefectUnavailable)):
        put_variable(bad, 0, [])
