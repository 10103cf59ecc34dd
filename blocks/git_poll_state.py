"""The state of a repository at the last poll, as a Prefect block."""

from typing import Any, ClassVar

from prefect.blocks.core import Block
from pydantic import Field, HttpUrl


class GitPollState(Block):
    """The branches and tags of a repository, or the objects in S3, at the last poll.

    Polling creates it, also again after its deletion. A push between the deletion and the next poll starts nothing.
    """

    _block_type_name: ClassVar[str] = "Git Poll State"
    _block_type_slug: ClassVar[str] = "git-poll-state"
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl(
        "https://docs.aws.amazon.com/codepipeline/latest/userguide/triggers.html"
    )
    _description: ClassVar[str] = "The branches and tags of a repository at the last poll for source changes."

    url: str = Field(description="URL of the repository; `s3://` for objects.")
    references: dict[str, Any] = Field(
        description="The commit of each branch and tag by its full name, or the version of each object."
    )
    generation: int = Field(0, description="Incremented with each detected change.")
