"""What an action or a rule wants of a CodeBuild project, wherever its builds run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prefect_codepipeline.actions.work import InputTree
from prefect_codepipeline.blocks.codebuild_project import ProjectVariable


@dataclass(frozen=True)
class WantedBuild:
    """What to build: the ProjectName of the action, its artifacts, and what it overrides of the project.

    `inputs` begin with the primary source. `variables` win over the project's.
    """

    project_name: str
    inputs: Sequence[InputTree] = ()
    outputs: Sequence[str] = ()
    variables: Sequence[ProjectVariable] = ()
    buildspec: str | None = None
    batch: bool = False
    combine_artifacts: bool = False
