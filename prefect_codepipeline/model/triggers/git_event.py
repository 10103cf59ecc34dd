"""What happened in a git repository: a push of a branch or tag, or a pull request, whatever host it came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from prefect_codepipeline.model.definition.declaration import PullRequestEvent

GitHost = Literal["github", "gitlab", "bitbucket", "gitea", "plain", "git"]


@dataclass(frozen=True)
class PullRequest:
    """A pull request, or a merge request of GitLab.

    Attributes:
        event: what happened to it.
        number: as the host counts them.
        source_branch: where the changes are; `commit` of the event is its head.
        target_branch: where they are to go; filters look at this one.
        title: for people.
        merged: with `CLOSED`, whether it was merged.
        source_repository: full name of the repository that has the source branch, when the host says so: a fork's
            differs from the event's own.
    """

    event: PullRequestEvent
    number: int
    source_branch: str
    target_branch: str
    title: str = ""
    merged: bool = False
    source_repository: str | None = None


@dataclass(frozen=True)
class GitEvent:
    """One event of a repository; exactly one of `branch`, `tag` and `pull_request` is there.

    Attributes:
        host: whose language it was told in; `plain` is our own form, `git` is what a poll saw.
        server: the host's name, such as `github.com`; empty when it is not known.
        repository: its full name, `owner/name`, groups of groups possible.
        commit: the commit to run: the pushed one, the one a tag leads to, the head of a pull request's source branch.
            Its full id, or the beginning of it where the host says no more, as Bitbucket does of pull requests.
        branch: that was pushed to, without `refs/heads/`.
        tag: that was pushed, without `refs/tags/`.
        base: what the changes are counted from: the commit before a push, the target of a pull request. None for a push:
            there is none, as for the first one of a branch; for a pull request: the head of its target branch.
        changed_files: paths from the root of the repository, those of renamed files old and new. None: the host does
            not list them all, so they are to be read from git.
        author: who did it, for people.
        message: of the commit, or the title of the pull request.
        url: a page of the commit or pull request, None when the host names none.
        delivery: the host's id of this message; a repeated message has the same.
    """

    host: GitHost
    repository: str
    commit: str
    branch: str | None = None
    tag: str | None = None
    pull_request: PullRequest | None = None
    server: str = ""
    base: str | None = None
    changed_files: tuple[str, ...] | None = None
    author: str = ""
    message: str = ""
    url: str | None = None
    delivery: str = ""

    def __str__(self) -> str:
        return f"{self.what} of {self.repository} at {self.commit[:12]}"

    @property
    def what(self) -> str:
        """In a few words, for people."""
        if request := self.pull_request:
            return (
                f"pull request #{request.number} {request.event} from {request.source_branch!r} "
                f"to {request.target_branch!r}"
            )
        return f"push of tag {self.tag!r}" if self.tag is not None else f"push to branch {self.branch!r}"
