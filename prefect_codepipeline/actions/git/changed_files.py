"""Find the files that a push or a pull request has changed; read them from git if the host's event is incomplete."""

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
    """A read of a repository outside any action; `deadline` is in `time.monotonic()` seconds."""

    url: str
    deadline: float
    cancellation: CancellationToken = field(default_factory=CancellationToken)
    logger: logging.Logger | logging.LoggerAdapter[Any] = field(
        default_factory=lambda: logging.getLogger(__name__)
    )

    @classmethod
    def at(cls, access: Access, seconds: float) -> Look:
        """A read that takes at most this many seconds."""
        return cls(access.url, time.monotonic() + seconds)

    @property
    def what(self) -> str:
        return f"reading {self.url}"


def complete(event: GitEvent, access: Access, context: TimedWork) -> GitEvent:
    """The event with the full id of its commit, and with its changed files if there is a base to compare with.

    The files are those of `git diff base...head`: a push is compared with its merge base with the previous commit, a
    pull request with its merge base with the target branch. If a forced push has removed `base` from the repository,
    only the files of the newest commit count.

    Args:
        event: an event of the repository; values that it has already are kept.
        access: the repository and its credentials.
        context: its deadline and cancellation end the read.

    Raises:
        ActionFailed: the repository or the commit cannot be read, or git ran out of time.
    """
    return with_mirror(access, context, lambda mirror: _complete_event(mirror, event, context))


def _complete_event(mirror: Mirror, event: GitEvent, context: TimedWork) -> GitEvent:
    commit = _full_commit(mirror, event)
    found = replace(event, commit=commit)
    if event.changed_files is not None or (event.base is None and not event.pull_request):
        return found
    base = _base(mirror, event)
    files = _diff(mirror, base, commit) if base else _own_files(mirror, commit)
    if len(files) > MOST_FILES:
        context.logger.warning(
            "%s changes %s files; filters check only the first %s of them", event, len(files), MOST_FILES
        )
    return replace(found, changed_files=tuple(files[:MOST_FILES]))


def _full_commit(mirror: Mirror, event: GitEvent) -> str:
    if len(event.commit) >= _FULL_ID:
        return pin(mirror, _branch_of(event), event.commit)
    if event.fork:
        raise unavailable(
            f"{event}: the host sent only an abbreviated id of a commit in a fork, so the commit cannot be found"
        )
    pin(mirror, _branch_of(event))
    return _resolve(mirror, event.commit)


def _branch_of(event: GitEvent) -> str:
    """The branch that probably has the commit; a commit with a full id is found without a branch."""
    if event.pull_request:
        return event.pull_request.source_branch
    return event.branch or "HEAD"


def _base(mirror: Mirror, event: GitEvent) -> str | None:
    """The commit to compare with, or None if the repository no longer has it."""
    if event.pull_request and (event.base is None or len(event.base) < _FULL_ID):
        return _target(mirror, event.pull_request, event.base)
    assert event.base, "a push without a base is not compared"
    if len(event.base) < _FULL_ID:
        return _resolve(mirror, event.base)
    return fetch_commit(mirror, event.base)


def _target(mirror: Mirror, request: PullRequest, abbreviated: str | None) -> str:
    head = pin(mirror, request.target_branch)
    return _resolve(mirror, abbreviated) if abbreviated else head


def _resolve(mirror: Mirror, abbreviated: str) -> str:
    try:
        return mirror.git("rev-parse", "--verify", f"{abbreviated}^{{commit}}").decode().strip()
    except GitError as error:
        if damaged(error.text):
            raise
        raise unavailable(
            f"{abbreviated!r} is not the abbreviated id of exactly one commit of {mirror.access.url!r}"
        ) from None


def _diff(mirror: Mirror, base: str, commit: str) -> list[str]:
    try:
        return _names(mirror.git("diff", *_DIFF, "--no-ext-diff", f"{base}...{commit}", "--"))
    except GitError as error:
        if "no merge base" not in error.text:
            raise
    # The two histories have no common commit.
    return _names(mirror.git("diff", *_DIFF, "--no-ext-diff", base, commit, "--"))


def _own_files(mirror: Mirror, commit: str) -> list[str]:
    options = ("--no-commit-id", "-r", "--root", "-m", "--first-parent")
    return _names(mirror.git("diff-tree", *_DIFF, *options, "--end-of-options", commit))


def _names(output: bytes) -> list[str]:
    return [name.decode(errors="replace") for name in output.split(b"\0") if name]
