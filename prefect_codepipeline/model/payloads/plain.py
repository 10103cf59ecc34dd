"""Our own JSON for hosts that have no form of their own here, and for scripts: `docs/triggers.md` describes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from prefect_codepipeline.model.definition.declaration import PullRequestEvent
from prefect_codepipeline.model.payloads.reading import CommitId, Delivery, Name, Part, Text, Url, parse
from prefect_codepipeline.model.triggers.git_event import GitEvent, PullRequest


class _Plain(Part):
    # Ours alone, so a key that is not known is a mistake.
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)


class PlainPullRequest(_Plain):
    event: PullRequestEvent
    number: Annotated[int, Field(ge=0)]
    source_branch: Name
    target_branch: Name
    title: Text = ""
    merged: bool = False
    source_repository: Name | None = None


class PlainEvent(_Plain):
    """One of `branch`, `tag` and `pullRequest`; `base` is what the changes are counted from."""

    repository: Name
    commit: CommitId
    branch: Name | None = None
    tag: Name | None = None
    pull_request: PlainPullRequest | None = None
    server: Annotated[str, Field(max_length=255)] = ""
    base: CommitId | None = None
    changed_files: (
        Annotated[tuple[Annotated[str, Field(max_length=4096)], ...], Field(max_length=10_000)] | None
    ) = None
    author: Text = ""
    message: Text = ""
    url: Url = None
    delivery: Annotated[str, Field(max_length=255)] = ""

    @model_validator(mode="after")
    def _is_one_thing(self) -> PlainEvent:
        if sum(each is not None for each in (self.branch, self.tag, self.pull_request)) != 1:
            raise ValueError("give exactly one of branch, tag and pullRequest")
        return self


def read(headers: Mapping[str, str], body: bytes) -> Delivery:
    """Read a request in our own form. Raises `PayloadError`."""
    told = parse(PlainEvent, body)
    request = told.pull_request
    event = GitEvent(
        host="plain",
        server=told.server,
        repository=told.repository,
        commit=told.commit,
        branch=told.branch,
        tag=told.tag,
        pull_request=PullRequest(**request.model_dump()) if request else None,
        base=told.base,
        changed_files=told.changed_files,
        author=told.author,
        message=told.message,
        url=told.url,
        delivery=told.delivery,
    )
    return Delivery((event,))
