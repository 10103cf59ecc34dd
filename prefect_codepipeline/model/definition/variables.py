"""`#{namespace.key}`: find the references in a text, and replace them by values.

https://docs.aws.amazon.com/codepipeline/latest/userguide/reference-variables.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from prefect_codepipeline.errors import UnresolvedVariable
from prefect_codepipeline.model.definition.declaration import ActionDeclaration

Namespaces = Mapping[str, Mapping[str, str]]
_REFERENCE = re.compile(r"#\{([^{}]*)\}")
# https://docs.aws.amazon.com/codepipeline/latest/userguide/limits.html: all output variables of an action together.
MAX_OUTPUT_VARIABLES_BYTES = 122_880


def bytes_of(variables: Mapping[str, str]) -> int:
    """How much of `MAX_OUTPUT_VARIABLES_BYTES` these take."""
    return sum(len(key.encode()) + len(value.encode()) for key, value in variables.items())


class Reference(NamedTuple):
    """One `#{namespace.key}`; both names are empty strings if the text has no period."""

    text: str
    namespace: str
    key: str


def find_references(text: str) -> Iterator[Reference]:
    """Every reference in `text`, in order; malformed references have empty names."""
    for match in _REFERENCE.finditer(text):
        namespace, period, key = match[1].partition(".")
        yield Reference(match[1], namespace, key) if period and key else Reference(match[1], "", "")


def resolve(text: str, namespaces: Namespaces) -> str:
    """Replace every reference by its value, once: a value that looks like a reference is not replaced again.

    Raises:
        UnresolvedVariable: a namespace or key does not exist.
    """

    def value(match: re.Match[str]) -> str:
        namespace, _, key = match[1].partition(".")
        try:
            return namespaces[namespace][key]
        except KeyError:
            raise UnresolvedVariable(_unresolved(match[1], namespace, key, namespaces)) from None

    return _REFERENCE.sub(value, text)


def texts_of(action: ActionDeclaration) -> Iterator[tuple[str, str]]:
    """Each string of an action that may contain references, with its path below the action."""
    for key, value in action.configuration.items():
        yield f"configuration.{key}", value
    for index, command in enumerate(action.commands or []):
        yield f"commands[{index}]", command
    for index, variable in enumerate(action.environment_variables or []):
        yield f"environmentVariables[{index}].value", variable.value


def resolve_action(action: ActionDeclaration, namespaces: Namespaces) -> ActionDeclaration:
    """The action with every reference replaced. The length limits of a definition do not apply to the result.

    Raises:
        UnresolvedVariable: the message has the action, the reference and the known names.
    """
    replace: Callable[[str], str] = lambda text: resolve(text, namespaces)  # noqa: E731
    try:
        return action.model_copy(
            update={
                "configuration": {key: replace(value) for key, value in action.configuration.items()},
                "commands": action.commands and [replace(command) for command in action.commands],
                "environment_variables": action.environment_variables
                and [
                    variable.model_copy(update={"value": replace(variable.value)})
                    for variable in action.environment_variables
                ],
            }
        )
    except UnresolvedVariable as error:
        raise UnresolvedVariable(f"action {action.name!r}: {error}") from None


def _unresolved(text: str, namespace: str, key: str, namespaces: Namespaces) -> str:
    reference = "#{" + text + "}"
    if namespace not in namespaces:
        known = ", ".join(sorted(namespaces)) or "none"
        return f"{reference} could not be resolved: there is no namespace {namespace!r}; available: {known}"
    known = ", ".join(sorted(namespaces[namespace])) or "none"
    return (
        f"{reference} could not be resolved: namespace {namespace!r} has no key {key!r}; available: {known}"
    )
