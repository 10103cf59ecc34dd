"""An argument of a command that is a definition file or the name of a deployed pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from prefect_codepipeline.cli.session import connect

if TYPE_CHECKING:
    from prefect_codepipeline.model.definition.declaration import PipelineDeclaration

FileOrName = Annotated[
    str,
    Parameter(help="A definition in JSON or YAML, or the name of a deployed pipeline.", name="definition"),
]
_SUFFIXES = (".json", ".yaml", ".yml")


def file_of(name: str) -> Path | None:
    """The file that the argument names, whether it exists or not; None for the name of a pipeline."""
    path = Path(name)
    return path if path.is_file() or path.suffix in _SUFFIXES or "/" in name else None


def deployed_declaration(name: str) -> PipelineDeclaration:
    """The newest definition of a deployed pipeline, with masked secrets. Raises `PipelineNotFoundException`."""
    connect()
    from prefect_codepipeline.engine.executions.definitions import newest_version
    from prefect_codepipeline.engine.operations.starting import find_deployment

    return newest_version(name, int(find_deployment(name)["version"] or 1))[1].masked()
