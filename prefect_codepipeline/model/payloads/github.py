"""Webhook payloads of github.com and GitHub Enterprise Server.

https://docs.github.com/webhooks/webhook-events-and-payloads
"""

from __future__ import annotations

from collections.abc import Mapping

from prefect_codepipeline.model.definition.declaration import PullRequestEvent
from prefect_codepipeline.model.payloads.reading import (
    CommitId,
    Delivery,
    Name,
    Part,
    Paths,
    Text,
    Url,
    all_files,
    branch_or_tag,
    is_zero,
    parse,
    server_of,
)
from prefect_codepipeline.model.triggers.git_event import GitEvent, GitHost, PullRequest

# A push lists at most 2,048 commits.
_MOST_COMMITS = 2048
_PULL_REQUEST_EVENTS: dict[str, PullRequestEvent] = {
    "opened": "OPEN",
    "reopened": "OPEN",
    "synchronize": "UPDATED",
    "synchronized": "UPDATED",  # Gitea's spelling
    "closed": "CLOSED",
}


class Repository(Part):
    full_name: Name
    html_url: Url = None


class User(Part):
    login: Text = ""
    name: Text = ""


class Commit(Part):
    id: CommitId
    message: Text = ""
    url: Url = None
    added: Paths = ()
    removed: Paths = ()
    modified: Paths = ()


class Push(Part):
    ref: Name
    before: CommitId
    after: CommitId
    forced: bool = False
    commits: tuple[Commit, ...] | None = None
    total_commits: int | None = None  # Gitea's
    head_commit: Commit | None = None
    pusher: User | None = None
    repository: Repository


class Side(Part):
    ref: Name
    sha: CommitId
    repo: Repository | None = None  # null if the fork was deleted


class Request(Part):
    title: Text = ""
    html_url: Url = None
    merged: bool | None = None
    user: User | None = None
    head: Side
    base: Side


class RequestEvent(Part):
    action: Name
    number: int
    pull_request: Request
    repository: Repository


def read(headers: Mapping[str, str], body: bytes) -> Delivery:
    """Parse a request of GitHub; header names are in lower case. Raises `PayloadError`."""
    # One event has the same id at all webhooks of a repository, which may be those of several pipelines.
    ids = (headers.get("x-github-delivery"), headers.get("x-github-hook-id"))
    return read_as("github", headers.get("x-github-event", ""), " ".join(filter(None, ids)), body)


def read_as(host: GitHost, kind: str, delivery: str, body: bytes) -> Delivery:
    """Parse a request of any host that uses GitHub's format."""
    if kind == "push":
        return _push(host, delivery, parse(Push, body))
    if kind == "pull_request":
        return _pull_request(host, delivery, parse(RequestEvent, body))
    if kind == "ping":
        return Delivery(ignored="a ping: the webhook is set up")
    return Delivery(ignored=f"an event of kind {kind[:100]!r}: only pushes and pull requests start pipelines")


def _push(host: GitHost, delivery: str, push: Push) -> Delivery:
    branch, tag = branch_or_tag(push.ref)
    if is_zero(push.after):
        return Delivery(ignored=f"{push.ref!r} was deleted")
    if branch is None and tag is None:
        return Delivery(ignored=f"{push.ref!r} is neither a branch nor a tag")
    base = None if is_zero(push.before) or tag is not None else push.before
    head = push.head_commit
    event = GitEvent(
        host=host,
        server=server_of(push.repository.html_url),
        repository=push.repository.full_name,
        # For an annotated tag, `after` is the id of the tag object, not of the commit.
        commit=head.id if tag is not None and head else push.after,
        branch=branch,
        tag=tag,
        base=base,
        changed_files=_files(push) if base else None,
        author=(push.pusher.name or push.pusher.login) if push.pusher else "",
        message=head.message if head else "",
        url=head.url if head else None,
        delivery=delivery,
    )
    return Delivery((event,))


def _files(push: Push) -> tuple[str, ...] | None:
    commits = push.commits or ()
    # The commits of a forced push do not list the files that it removed.
    if push.forced or len(commits) >= _MOST_COMMITS or (push.total_commits or 0) > len(commits):
        return None
    return all_files((*commit.added, *commit.removed, *commit.modified) for commit in commits)


def _pull_request(host: GitHost, delivery: str, payload: RequestEvent) -> Delivery:
    event = _PULL_REQUEST_EVENTS.get(payload.action)
    if event is None:
        return Delivery(
            ignored=f"pull request #{payload.number}: {payload.action[:100]!r} starts no pipeline"
        )
    request = payload.pull_request
    pull_request = PullRequest(
        event=event,
        number=payload.number,
        source_branch=request.head.ref,
        target_branch=request.base.ref,
        title=request.title,
        merged=bool(request.merged),
        source_repository=_source_repository(request.head),
    )
    found = GitEvent(
        host=host,
        server=server_of(payload.repository.html_url),
        repository=payload.repository.full_name,
        commit=request.head.sha,
        pull_request=pull_request,
        base=request.base.sha,
        author=(request.user.login or request.user.name) if request.user else "",
        message=request.title,
        url=request.html_url,
        delivery=delivery,
    )
    return Delivery((found,))


def _source_repository(head: Side) -> str | None:
    """The repository with the code; None if it is not known.

    Gitea and Forgejo name their own repository for a pull request that was pushed to `refs/for/...` (AGit), although
    everybody who can read the repository may push there. Such a request has no branch, only `refs/pull/...`.
    """
    if head.repo is None or head.ref.startswith("refs/"):
        return None
    return head.repo.full_name
