"""How long executions are kept, and which were removed, as Prefect blocks."""

from typing import ClassVar

from prefect.blocks.core import Block
from pydantic import HttpUrl

from prefect_codepipeline.model.stored.retention import StoredRemovals, StoredRetention


class Retention(Block, StoredRetention):
    """How long executions are kept. A pipeline uses the block with its own name, else the block `default`.

    Example:
        ```python
        from prefect_codepipeline.blocks.retention import Retention

        Retention(execution_days=90).save("default")
        retention = Retention.load("BLOCK_NAME")
        ```
    """

    _block_type_name: ClassVar[str] = "Pipeline Retention"
    _block_type_slug: ClassVar[str] = StoredRetention.block_slug
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl(
        "https://docs.aws.amazon.com/codepipeline/latest/userguide/limits.html"
    )
    _description: ClassVar[str] = "How long the executions of CodePipeline pipelines are kept."


class RemovedExecutions(Block, StoredRemovals):
    """The executions that retention removed last. There is one block, named `default`; retention writes it."""

    _block_type_name: ClassVar[str] = "Removed Executions"
    _block_type_slug: ClassVar[str] = StoredRemovals.block_slug
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl(
        "https://docs.aws.amazon.com/codepipeline/latest/userguide/limits.html"
    )
    _description: ClassVar[str] = "The executions of CodePipeline pipelines that retention removed last."
