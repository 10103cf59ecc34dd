"""Which files a push or a pull request has changed, read from git where the host's event lists a part of them."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field, replace
from typing import Any

from prefect_codepipeline.actions.git.failures import damaged, unavailable
from prefect_codepipeline.actions.git.mirror import Mirror, fetch_commit, pin, with_mirror
from prefect_codepipeline.actions.git.process import Access, GitError
from prefect_codepipeline.actions.work import CancellationToken, TimedWork
from prefect_codepipeline.model.triggers.git_event import GitEvent, PullRequest

MOST_FILES = 10_000
_FULL_ID = 40
_DIFF = ("--name-only", "-z", "--no-renames")


@dataclass(frozen=True)
class Look(TimedWork):
    """A look into a repository that no action asks for; `deadline` is in `time.monotonic()` seconds."""

    url: str
    deadline: float
    cancellation: CancellationToken = field(default_factory=CancellationToken)
    logger: logging.Logger | logging.LoggerAdapter[Any] = field(
        default_factory=lambda: logging.getLogger(__name__)
    )

    @classmethod
    def at(cls, access: Access, seconds: float) -> Look:
        """A look that takes so long at most."""
        return cls(access.url, time.monotonic() + seconds)

    @property
    def what(self) -> str:
        return f"reading {self.url}"


def complete(event: GitEvent, access: Access, context: TimedWork) -> GitEvent:
    """The event with the full id of its commit, and with its changed files when there is something to compare with.

    A push is compared with where its branch parted from the commit before, a pull request with where it parted from
    its target branch: `git diff base...head`. When a forced push has taken `base` out of the repository, the files of
    the newest commit alone count.

    Args:
        event: of the repository; what it knows already is kept.
        access: the repository and what opens it.
        context: what ends it early.

    Raises:
        ActionFailed: the repository or the commit cannot be had, or git ran out of time.
    """
    return with_mirror(access, context, lambda mirror: _completed(mirror, event, context))


def _completed(mirror: Mirror, event: GitEvent, context: TimedWork) -> GitEvent:
    commit = _full_commit(mirror, event)
    found = replace(event, commit=commit)
    if event.changed_files is not None or (event.base is None and not event.pull_request):
        return found
    base = _base(mirror, event)
    files = _diff(mirror, base, commit) if base else _own_files(mirror, commit)
    if len(files) > MOST_FILES:
        context.logger.warning(
            "%s changes %s files; filters look at the first %s of them", event, len(files), MOST_FILES
        )
    return replace(found, changed_files=tuple(files[:MOST_FILES]))


def _full_commit(mirror: Mirror, event: GitEvent) -> str:
    if len(event.commit) >= _FULL_ID:
        return pin(mirror, _branch_of(event), event.commit)
    if _is_of_a_fork(event):
        raise unavailable(
            f"{event}: the host names a fork's commit by its first digits only, and not where else it is"
        )
    pin(mirror, _branch_of(event))
    return _parsed(mirror, event.commit)


def _branch_of(event: GitEvent) -> str:
    """Where the commit probably is; a commit that is named in full is found without."""
    if event.pull_request:
        return event.pull_request.source_branch
    return event.branch or "HEAD"


def _is_of_a_fork(event: GitEvent) -> bool:
    source = event.pull_request.source_repository if event.pull_request else None
    return source is not None and source.casefold() != event.repository.casefold()


def _base(mirror: Mirror, event: GitEvent) -> str | None:
    """The commit that is compared with; None when the repository has it no more."""
    if event.pull_request and (event.base is None or len(event.base) < _FULL_ID):
        return _target(mirror, event.pull_request, event.base)
    assert event.base, "a push without one is not compared"
    if len(event.base) < _FULL_ID:
        return _parsed(mirror, event.base)
    return fetch_commit(mirror, event.base)


def _target(mirror: Mirror, request: PullRequest, abbreviated: str | None) -> str:
    head = pin(mirror, request.target_branch)
    return _parsed(mirror, abbreviated) if abbreviated else head


def _parsed(mirror: Mirror, abbreviated: str) -> str:
    try:
        return mirror.git("rev-parse", "--verify", f"{abbreviated}^{{commit}}").decode().strip()
    except GitError as error:
        if damaged(error.text):
            raise
        raise unavailable(f"{abbreviated!r} is no commit of {mirror.access.url!r}, or of several") from None


def _diff(mirror: Mirror, base: str, commit: str) -> list[str]:
    try:
        return _names(mirror.git("diff", *_DIFF, "--no-ext-diff", f"{base}...{commit}", "--"))
    except GitError as error:
        if "no merge base" not in error.text:
            raise
    # Two histories that have nothing in common.
    return _names(mirror.git("diff", *_DIFF, "--no-ext-diff", base, commit, "--"))


def _own_files(mirror: Mirror, commit: str) -> list[str]:
    options = ("--no-commit-id", "-r", "--root", "-m", "--first-parent")
    return _names(mirror.git("diff-tree", *_DIFF, *options, "--end-of-options", commit))


def _names(output: bytes) -> list[str]:
    return [name.decode(errors="replace") for name in output.split(b"\0") if name]
