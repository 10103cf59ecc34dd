"""What the contents of all blocks have in common."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel


class BlockContent(BaseModel):
    """The fields of a block. A process that only reads the block needs no Prefect for them."""

    # The name of the block's class, for messages, and the slug of its type.
    block_name: ClassVar[str]
    block_slug: ClassVar[str]
