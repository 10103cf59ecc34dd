"""How long executions are kept, and which were removed."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from prefect_codepipeline.model.stored.content import BlockContent

# AWS keeps the history of executions for 12 months.
EXECUTION_DAYS = 365


class StoredRetention(BlockContent):
    """How long the executions of a pipeline are kept."""

    block_name: ClassVar[str] = "Retention"
    block_slug: ClassVar[str] = "pipeline-retention"

    execution_days: int | None = Field(
        EXECUTION_DAYS,
        ge=1,
        description="Days after its end after which an execution is removed, with its logs and reports, and the artifacts "
        "that no other execution has. Empty: never.",
    )


class StoredRemovals(BlockContent):
    """The executions that were removed last, so that a command can say what became of them."""

    block_name: ClassVar[str] = "RemovedExecutions"
    block_slug: ClassVar[str] = "removed-executions"

    ids: str = Field(
        "", description="How the ids of the executions begin, the oldest first, with spaces between."
    )

    def has(self, beginning: str) -> bool:
        """Whether one of these executions has an id that begins like that."""
        wanted = beginning[:ID_LENGTH]
        return f" {wanted}" in f" {self.ids}" if len(wanted) < ID_LENGTH else wanted in self.ids

    def with_more(self, execution_ids: list[str]) -> StoredRemovals:
        """These executions and more; the oldest are left out when there are too many."""
        new = [each[:ID_LENGTH] for each in execution_ids]
        kept = [each for each in self.ids.split() if each not in new]
        return StoredRemovals(ids=" ".join([*kept, *new][-MOST_REMOVALS:]))


# Of an id so much is kept: two of these executions do not begin alike.
ID_LENGTH = 13
MOST_REMOVALS = 20_000
