"""An event of a git repository: a push of a branch or tag, or a pull request, in the same form for all hosts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from prefect_codepipeline.model.definition.declaration import PullRequestEvent
from prefect_codepipeline.model.printable import printable

GitHost = Literal["github", "gitlab", "bitbucket", "gitea", "plain", "git"]


@dataclass(frozen=True)
class PullRequest:
    """A pull request, or a merge request of GitLab.

    Attributes:
        event: what happened to the pull request.
        number: the number on the host.
        source_branch: the branch with the changes; `commit` of the event is its head.
        target_branch: the branch to merge into; filters check this one.
        title: for display.
        merged: with `CLOSED`, whether it was merged.
        source_repository: full name of the repository with the source branch. For a fork it differs from the
            repository of the event; None if the host does not name it, as for a fork that was deleted.
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
    """One event of a repository; exactly one of `branch`, `tag` and `pull_request` is set.

    Attributes:
        host: the format of the event; `plain` is the format of this package, `git` is an event found by polling.
        server: the host name, such as `github.com`; empty if it is not known.
        repository: the full name, `owner/name`, possibly with nested groups.
        commit: the commit to run: the pushed commit, the commit of a tag, or the head of a pull request's source branch.
            The full id, or its first characters if the host sends no more, as Bitbucket does for pull requests.
        branch: the branch of a push, without `refs/heads/`.
        tag: the tag of a push, without `refs/tags/`.
        base: the commit to compare with: the commit before a push, or the target of a pull request. None for a push
            without an earlier commit (a new branch); None for a pull request means the head of its target branch.
        changed_files: paths from the root of the repository, with old and new names of renamed files. None if the host
            does not list them all; then they must be read from git.
        author: the name of the author, for display.
        message: the message of the commit, or the title of the pull request.
        url: the page of the commit or pull request, or None if the host sends none.
        delivery: the host's id of the message; a repeated message has the same id.
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
        return printable(f"{self.what} of {self.repository} at {self.commit[:12]}")

    @property
    def fork(self) -> str:
        """The fork with the code of a pull request, for display; empty if the code is in the repository itself.

        Everybody who can read a repository can send code to it from a fork. A pull request whose source is not known counts
        as one of a fork.
        """
        if self.pull_request is None:
            return ""
        source = self.pull_request.source_repository
        if source is None:
            return "a repository that is not known"
        return "" if source.casefold() == self.repository.casefold() else printable(f"the fork {source}")

    @property
    def what(self) -> str:
        """A short description for display."""
        if request := self.pull_request:
            origin = f" of {self.fork}" if self.fork else ""
            return (
                f"pull request #{request.number} {request.event} from {request.source_branch!r}{origin} "
                f"to {request.target_branch!r}"
            )
        return f"push of tag {self.tag!r}" if self.tag is not None else f"push to branch {self.branch!r}"
