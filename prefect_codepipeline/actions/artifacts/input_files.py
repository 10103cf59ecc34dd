"""Files in the input artifacts of an action, by AWS's notation `ArtifactName::path/of/the/file`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prefect_codepipeline.actions.work import InputTree
from prefect_codepipeline.errors import ActionFailed, wrong_configuration


def find_input(trees: Sequence[InputTree], name: str, key: str) -> InputTree:
    """The input artifact of that name.

    Raises:
        ActionFailed: with code `ConfigurationError`, it is not an input of the action; the message starts with `key`.
    """
    found = next((tree for tree in trees if tree.name == name), None)
    if found is None:
        known = ", ".join(tree.name for tree in trees) or "none"
        raise ActionFailed(
            f"{key}: {name!r} is not an input artifact of the action; its inputs: {known}",
            code="ConfigurationError",
        )
    return found


def read_input_file(trees: Sequence[InputTree], reference: str, key: str, most_bytes: int) -> bytes:
    """The content of a file in an input artifact.

    Args:
        trees: the input artifacts of the action.
        reference: `ArtifactName::path/of/the/file`.
        key: the configuration key that has the reference, for messages.
        most_bytes: the largest size that is accepted.

    Raises:
        ActionFailed: with code `ConfigurationError`, there is no such file, or it is too large.
    """
    name, separator, path = reference.partition("::")
    if not separator or not path:
        raise wrong_configuration(f"{key} {reference!r} is not of the form 'ArtifactName::path/of/the/file'")
    file = find_file(find_input(trees, name, key), path, key)
    size = file.stat().st_size
    if size > most_bytes:
        raise wrong_configuration(
            f"{key}: file {path!r} of {name!r} has {size:,} bytes; the limit is {most_bytes:,}"
        )
    return file.read_bytes()


def find_file(tree: InputTree, path: str, key: str) -> Path:
    """A file in an input artifact.

    Raises:
        ActionFailed: with code `ConfigurationError`, there is no such file; the message starts with `key`.
    """
    file = _inside(tree.directory, path)
    if file is None or not file.is_file():
        raise wrong_configuration(f"{key}: input artifact {tree.name!r} has no file {path!r}")
    return file


def _inside(directory: Path, path: str) -> Path | None:
    """The file, unless the path or a link leads out of the directory."""
    file = (directory / path).resolve()
    return file if file.is_relative_to(directory.resolve()) else None
