"""Settings that a pipeline definition has no key for: where actions run, and which blocks they use."""

from __future__ import annotations

from typing import ClassVar

from prefect.blocks.core import Block
from pydantic import HttpUrl

from prefect_codepipeline.model.stored.settings import StoredSettings


class PipelineSettings(Block, StoredSettings):
    """Where the actions of a pipeline run, where its artifacts are stored, and where it sends notifications.

    A pipeline uses the block with its own name, else the block `default`, else the defaults below.
    """

    _block_type_name: ClassVar[str] = "Pipeline Settings"
    _block_type_slug: ClassVar[str] = StoredSettings.block_slug
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl(
        "https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-Commands.html"
    )
    _description: ClassVar[str] = (
        "Where the actions of a CodePipeline pipeline run, and which blocks they use."
    )
