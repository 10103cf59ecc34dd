"""What polling saw of a repository the last time, as a Prefect block."""

from typing import Any, ClassVar

from prefect.blocks.core import Block
from pydantic import Field, HttpUrl


class GitPollState(Block):
    """The branches and tags of a repository as polling last saw them. Made by polling; made anew when it is deleted.

    What is pushed between the deletion and the next look starts nothing.
    """

    _block_type_name: ClassVar[str] = "Git Poll State"
    _block_type_slug: ClassVar[str] = "git-poll-state"
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl(
        "https://docs.aws.amazon.com/codepipeline/latest/userguide/triggers.html"
    )
    _description: ClassVar[str] = "What polling for source changes saw of a repository the last time."

    url: str = Field(description="Of the repository.")
    references: dict[str, Any] = Field(description="The commit of each branch and tag, by its full name.")
    generation: int = Field(0, description="Counted up by each change that was seen.")
