"""One version of a pipeline definition, stored permanently: an execution keeps the version that it started with."""

from typing import ClassVar

from prefect.blocks.core import Block
from prefect.types import SecretDict
from pydantic import Field, HttpUrl

from prefect_codepipeline.model.stored.definition import StoredDefinition


class PipelineDefinition(Block, StoredDefinition):
    """A version of a pipeline's definition. Created by `codepipeline deploy`; never changed afterwards.

    The block's name is unique: if two users create the same version at once, one of them gets an error.
    """

    _block_type_name: ClassVar[str] = "Pipeline Definition"
    _block_type_slug: ClassVar[str] = StoredDefinition.block_slug
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl(
        "https://docs.aws.amazon.com/codepipeline/latest/userguide/reference-pipeline-structure.html"
    )
    _description: ClassVar[str] = "One version of a CodePipeline pipeline, created by `codepipeline deploy`."

    # Prefect's own type, whose values Prefect masks one by one.
    secrets: SecretDict = Field(
        default_factory=lambda: SecretDict({}),
        description=StoredDefinition.model_fields["secrets"].description,
    )
