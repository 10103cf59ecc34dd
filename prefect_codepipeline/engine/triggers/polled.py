"""Sources that the settings of a pipeline poll, although their configuration switches the detection of changes off."""

from __future__ import annotations

from prefect_codepipeline.engine.executions.definitions import settings_of
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.triggers.matching import git_places


def as_polled(declaration: PipelineDeclaration) -> PipelineDeclaration:
    """The declaration as polling sees it. The settings are read only if a source detects no changes.

    Raises:
        MissingBlock: the settings are invalid.
        PrefectUnavailable: Prefect does not respond.
    """
    if all(place.detects for place in git_places(declaration)):
        return declaration
    return settings_of(declaration.name).with_polls(declaration)
