"""The build that an action or a rule wants from a CodeBuild project, wherever it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prefect_codepipeline.actions.work import InputTree
from prefect_codepipeline.blocks.codebuild_project import ProjectVariable


@dataclass(frozen=True)
class WantedBuild:
    """The action's ProjectName, its artifacts, and its overrides of the project.

    The first of `inputs` is the primary source. `variables` override those of the project.
    """

    project_name: str
    inputs: Sequence[InputTree] = ()
    outputs: Sequence[str] = ()
    variables: Sequence[ProjectVariable] = ()
    buildspec: str | None = None
    batch: bool = False
    combine_artifacts: bool = False
