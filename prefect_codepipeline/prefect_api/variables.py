"""Read and write Prefect variables. Of several processes that create the same name, one does.

A deletion is not exclusive: Prefect reads a variable before it deletes it, so two processes that delete the same id at
the same moment may both get the answer that they did.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from prefect_codepipeline.prefect_api.client import call, call_all, find_named, path_segment

# A variable as Prefect's API returns it: `id`, `name`, `value`, `tags`, `created`, `updated`.
Variable: TypeAlias = dict[str, Any]


def create_variable(name: str, value: Any, tags: Sequence[str]) -> Variable | None:
    """Create a variable; None if there is one of that name."""
    body = {"name": name, "value": value, "tags": list(tags)}
    status, created = call("POST", "/variables/", body, expected=(409,))
    return None if status == 409 else created


def put_variable(name: str, value: Any, tags: Sequence[str]) -> None:
    """Set the value of a variable, which is created with the tags if there is none.

    Raises:
        ValueError: no variable can have that name.
        PrefectUnavailable: the API does not answer, or does not allow the name.
    """
    segment = path_segment(name)
    if segment is None:
        raise ValueError(f"a variable cannot be named {name!r}")
    path = f"/variables/name/{segment}"
    status, _ = call("PATCH", path, {"value": value}, expected=(404,))
    if status == 404 and create_variable(name, value, tags) is None:
        # Another process has created it in between, and may have deleted it again.
        call("PATCH", path, {"value": value}, expected=(404,))


def update_variable(variable_id: str, value: Any) -> bool:
    """Set the value of the variable with that id; False if it was deleted."""
    return call("PATCH", f"/variables/{variable_id}", {"value": value}, expected=(404,))[0] != 404


def read_variable(name: str) -> Variable | None:
    """The variable of that name, or None."""
    return find_named("/variables/name", name)


def variables_with_prefix(prefix: str) -> list[Variable]:
    """All variables whose names start with `prefix`, by name; one request for each 200."""
    # Prefect finds the text anywhere in a name, and takes `_` for any character.
    found = call_all("/variables/filter", {"variables": {"name": {"like_": prefix}}, "sort": "NAME_ASC"})
    return [variable for variable in found if variable["name"].startswith(prefix)]


def variables_with_tags(*tags: str) -> list[Variable]:
    """All variables that have all of these tags, by name; one request for each 200."""
    return call_all("/variables/filter", {"variables": {"tags": {"all_": list(tags)}}, "sort": "NAME_ASC"})


def delete_variable(variable: Variable) -> bool:
    """Delete that variable, and no later one of the same name; False if it was deleted before."""
    return call("DELETE", f"/variables/{variable['id']}", expected=(404,))[0] != 404
