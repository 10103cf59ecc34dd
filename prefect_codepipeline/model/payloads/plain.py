"""The plain JSON format of this package, for other git hosts and for scripts: `docs/triggers.md` describes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from prefect_codepipeline.model.definition.declaration import PullRequestEvent
from prefect_codepipeline.model.payloads.reading import CommitId, Delivery, Name, Part, Text, Url, parse
from prefect_codepipeline.model.triggers.git_event import GitEvent, PullRequest


class _Plain(Part):
    # This package defines the format, so an unknown key is a mistake.
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
    """An event with one of `branch`, `tag` and `pullRequest`; `base` is the commit to compare with."""

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
    def _check_one_kind(self) -> PlainEvent:
        if sum(each is not None for each in (self.branch, self.tag, self.pull_request)) != 1:
            raise ValueError("give exactly one of branch, tag and pullRequest")
        return self


def read(headers: Mapping[str, str], body: bytes) -> Delivery:
    """Parse a request in the plain format. Raises `PayloadError`."""
    payload = parse(PlainEvent, body)
    request = payload.pull_request
    event = GitEvent(
        host="plain",
        server=payload.server,
        repository=payload.repository,
        commit=payload.commit,
        branch=payload.branch,
        tag=payload.tag,
        pull_request=PullRequest(**request.model_dump()) if request else None,
        base=payload.base,
        changed_files=payload.changed_files,
        author=payload.author,
        message=payload.message,
        url=payload.url,
        delivery=payload.delivery,
    )
    return Delivery((event,))
