"""The gateway's URL, and the key that signs its links and buttons."""

from typing import ClassVar

from prefect.blocks.core import Block
from pydantic import HttpUrl

from prefect_codepipeline.model.stored.gateway import StoredGateway


class Gateway(Block, StoredGateway):
    """The service for approvals from Slack and by links. There is one block, named `default`.

    A person with the key can create links that approve, so the key is stored only here.
    """

    _block_type_name: ClassVar[str] = "CodePipeline Gateway"
    _block_type_slug: ClassVar[str] = StoredGateway.block_slug
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl(
        "https://docs.aws.amazon.com/codepipeline/latest/userguide/approvals.html"
    )
    _description: ClassVar[str] = "The URL of CodePipeline approval links, and the key that signs them."
