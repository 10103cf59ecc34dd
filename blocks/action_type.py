"""An action type that job workers serve, as a Prefect block."""

from typing import ClassVar

from prefect.blocks.core import Block
from pydantic import HttpUrl

from prefect_codepipeline.model.stored.action_type import StoredActionType


class CodePipelineActionType(Block, StoredActionType):
    """A custom or published action type, created by `codepipeline action-type add` or CreateCustomActionType."""

    _block_type_name: ClassVar[str] = "CodePipeline Action Type"
    _block_type_slug: ClassVar[str] = StoredActionType.block_slug
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl(
        "https://docs.aws.amazon.com/codepipeline/latest/userguide/actions-create-custom-action.html"
    )
    _description: ClassVar[str] = "An action type that your own job workers serve."
